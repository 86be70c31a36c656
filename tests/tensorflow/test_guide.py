"""The examples of docs/tensorflow.md work: those up to a trained model each time, and with `slow`
those that export it too, each of which starts TensorFlow again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.documents import execute

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "tensorflow.md"


def test_the_examples_work_up_to_a_trained_model(tmp_path: Path) -> None:
    assert execute(GUIDE, tmp_path, first=4) == 4
    (run,) = tmp_path.glob("runs/*-sasrec-tensorflow-*")
    assert (run / "model" / "model.json").is_file()


@pytest.mark.slow
def test_all_examples_work(tmp_path: Path) -> None:
    assert execute(GUIDE, tmp_path) == 7
    assert (tmp_path / "sasrec.savedmodel").is_dir()
    assert (tmp_path / "sasrec.tflite").is_file()
