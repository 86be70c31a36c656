"""What all lists show together: parts that add up, groups apart, and lists of any length."""

from __future__ import annotations

import math

import numpy as np
import pytest

from falconer.pipelines.data.queries import Ragged
from falconer.recsys.metrics.compute import exposures
from falconer.recsys.metrics.context import Context
from falconer.recsys.metrics.exposure import GROUPS, Exposure, popularity_lift, shannon
from falconer.recsys.metrics.ranked import Ranked


def context() -> Context:
    """Three items, of which train has seen one."""
    history = Ragged.from_lengths(np.array([1, 1]), np.array([0, 0], np.int32))
    return Context(np.array([4, 0, 0]), history, {})


def test_cut_offs_are_counted_in_any_order() -> None:
    ranked = Ranked.of([[0, 1, 2], [0, 2, 1]], [{1}, {2}])
    shown = exposures(ranked, context(), ["coverage"], [3, 1])
    assert list(shown) == [3, 1]
    assert shown[1].counts.tolist() == [2, 0, 0]
    assert shown[3].counts.tolist() == [2, 2, 2]


def test_without_popularity_the_sums_have_a_place_for_each_group_and_the_rest() -> None:
    ranked = Ranked.of([[0]], [{0}])
    shown = Exposure.of(ranked, context(), 1, popularity=False)
    assert shown.list_popularity.tolist() == [0.0] * (len(GROUPS) + 1)
    assert shown.history_popularity.tolist() == [0.0] * (len(GROUPS) + 1)


@pytest.mark.parametrize(("place", "group"), list(enumerate(GROUPS)))
def test_the_lift_of_a_group_is_its_own(place: int, group: str) -> None:
    shown = Exposure(np.ones(2), np.array([2.0, 6.0, 20.0, 9.0]), np.array([1.0, 2.0, 5.0, 3.0]))
    assert popularity_lift(shown, group=group) == [1.0, 2.0, 3.0][place]
    assert popularity_lift(shown) == 37 / 11 - 1


def test_one_item_alone_has_no_entropy_and_no_sign() -> None:
    found = shannon(Exposure(np.array([0, 5]), np.zeros(4), np.zeros(4)))
    assert (found, math.copysign(1, found)) == (0.0, 1.0)


def test_a_place_beyond_two_bytes_is_its_own() -> None:
    hits = np.zeros((2, 2**16 + 9), np.bool_)
    hits[0, 2**16 + 1] = hits[1, 5] = True
    ranked = Ranked(np.zeros(hits.shape, np.int32), hits, np.ones(2, np.int64))
    assert ranked.n_hits(10).tolist() == [0.0, 1.0]
    assert ranked.n_hits(2**16 + 9).tolist() == [1.0, 1.0]


def test_lists_and_what_is_relevant_are_of_the_same_queries() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Ranked.of([[0], [1]], [{0}])
