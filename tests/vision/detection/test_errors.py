"""Each kind of error is named when it is planted, and the threshold is that with the highest F1."""

from __future__ import annotations

import numpy as np
import pytest

from falconer.vision.detection.judging.average_precision import Found, Truth
from falconer.vision.detection.judging.errors import KINDS, best_threshold, error_kinds

TRUE = Truth(
    np.array([[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 90, 90.0]]),
    np.array([0, 1, 0]),
    np.array([100, 100, 1600.0]),
    np.array([False, False, True]),
)
PLANTED = {
    "right": ([0, 0, 10, 10], 0),
    "class": ([0, 0, 10, 10], 1),
    "location": ([4, 0, 14, 10], 0),
    "both": ([4, 0, 14, 10], 1),
    "background": ([40, 0, 50, 10], 0),
}


def found(*boxes: tuple[list[float], int], scores: list[float] | None = None) -> Found:
    return Found(
        np.array([box for box, _ in boxes], np.float64).reshape(-1, 4),
        np.array([label for _, label in boxes], np.int64),
        np.array(scores or [0.9] * len(boxes)),
    )


def counts(**values: int) -> dict[str, int]:
    return dict.fromkeys(KINDS, 0) | values


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_error_is_named(kind: str) -> None:
    missed = 2 if kind == "background" else 1
    assert error_kinds([TRUE], [found(PLANTED[kind])], 0.5) == counts(**{kind: 1}, missed=missed)


def test_a_second_box_over_a_true_one_is_a_duplicate() -> None:
    twice = found(([0, 0, 10, 10], 0), ([0, 0, 10, 9], 0), scores=[0.6, 0.9])
    assert error_kinds([TRUE], [twice], 0.5) == counts(right=1, duplicate=1, missed=1)


def test_crowds_count_neither_way_and_low_scores_are_left_out() -> None:
    inside = found(([60, 60, 70, 70], 0), ([40, 0, 50, 10], 1), scores=[0.9, 0.3])
    assert error_kinds([TRUE], [inside], 0.5) == counts(missed=2)


def test_the_threshold_has_the_highest_f1() -> None:
    mixed = found(
        ([0, 0, 10, 10], 0), ([40, 0, 50, 10], 0), ([20, 20, 30, 30], 1), ([70, 0, 80, 10], 1),
        scores=[0.9, 0.8, 0.7, 0.1],
    )  # fmt: skip
    assert best_threshold([TRUE], [mixed]) == 0.7
    assert best_threshold([TRUE], [found(([0, 0, 10, 10], 0), scores=[0.4])]) == 0.4
    assert best_threshold([TRUE], [found()]) == 0.5
