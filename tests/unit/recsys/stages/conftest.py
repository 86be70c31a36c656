"""A small dataset and a judged run for the tests of the stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from tests.support.datasets import checkerboard
from tests.support.judging import judge_model


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALCONER_TRACKING", "off")


@pytest.fixture
def board(tmp_path: Path) -> Dataset:
    return checkerboard(tmp_path / "board", n=12, views=("all", "novel"), features=())


@pytest.fixture
def judged_run(board: Dataset, tmp_path: Path) -> Path:
    return judge_model("item_knn", board, tmp_path)
