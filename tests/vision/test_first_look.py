"""What keeps a network from learning eight pictures is named: each cause is planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from falconer.pipelines.errors import TrainingError
from falconer.vision.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NetworkConfig,
    PicturesConfig,
    VisionConfig,
)
from falconer.vision.data.batches import input_of
from falconer.vision.data.named import open_source
from falconer.vision.data.prepared import Prepared, prepare
from falconer.vision.first_look import first_look, wrong_channels
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


def blue_first(pictures: Tensor) -> Tensor:
    return pictures.flip(1)


def reshaped(pictures: Tensor) -> Tensor:
    """What comes of channels last that are read as if they were first."""
    return pictures.permute(0, 2, 3, 1).reshape(pictures.shape)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (blue_first, "the network sees blue, green, red, and red, green, blue is wanted"),
        (reshaped, "none of the picture's planes"),
    ],
    ids=["blue first", "reshaped"],
)
def test_a_wrong_order_of_channels_is_named(
    prepared: Prepared,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Tensor], Tensor],
    said: str,
) -> None:
    monkeypatch.setattr("falconer.vision.first_look.STEPS", 1)
    monkeypatch.setattr(
        "falconer.vision.first_look.input_of", lambda *given: spoil(input_of(*given))
    )
    (cause,) = first_look(network(), CONFIG, prepared).causes
    assert cause.startswith("channel order: ")
    assert said in cause


def test_a_mean_with_blue_first_is_named(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.vision.first_look.STEPS", 1)
    pictures = CONFIG.pictures.model_copy(
        update={"mean": IMAGENET_MEAN[::-1], "std": IMAGENET_STD[::-1]}
    )
    look = first_look(network(), CONFIG.model_copy(update={"pictures": pictures}), prepared)
    assert "ImageNet's with blue first" in look.causes[0]


@pytest.mark.parametrize("kind", ["colours", "grey", "one channel", "one colour"])
def test_a_right_order_of_channels_is_not_blamed(prepared: Prepared, kind: str) -> None:
    shown = np.stack([prepared.pixels(row)[:16, :16] for row in range(8)])
    if kind == "grey":
        shown = np.repeat(shown[..., :1], 3, axis=3)
    if kind == "one colour":
        shown = np.full_like(shown, 7)
    config = CONFIG.pictures
    if kind == "one channel":
        shown = np.ascontiguousarray(shown[..., :1])
        config = PicturesConfig(size=16, share=1.0, channels=1, mean=(0.5,), std=(0.5,))
    pictures = input_of(list(shown), config, torch.device("cpu"))
    assert wrong_channels(torch.from_numpy(shown), pictures, config) == []


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
