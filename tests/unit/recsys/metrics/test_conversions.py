"""Values of other libraries by hand: four queries, k = 3, six items.

query 0   items 0 1 2   hits x . x   2 relevant items
query 1   item  3       hits x       3
query 2   no list                    1
query 3   items 4 5 0   no hits      none, so it is not judged
"""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from falconer.recsys.metrics import conversions
from falconer.recsys.metrics.conversions import Convert, Values
from falconer.recsys.metrics.ranked import Ranked

ITEMS = np.array([[0, 1, 2], [3, -1, -1], [-1, -1, -1], [4, 5, 0]])
HITS = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]], np.bool_)
COUNTS = np.array([8, 4, 2, 1, 1, 0])
"""Of 16 events: 1, 2, 3, 4, 4 and 4 bits."""


def values(n_relevant: tuple[int, ...] = (2, 3, 1, 0), hits: np.ndarray = HITS) -> Values:
    ranked = Ranked(ITEMS.astype(np.int32), hits, np.array(n_relevant))
    return Values(ranked, COUNTS, n_users=4, k=3)


ENTROPY = -(2 / 7 * log(2 / 7) + 5 / 7 * log(1 / 7))
CASES: dict[str, tuple[Convert, float]] = {
    "mean": (conversions.mean("precision"), (2 / 3 + 1 / 3) / 3),
    "mean_of_all": (conversions.mean_of_all("precision"), 1 / 4),
    "mean_of_listed": (conversions.mean_of_listed("precision"), 1 / 2),
    "mean_of_lists": (conversions.mean_of_lists("novelty"), (2 + 4 + 3) / 3),
    "novelty_by_users": (conversions.novelty_by_users, 3 - 2),
    "together": (conversions.together("coverage"), 1),
    "together of judged": (conversions.together("coverage", times=3, judged_only=True), 2),
    "r_precision_uncut": (conversions.r_precision_uncut, (1 / 2 + 1 / 3) / 3),
    "map_by_k": (conversions.map_by_k, (5 / 3 + 1) / 3 / 3),
    "precision_of_listed": (conversions.precision_of_listed, (2 / 3 + 1) / 2),
    "map_of_listed": (conversions.map_of_listed, (5 / 6 + 1) / 2),
    "pooled_precision": (conversions.pooled_precision, 3 / 6),
    "entropy_by_shown": (conversions.entropy_by_shown, ENTROPY / 6),
    "r_precision_where_hit": (conversions.r_precision_where_hit, (1 / 2 + 1 / 3) / 2),
    "map_by_hits": (conversions.map_by_hits, (5 / 6 + 1) / 4),
    "zero_without_judged": (
        conversions.zero_without_judged(conversions.mean("precision")),
        (2 / 3 + 1 / 3) / 3,
    ),
}


def test_a_cut_off_that_is_named_replaces_that_of_the_lists() -> None:
    found = values()
    for name in ("novelty", "precision"):
        assert not np.array_equal(found.each(name, k=1), found.each(name), equal_nan=True)
        np.testing.assert_array_equal(found.each(name, k=found.k), found.each(name))


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name: str) -> None:
    convert, expected = CASES[name]
    assert convert(values()) == pytest.approx(expected, abs=1e-12)


def test_without_a_hit_or_a_relevant_item() -> None:
    nothing = np.zeros_like(HITS)
    assert conversions.r_precision_where_hit(values(hits=nothing)) == 0
    none = values((0, 0, 0, 0), nothing)
    assert conversions.zero_without_judged(conversions.mean("precision"))(none) == 0
    assert np.isnan(conversions.mean("precision")(none))
    assert np.isnan(conversions.pooled_precision(none))
