"""Pretrained weights: features are extracted once, parts unfreeze by stages, tags are pooled by
clip."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import Tensor

from falconer.pipelines.errors import ConfigError
from falconer.vision.config import ImageTraining, NetworkConfig, VisionConfig
from falconer.vision.model import load_classifier
from falconer.vision.networks.registry import build
from falconer.vision.networks.weights import save_weights
from falconer.vision.stages.compare import compare
from falconer.vision.stages.evaluate import evaluate
from falconer.vision.stages.predict import predict
from falconer.vision.stages.train import train
from falconer.vision.task import freeze_before, grouped_parameters
from tests.support.pictures import COLOURS, SMALL, colour_folder, picture

SETS = (
    "network.name=cifar_resnet20",
    "pictures.size=16",
    "pictures.share=1.0",
    "head.epochs=3",
    "head.batch_size=8",
    "head.threads=1",
    "first_look=false",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("vision")
    colour_folder(place / "photos", n=15)
    begun = train(
        "small-pictures",
        str(place / "photos"),
        place / "begun",
        overrides=[*SMALL, "training.epochs=4", "first_look=false"],
        pictures=place / "begun",
    )
    network = load_classifier(begun / "model").network
    network.set_head(7)
    save_weights(network, place / "w.safetensors", {"architecture": "cifar_resnet20-v1.5"})
    return place


def trained(place: Path, recipe: str, *overrides: str, data: str = "photos") -> Path:
    weights = f"network.weights={place / 'w.safetensors'}"
    return train(
        recipe,
        str(place / data),
        place / "runs",
        overrides=[*SETS, weights, *overrides],
        pictures=place / "pictures",
    )


def without_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if "num_batches" not in name}


def test_a_frozen_network_changes_its_head_only_and_features_are_kept(place: Path) -> None:
    run = trained(place, "frozen-features", "head.learning_rate=0.05")
    begun, found = load_file(place / "w.safetensors"), load_file(run / "model/weights.safetensors")
    found = without_counters(found)
    changed = {n for n in found if found[n].shape != begun[n].shape or (found[n] != begun[n]).any()}
    assert changed == {"fc.weight", "fc.bias"}
    (kept,) = (place / "pictures" / "photos").glob("*-features/*.npy")
    stamp = kept.stat().st_mtime_ns
    trained(place, "frozen-features", "seed=2")
    assert kept.stat().st_mtime_ns == stamp
    report = json.loads((evaluate(run) / "report.json").read_text())
    assert report["metrics"]["top1"]["mean"] > 0.6
    weights = place / "w.safetensors"
    weights.rename(place / "moved.safetensors")
    without = json.loads((evaluate(run) / "report.json").read_text())
    (place / "moved.safetensors").rename(weights)
    assert without["metrics"]["log_loss"]["mean"] == pytest.approx(
        report["metrics"]["log_loss"]["mean"], rel=1e-4
    )


def test_stages_are_unfrozen_in_turn(place: Path) -> None:
    quick = (
        "training.epochs=1",
        "training.batch_size=8",
        "training.threads=1",
        "network.dropout=0",
    )
    run = trained(place, "transfer", 'unfreezing=["layer3"]', *quick)
    begun, found = load_file(place / "w.safetensors"), load_file(run / "model/weights.safetensors")
    found = without_counters(found)
    same = {n for n in found if found[n].shape == begun[n].shape and (found[n] == begun[n]).all()}
    assert all(n in same for n in found if n.startswith(("conv1", "bn1", "layer1", "layer2")))
    assert not any(n in same for n in found if n.startswith("layer3") and n.endswith("weight"))
    assert all(n in same for n in found if "running_" in n), "the recipe keeps statistics"
    lines = run.joinpath("metrics.jsonl").read_text().splitlines()
    names = {key.partition("/")[0] for line in lines for key in json.loads(line)}
    assert names == {"step", "head", "from-layer3"}


def test_rates_fall_from_the_head_to_the_picture() -> None:
    config = VisionConfig(training=ImageTraining(learning_rate=1.0, rate_decay=0.5))
    network = build(NetworkConfig(name="cifar_resnet20"), n_classes=3, channels=3)
    frozen = freeze_before(network, "layer2")
    assert len(frozen) == 2
    groups = grouped_parameters(network, config)
    assert [group["lr"] for group in groups] == [0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    assert [group.get("weight_decay") for group in groups] == [None, 0.0] * 3
    assert all(p.ndim == 1 for group in groups[1::2] for p in group["params"])
    everywhere = config.model_copy(
        update={"training": config.training.model_copy(update={"decay_all": True})}
    )
    freeze_before(network, None)
    assert all("weight_decay" not in group for group in grouped_parameters(network, everywhere))


def tag_table(place: Path) -> Path:
    """Clips of two frames; a clip has the tags of its colours."""
    root = place / "films"
    lines = ["path,tags"]
    for number, (name, colour) in enumerate([*COLOURS.items()] * 12):
        (root / str(number)).mkdir(parents=True)
        for frame in range(2):
            picture(colour, 1000 + 2 * number + frame).save(root / str(number) / f"{frame}.png")
        lines.append(f"{number},{name}|film")
    (root / "films.csv").write_text("\n".join(lines))
    return root / "films.csv"


def test_tags_are_learned_pooled_by_clip_and_predicted(place: Path) -> None:
    tag_table(place)
    more = ("head.learning_rate=0.05", "head.epochs=8", "head.batch_size=4")
    run = trained(place, "frozen-features", *more, data="films/films.csv")
    report = json.loads((evaluate(run) / "report.json").read_text())
    assert report["classes"] == ["blue", "film", "green", "red"]
    clips = report["n"]
    assert clips == 7
    film = report["per_class"][1]
    assert (film["name"], film["n"], film["average_precision"]) == ("film", clips, 1.0)
    assert report["metrics"]["map"]["mean"] > 0.6
    assert len(report["thresholds"]) == 4
    page = compare([run, run], out=place / "tags.html").read_text(encoding="utf-8")
    assert "2 runs by right_tags" in page
    out = predict(run, [place / "photos" / "red"], place / "tags.csv")
    with out.open() as stream:
        answers = [line["answer"].split("|") for line in csv.DictReader(stream)]
    assert np.mean(["film" in answer for answer in answers]) == 1


def test_recipes_that_need_one_class_a_picture_refuse_tags(place: Path) -> None:
    if not (place / "films").exists():
        tag_table(place)
    with pytest.raises(ConfigError, match=r"has tags: set augment\.mixup"):
        trained(place, "frozen-features", "augment.mixup=0.2", data="films/films.csv")


def test_weights_of_another_network_stop_before_a_run_begins(place: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"weights of cifar_resnet20, and network\.name is resnet18"
    ):
        trained(place, "frozen-features", "network.name=resnet18")
