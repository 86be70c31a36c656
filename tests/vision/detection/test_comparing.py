"""Whether two detectors differ by more than chance: answers that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from falconer.vision.detection.judging.average_precision import Found, Truth
from falconer.vision.detection.judging.compare import differences, exchange_p
from falconer.vision.detection.judging.report import DetectionReport, JudgedDetector, judge

SIDE = 40.0


def detector(label: str, moved: list[float]) -> JudgedDetector:
    """One true box in each picture, and one detection that is moved to the right by so much: surer
    where it is right."""
    box = np.array([[10.0, 10.0, 10 + SIDE, 10 + SIDE]])
    truths = [
        Truth(box, np.zeros(1, np.int64), np.array([SIDE**2]), np.zeros(1, np.bool_)) for _ in moved
    ]
    founds = [
        Found(box + np.array([by, 0, by, 0]), np.zeros(1, np.int64), np.array([0.5 if by else 0.9]))
        for by in moved
    ]
    facts = DetectionReport(
        label=label,
        run=None,
        dataset_name="squares",
        dataset_id="0",
        fold="test",
        classes=("square",),
        n_pictures=len(moved),
        n_boxes=len(moved),
        metrics={},
        threshold=None,
        errors={},
        rejected={},
        resamples=100,
    )
    return JudgedDetector(judge(truths, founds, facts), truths, founds)


def test_one_that_is_right_and_one_that_is_wrong_are_told_apart() -> None:
    right, wrong = detector("right", [0.0] * 12), detector("wrong", [SIDE] * 11 + [0.0])
    (gap,) = differences([right, wrong], "map@.5")
    assert gap.difference == pytest.approx(1 - wrong.report.metrics["map@.5"].mean)
    assert gap.low > 0
    assert gap.separated


def test_the_same_answers_are_never_told_apart() -> None:
    one, other = detector("one", [0.0, SIDE] * 6), detector("other", [0.0, SIDE] * 6)
    (gap,) = differences([one, other], "map")
    assert (gap.difference, gap.low, gap.high, gap.p_holm) == (0.0, 0.0, 0.0, 1.0)
    assert gap.reaches_zero


def test_equally_good_ones_that_err_on_other_pictures_are_within_the_noise() -> None:
    one, other = detector("one", [0.0, SIDE] * 6), detector("other", [SIDE, 0.0] * 6)
    (gap,) = differences([one, other], "map@.5")
    assert gap.difference == 0.0
    assert gap.reaches_zero
    assert exchange_p(one, other, "map@.5", swaps=50, seed=0) == 1.0


def test_the_p_value_of_two_pictures_is_the_share_of_exchanges() -> None:
    """With one picture in which the two differ, every exchange leaves them as far apart."""
    one, other = detector("one", [0.0, 0.0]), detector("other", [SIDE, 0.0])
    assert exchange_p(one, other, "map@.5", swaps=99, seed=0) == 1.0


def test_pairs_are_corrected_for_their_number() -> None:
    right, wrong = detector("right", [0.0] * 12), detector("wrong", [SIDE] * 11 + [0.0])
    (alone,) = differences([right, wrong], "map@.5")
    three = differences([right, wrong, detector("third", [0.0] * 12)], "map@.5")
    assert [(gap.first, gap.second) for gap in three] == [
        ("right", "wrong"),
        ("right", "third"),
        ("wrong", "third"),
    ]
    assert three[0].p_holm > alone.p_holm


def test_an_interval_is_told_where_the_draw_of_pictures_changes_something() -> None:
    halved = detector("halved", [0.0, SIDE] * 6).report.metrics["map@.5"]
    assert halved.low is not None
    assert halved.high is not None
    assert halved.low < halved.mean < halved.high
    perfect = detector("perfect", [0.0] * 12).report.metrics["map@.5"]
    assert (perfect.mean, perfect.low, perfect.high) == (1.0, None, None)
