"""What keeps a network from learning eight pictures is named: each cause is planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from falconer.pipelines.errors import TrainingError
from falconer.vision.config import NetworkConfig, PicturesConfig, VisionConfig
from falconer.vision.data.named import open_source
from falconer.vision.data.prepared import Prepared, prepare
from falconer.vision.first_look import first_look
from falconer.vision.networks.classifier import Classifier
from falconer.vision.networks.registry import build
from falconer.vision.stages.train import train
from tests.support.pictures import SMALL, colour_folder

CONFIG = VisionConfig(
    network=NetworkConfig(name="cifar_resnet20"), pictures=PicturesConfig(size=16, share=1.0)
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    root = tmp_path_factory.mktemp("look")
    photos = colour_folder(root / "photos", n=8)
    return prepare(open_source(str(photos)), CONFIG.pictures, root / "prepared")


def network() -> Classifier:
    torch.manual_seed(0)
    return build(CONFIG.network, n_classes=3, channels=3)


def test_a_sound_network_learns_and_is_left_alone(prepared: Prepared) -> None:
    own = network()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    state = torch.get_rng_state()
    look = first_look(own, CONFIG, prepared)
    assert look.causes == ()
    assert look.last_loss < look.first_loss / 2
    assert all(torch.equal(before[name], value) for name, value in own.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_contradicting_labels_are_named(prepared: Prepared, tmp_path: Path) -> None:
    """All pictures have the pixels of the first."""
    store = np.tile(prepared.pixels(0), (len(prepared), 1, 1, 1))
    for file in prepared.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pixels.bin").write_bytes(store.tobytes())
    shapes = np.tile(prepared.shapes[0], (len(prepared), 1))
    look = first_look(network(), CONFIG, replace(prepared, path=tmp_path, shapes=shapes))
    assert "labels: pictures that look alike" in look.causes[0]


def test_a_wrong_scale_is_named(prepared: Prepared) -> None:
    pictures = CONFIG.pictures.model_copy(update={"std": (1e4,) * 3, "mean": (0.0,) * 3})
    blind = network()
    torch.nn.init.constant_(blind.conv1.weight, 0.0)  # type: ignore[arg-type]
    blind.requires_grad_(requires_grad=False)
    blind.head.requires_grad_(requires_grad=True)
    config = CONFIG.model_copy(update={"pictures": pictures})
    look = first_look(blind, config, prepared)
    assert any(cause.startswith("scale: the network's input has") for cause in look.causes)


@pytest.mark.parametrize("part", ["fc", "all"])
def test_a_frozen_layer_is_named(prepared: Prepared, part: str) -> None:
    frozen = network()
    if part == "all":
        frozen.requires_grad_(requires_grad=False)
    else:
        frozen.set_head(3)
        frozen.head.requires_grad_(requires_grad=False)
    look = first_look(frozen, CONFIG, prepared)
    assert "a frozen layer: the head (fc) does not learn" in look.causes


def test_training_stops_at_a_failed_look(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.vision.first_look.STEPS", 1)
    photos = colour_folder(tmp_path / "photos", n=6)
    arguments = ("small-pictures", str(photos), tmp_path / "runs")
    with pytest.raises(TrainingError, match="cannot learn eight of the pictures by heart"):
        train(*arguments, overrides=SMALL, pictures=tmp_path / "prepared")
    overrides = [*SMALL, "first_look=false"]
    assert train(*arguments, overrides=overrides, pictures=tmp_path / "prepared").is_dir()
