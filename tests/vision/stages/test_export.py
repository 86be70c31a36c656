"""A classifier or a detector as an ONNX file: it answers as the model does, or is not written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.vision.data.batches import input_of
from falconer.vision.detection.saved import load_detector
from falconer.vision.exporting.classifier import ClassifierGraph
from falconer.vision.model import load_classifier
from falconer.vision.stages.export import ExportConfig, export
from falconer.workflows import cli
from tests.support.pictures import colour_folder
from tests.support.squares import write_folder
from tests.support.vision_runs import classifier_run, detector_run


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes")
    return classifier_run(root, colour_folder(root / "photos", n=6), temperature=2.5)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("boxes")
    return detector_run(root, write_folder(root / "squares"))


def noise(n: int, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), np.uint8)


def test_a_classifier_file_answers_as_predict_does(classes: Path, tmp_path: Path) -> None:
    out = export(classes, tmp_path / "c.onnx")
    pixels = noise(5, 16)
    session = onnxruntime.InferenceSession(out)
    (found,) = session.run(["probabilities"], {"pixels": pixels})
    model = load_classifier(Run.open(classes).model_directory)
    logits, _ = model.answers(input_of(list(pixels), model.config.pictures, torch.device("cpu")))
    np.testing.assert_allclose(found, torch.from_numpy(logits / 2.5).softmax(1), atol=1e-5)
    about = json.loads((tmp_path / "c.onnx.json").read_text(encoding="utf-8"))
    assert about["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert about["classes"] == ["blue", "green", "red"]
    assert (about["task"], about["size"], about["channels"]) == ("classes", 16, 3)
    assert about["largest_difference"] <= about["tolerance"] == 1e-4


def test_a_detector_file_gives_what_is_suppressed_afterwards(boxes: Path, tmp_path: Path) -> None:
    out = export(boxes, tmp_path / "d.onnx", config=ExportConfig(pictures=2))
    pixels = noise(3, 160)
    session = onnxruntime.InferenceSession(out)
    corners, scores = session.run(["boxes", "scores"], {"pixels": pixels})
    detector, card, _ = load_detector(Run.open(boxes).model_directory)
    own_boxes, own_scores = detector.candidates(pixels)
    np.testing.assert_allclose(corners, own_boxes, atol=1e-5)
    np.testing.assert_allclose(scores, own_scores, atol=1e-5)
    assert scores.shape == (3, corners.shape[1], len(card.classes))
    about = json.loads((tmp_path / "d.onnx.json").read_text(encoding="utf-8"))
    assert (about["threshold"], about["overlap"], about["size"]) == (0.4, 0.5, 160)


def test_a_file_that_answers_otherwise_is_not_written(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that swaps the channels, as a reader of pictures in BGR would."""
    right = ClassifierGraph.forward
    monkeypatch.setattr(
        ClassifierGraph, "forward", lambda self, pixels: right(self, pixels.flip(3))
    )
    with pytest.raises(ArtifactError, match="differ from the model's by up to"):
        export(classes, tmp_path / "c.onnx")
    assert list(tmp_path.iterdir()) == []


def test_exporting_twice_gives_the_same_bytes(classes: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        export(classes, tmp_path / name / "c.onnx")
    for file in ("c.onnx", "c.onnx.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_what_cannot_be_exported_is_refused(classes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends with \.onnx"):
        export(classes, tmp_path / "c.bin")
    with pytest.raises(ConfigError, match="folder holds nothing else"):
        export(classes, classes / "model" / "c.onnx")
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    with pytest.raises(ArtifactError, match="not a run directory"):
        export(tmp_path, tmp_path / "c.onnx")


def test_the_general_command_knows_runs_of_pictures(
    classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "c.onnx")
    assert cli.run(["export", str(classes), "--out", out, "--tolerance", "0.01"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == out
    assert cli.run(["export", str(classes), "--out", out, "--form", "pairs"]) == 2
    assert "--form is of recommenders" in capsys.readouterr().err
