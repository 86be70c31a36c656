"""Runs and models of one kind in the place of another's: the error names the right command."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.errors import ArtifactError
from falconer.vision.detection import stages as detection
from falconer.vision.stages.evaluate import evaluate
from falconer.vision.stages.items import items
from falconer.vision.stages.predict import predict
from tests.support.pictures import colour_folder
from tests.support.squares import write_folder
from tests.support.vision_runs import classifier_run, detector_run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture(scope="module")
def classifier(place: Path) -> Path:
    return classifier_run(place, colour_folder(place / "photos", n=4))


@pytest.fixture(scope="module")
def detector(place: Path) -> Path:
    return detector_run(place, write_folder(place / "squares"))


def test_a_detector_is_no_classifier(detector: Path, place: Path) -> None:
    message = "a detector, not a classifier; its commands are `falconer vision detector train`"
    with pytest.raises(ArtifactError, match=message):
        evaluate(detector)
    for model in (detector, detector / "model"):
        with pytest.raises(ArtifactError, match=message):
            predict(model, [place], place / "p.csv")
        with pytest.raises(ArtifactError, match=message):
            items(model, place, place / "i.parquet")


def test_a_classifier_is_no_detector(classifier: Path, place: Path) -> None:
    message = "a classifier, not a detector; its commands are `falconer vision train`"
    with pytest.raises(ArtifactError, match=message):
        detection.evaluate(classifier)
    for model in (classifier, classifier / "model"):
        with pytest.raises(ArtifactError, match=message):
            detection.detect(model, [place / "photos"], place / "found")
