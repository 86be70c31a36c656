"""Recipes without their parts, and cross-validation: what they write is true,
and what has finished is not trained again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from falconer.vision.ablation import WHOLE, variants
from falconer.vision.config import AugmentConfig, ImageTraining, VisionConfig
from falconer.vision.recipe import load_recipe
from falconer.vision.stages.experiments import (
    AblationConfig,
    CrossConfig,
    ablate,
    crossvalidate,
)
from tests.support.pictures import SMALL, colour_folder

QUICK = [*SMALL, "training.epochs=1", "first_look=false"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("vision")
    colour_folder(place / "photos", n=15)
    return place


def test_each_part_that_is_on_is_left_out_once() -> None:
    config = VisionConfig(
        augment=AugmentConfig(crop="padded", flip=True, cutmix=1.0),
        training=ImageTraining(label_smoothing=0.1, ema_decay=0.9, weight_decay=1e-4),
    )
    found = variants(config)
    assert list(found) == [
        WHOLE,
        "no crop",
        "no flip",
        "no cutmix",
        "no label_smoothing",
        "no ema_decay",
        "no weight_decay",
        "no schedule",
        "decay everywhere",
    ]
    assert found["no flip"].augment == config.augment.model_copy(update={"flip": False})
    assert found["no ema_decay"].training.ema_decay is None
    assert len({variant.model_dump_json() for variant in found.values()}) == len(found)


@pytest.mark.parametrize(
    "name", ["small-pictures", "small-pictures-modern", "resnet50-nvidia", "resnet50-modern"]
)
def test_the_parts_of_our_recipes_can_be_left_out(name: str) -> None:
    assert len(variants(load_recipe(name))) > 4


def test_an_ablation_is_a_page_and_goes_on_where_it_stopped(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("small-pictures", str(place / "photos"), place / "runs")
    overrides = [
        *QUICK,
        'augment.crop="none"',
        "training.weight_decay=0",
        "training.warmup_steps=0",
    ]
    config = AblationConfig(seeds=2, fold="test")
    kept = place / "pictures"
    page = ablate(*arguments, overrides=overrides, pictures=kept, config=config)
    assert "6 trainings, each of which says how long it takes" in capsys.readouterr().out
    assert "no flip" in page.read_text()
    report = json.loads((page.parent / "ablation.json").read_text())
    assert [row["label"] for row in report["rows"]] == [WHOLE, "no flip", "no schedule"]
    assert all(len(row["seeds"]) == 2 for row in report["rows"])
    first = report["rows"][1]
    means = [sum(row["seeds"]) / 2 for row in report["rows"]]
    assert first["difference"]["difference"] == pytest.approx(means[0] - means[1])
    before = {path: path.stat().st_mtime_ns for path in page.parent.glob("*/model/model.json")}
    assert len(before) == 6
    ablate(*arguments, overrides=overrides, pictures=kept, config=config)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_cross_validation_judges_every_picture_once(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = crossvalidate(
        "small-pictures",
        str(place / "photos"),
        place / "runs",
        overrides=[*SMALL, "training.epochs=8", "first_look=false"],
        pictures=place / "pictures",
        config=CrossConfig(folds=3, resamples=200),
    )
    assert "3 trainings, each of which says how long it takes" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert report["n"] == 45
    assert report["metrics"]["top1"]["mean"] > 0.6
    assert (out / "report.html").is_file()
