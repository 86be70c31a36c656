"""What a person sees who asks a model for what it cannot do: one line, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.recsys.models.registry import MODELS
from falconer.workflows import cli
from tests.contracts.conftest import Trained
from tests.support.datasets import checkerboard
from tests.support.tiny import ALL


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one paragraph on standard error of a command that ends with 2."""
    assert cli.run(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("name", MODELS)
def test_an_unknown_knob(
    name: str, board: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "train",
        name,
        "--data",
        str(board.path),
        "--runs",
        str(tmp_path / "runs"),
        "--set",
        "model.no_such=1",
    ]
    assert "model.no_such: unknown key" in refusal(arguments, capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "name", [name for name, model in MODELS.items() if model.config.needs_times]
)
def test_no_times(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = checkerboard(tmp_path / "timeless", has_time=False)
    text = refusal(
        ["train", name, "--data", str(data.path), "--runs", str(tmp_path / "runs")], capsys
    )
    assert "times" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "name", [name for name, model in MODELS.items() if model.config.needs_features]
)
def test_no_features(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = checkerboard(tmp_path / "bare", features=())
    text = refusal(
        ["train", name, "--data", str(data.path), "--runs", str(tmp_path / "runs")], capsys
    )
    assert "has no features" in text
    assert "[features." in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(("name", "backend"), ALL)
def test_lists_on_another_lineage(
    name: str,
    backend: str,
    board: Dataset,
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = checkerboard(tmp_path / "other", generations=("another",))
    text = refusal(
        ["recommend", str(trained(name, backend, board).path), "--data", str(other.path)], capsys
    )
    assert "lineage" in text
    assert text.count("\n") == 1
