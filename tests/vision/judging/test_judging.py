"""Metrics, calibration, thresholds and folds against known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, log_loss, top_k_accuracy_score

from falconer.vision.data.source import Picture
from falconer.vision.data.split import k_folds, with_folds, without_copies
from falconer.vision.judging.calibration import best_temperature, calibration
from falconer.vision.judging.metrics import (
    average_precision,
    log_softmax,
    per_picture,
    per_unit_of_tags,
    sigmoid,
)
from falconer.vision.judging.report import (
    JudgeConfig,
    best_thresholds,
    class_reports,
    judged_classes,
    judged_tags,
)


def answers(n: int = 300, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(4)
    labels = rng.integers(0, classes, n)
    labels[:classes] = np.arange(classes)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    return logits, labels


def test_metrics_are_those_of_scikit_learn() -> None:
    logits, labels = answers()
    found = per_picture(logits, labels)
    assert found["top1"].mean() == pytest.approx(top_k_accuracy_score(labels, logits, k=1))
    assert found["top5"].mean() == pytest.approx(top_k_accuracy_score(labels, logits, k=5))
    probabilities = np.exp(log_softmax(logits))
    assert found["log_loss"].mean() == pytest.approx(log_loss(labels, probabilities))
    wanted = torch.from_numpy(logits).double().log_softmax(1).numpy()
    assert np.allclose(log_softmax(logits), wanted)
    assert np.allclose(sigmoid(logits), torch.from_numpy(logits).double().sigmoid().numpy())


def test_a_tie_is_no_hit() -> None:
    found = per_picture(np.zeros((2, 7), np.float32), np.array([0, 3]))
    assert found["top1"].tolist() == [0, 0]
    assert found["top5"].tolist() == [0, 0]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30).filter(
        lambda rows: any(truth for _, truth in rows)
    )
)
def test_average_precision_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in rows], np.float64)
    truth = np.array([there for _, there in rows])
    wanted = average_precision_score(truth, scores)
    assert average_precision(scores, truth) == pytest.approx(wanted)


def test_a_report_has_the_confusion_and_intervals_around_the_mean() -> None:
    logits, labels = answers()
    metrics, confusion, found = judged_classes(logits, labels, 8, JudgeConfig(resamples=200))
    assert confusion.sum() == 300
    assert confusion.sum(1).tolist() == np.bincount(labels).tolist()
    assert metrics["top1"].mean == pytest.approx(confusion.diagonal().sum() / 300)
    recalls = confusion.diagonal() / confusion.sum(1)
    assert metrics["balanced"].mean == pytest.approx(recalls.mean())
    for name in ("top1", "top5", "log_loss", "balanced"):
        low, high = metrics[name].low, metrics[name].high
        assert low is not None
        assert high is not None
        assert low < metrics[name].mean < high
    assert 0 < found.ece < 1


def test_a_class_that_is_never_there_or_never_given_has_no_rate() -> None:
    first, second, third = class_reports(np.array([[3, 1, 0], [0, 0, 0], [2, 0, 0]]), list("abc"))
    assert (first.n, first.precision, first.recall) == (4, 3 / 5, 3 / 4)
    assert (second.n, second.precision, second.recall) == (0, 0.0, None)
    assert (third.precision, third.recall, third.f1) == (None, 0.0, 0.0)


def test_calibration_of_known_answers() -> None:
    sure = np.log(np.array([[0.9, 0.1]] * 10, np.float32))
    assert calibration(sure, np.array([0] * 9 + [1])).ece == pytest.approx(0, abs=1e-6)
    found = calibration(sure, np.array([0] * 5 + [1] * 5))
    assert found.ece == pytest.approx(0.4, abs=1e-6)
    assert [(one.n, one.accuracy) for one in found.bins] == [(10, 0.5)]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_scale(factor: float) -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(20_000, 4)) * 2
    drawn = logits + rng.gumbel(size=logits.shape)
    labels = drawn.argmax(axis=1)
    found = best_temperature((logits * factor).astype(np.float32), labels)
    assert found == pytest.approx(factor, rel=0.05)


def test_without_a_mistake_the_temperature_stays() -> None:
    assert best_temperature(np.eye(3, dtype=np.float32), np.arange(3)) == 1.0


def test_a_threshold_has_the_best_f1() -> None:
    logits = np.array([[3.0, 0], [2, 0], [1, 0], [0, 0], [-1, 0]], np.float32)
    tags = np.array([[1, 0], [1, 0], [0, 0], [1, 0], [0, 0]], bool)
    first, second = best_thresholds(logits, tags)
    given = sigmoid(logits[:, 0]) >= first
    assert given.tolist() == [True, True, True, True, False]
    assert second == 0.5
    metrics, reports = judged_tags(logits, tags, ("a", "b"), (first, second), JudgeConfig())
    assert metrics["map"].mean == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert (reports[0].recall, reports[1].average_precision) == (1.0, None)


def pictures(n: int, **knobs: object) -> list[Picture]:
    return [Picture(f"{k}", (k % 3,), **knobs) for k in range(n)]  # type: ignore[arg-type]


def test_groups_stay_in_one_fold() -> None:
    some = [Picture(f"{k}", (k % 3,), group=f"g{k // 4}") for k in range(80)]
    folded = with_folds(some, [str(k) for k in range(80)])
    by_group = {(one.group, one.fold) for one in folded}
    assert len(by_group) == 20
    assert {one.fold for one in folded} == {"train", "valid", "test"}


def test_given_folds_stay_and_a_validation_is_drawn_from_train() -> None:
    some = [Picture(f"{k}", (0,), fold="test" if k < 10 else "train") for k in range(60)]
    folded = with_folds(some, [str(k) for k in range(60)])
    assert [one.fold for one in folded[:10]] == ["test"] * 10
    assert sum(one.fold == "valid" for one in folded) == 5


def test_of_copies_the_most_protected_is_kept() -> None:
    some = [Picture("a", (0,), fold="train"), Picture("b", (0,), fold="test"), Picture("c", (1,))]
    kept, rejected = without_copies(some, ["x", "x", "y"])
    assert kept == [1, 2]
    assert rejected[0].reason == "the same picture as b"


@given(st.integers(2, 6), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=12))
def test_every_group_is_in_one_part(k: int, rows: list[tuple[int, int]]) -> None:
    groups = [str(group) for group, _ in rows]
    labels = np.array([label for _, label in rows])
    parts = k_folds(groups, labels, k=k)
    assert len({(g, p) for g, p in zip(groups, parts.tolist(), strict=True)}) == len(set(groups))
    assert parts.max() < k


def test_classes_are_spread_evenly_over_the_parts() -> None:
    labels = np.array([0] * 40 + [1] * 20 + [2] * 10)
    parts = k_folds([str(place) for place in range(70)], labels, k=5)
    for label, count in ((0, 8), (1, 4), (2, 2)):
        assert np.bincount(parts[labels == label], minlength=5).tolist() == [count] * 5


def test_tags_are_judged_unit_by_unit() -> None:
    """At 0.5 and 0.9: the first unit has one of two tags right, the second both."""
    logits = np.array([[2.0, 1.0], [-3.0, 4.0]], np.float32)
    tags = np.array([[True, True], [False, True]])
    found = per_unit_of_tags(logits, tags, (0.5, 0.9))
    assert found["right_tags"].tolist() == [0.5, 1.0]
    expected = np.log1p(np.exp(-np.array([[2.0, 1.0], [3.0, 4.0]]))).sum(axis=1)
    np.testing.assert_allclose(found["log_loss"], expected)


def test_a_few_pictures_without_a_mistake_leave_doubt() -> None:
    labels = np.array([0] * 3 + [1] * 4)
    logits = np.eye(2, dtype=np.float32)[labels] * 9
    metrics, _, _ = judged_classes(logits, labels, 2, JudgeConfig(resamples=100))
    assert (metrics["top1"].mean, metrics["top1"].high) == (1, 1)
    assert metrics["top1"].low == pytest.approx(0.025 ** (1 / 7))
    missing = [1 - 0.025 ** (1 / 3), 1 - 0.025 ** (1 / 4)]
    assert metrics["balanced"].low == pytest.approx(1 - np.hypot(*missing) / 2)
    assert metrics["balanced"].high == 1


def test_precision_that_no_draw_of_pictures_changes_has_no_interval() -> None:
    tags = np.array([[True, False], [False, True]])
    logits = np.where(tags, 5, -5).astype(np.float32)
    metrics, _ = judged_tags(logits, tags, ("a", "b"), (), JudgeConfig(resamples=100))
    assert (metrics["map"].mean, metrics["map"].low, metrics["map"].ends) == (1, None, "")
    assert metrics["right_tags"].low == pytest.approx(0.025**0.5)
