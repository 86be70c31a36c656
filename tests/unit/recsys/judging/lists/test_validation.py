"""The validation's sample: of all queries, not of the first ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Queries
from falconer.recsys.judging.lists import validation
from falconer.recsys.judging.lists.validation import Validation
from tests.support.datasets import checkerboard


class Listener:
    """A scorer that remembers who was asked about."""

    def __init__(self, n_items: int) -> None:
        self.items_known = np.ones(n_items, np.bool_)
        self.users: set[int] = set()

    def score(self, queries: Queries) -> NDArray[np.float32]:
        self.users |= set(queries.user.tolist())
        return np.zeros((len(queries), len(self.items_known)), np.float32)

    def save(self, directory: Path) -> None:
        raise NotImplementedError


def test_the_sample_is_of_all_queries_and_follows_the_seed(tmp_path: Path) -> None:
    board = checkerboard(tmp_path / "board", n=12)

    def asked(n_queries: int, seed: int) -> set[int]:
        listener = Listener(board.n_items)
        Validation(board, n_queries=n_queries, seed=seed)(listener)
        return listener.users

    everybody = asked(1000, 0)
    samples = [asked(4, seed) for seed in range(30)]
    assert {len(sample) for sample in samples} == {4}
    assert set().union(*samples) == everybody
    assert asked(4, 7) == samples[7]


def test_candidates_of_a_repeated_view_are_the_items_of_the_history_once() -> None:
    history = np.array([3, 1, 3, 0])
    assert validation._in_view(history, "repeat", 5).tolist() == [0, 1, 3]
    assert validation._in_view(history, "novel", 5).tolist() == [2, 4]
    assert validation._in_view(history, "all", 5).tolist() == [0, 1, 2, 3, 4]
