"""What is expected of an item, and what lists would have earned: known answers."""

from __future__ import annotations

import numpy as np

from falconer.recsys.metrics.off_policy import (
    PARTS,
    PRIOR_ROWS,
    ExpectedRewards,
    self_normalised,
)


def test_a_part_is_told_by_the_others_and_what_nobody_saw_by_the_mean() -> None:
    part, item = np.array([0, 0, 1]), np.array([0, -1, 0], np.int32)
    found = ExpectedRewards.of(part, item, np.array([1.0, 0.5, 0.0]), n_items=2)
    assert found.table.shape == (PARTS, 3)
    # Part 0 hears of one row, which earned nothing; part 1 of two, with 1.5 in all.
    assert found(np.array([0]), np.array([0])) == 0.0
    assert found(np.array([1]), np.array([0])) == (1 + PRIOR_ROWS * 0.75) / (1 + PRIOR_ROWS)
    assert found(np.array([1]), np.array([1])) == 0.75
    # The others hear of all three.
    assert found(np.array([4]), np.array([0])) == (1 + PRIOR_ROWS * 0.5) / (2 + PRIOR_ROWS)
    assert found(np.array([4]), np.array([-1])) == 0.5


def test_any_weight_above_none_is_enough() -> None:
    found = self_normalised(np.array([0.25, 0.0]), np.array([0.5, 0.0]))
    assert found[0] == 0.5
    assert np.isnan(found[1])
