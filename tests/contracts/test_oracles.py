"""Data whose right answer is known: every model must find it, at one fixed budget for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.recsys.models.registry import MODELS
from tests.contracts.conftest import Trained
from tests.support.tiny import ALL, novel_scores, scorer_of


def discovering() -> list[Any]:
    """Every model; those that declare that they cannot tell novel items apart must fail."""
    blind = pytest.mark.xfail(
        strict=True, raises=AssertionError, reason="ranks novel items alike for everybody"
    )
    return [
        pytest.param(*pair, marks=[] if MODELS[pair[0]].config.discovers else blind) for pair in ALL
    ]


@pytest.mark.parametrize(("name", "backend"), discovering())
def test_checkerboard(name: str, backend: str, board: Dataset, trained: Trained) -> None:
    queries, truth = board.queries("test"), board.truth("test")
    scores = novel_scores(scorer_of(trained(name, backend, board), board), queries)
    withheld = truth.items.values
    best = scores.max(axis=1)
    assert (scores.argmax(axis=1) == withheld).all()
    assert ((scores == best[:, None]).sum(axis=1) == 1).all(), "no tie may decide it"


@pytest.mark.parametrize(
    ("name", "backend"), [pair for pair in ALL if MODELS[pair[0]].config.order_aware]
)
def test_cycle(name: str, backend: str, wheel: Dataset, trained: Trained) -> None:
    queries, truth = wheel.queries("test"), wheel.truth("test")
    scores = novel_scores(scorer_of(trained(name, backend, wheel), wheel), queries)
    assert np.mean(scores.argmax(axis=1) == truth.items.values) == 1.0


@pytest.mark.parametrize(
    ("name", "backend"), [pair for pair in ALL if not MODELS[pair[0]].config.personalised]
)
def test_what_is_not_personalised_gives_one_list(
    name: str, backend: str, board: Dataset, trained: Trained
) -> None:
    scores = scorer_of(trained(name, backend, board), board).score(board.queries("test"))
    assert (scores == scores[0]).all()
