"""Metrics of the task `labels` against scikit-learn, and where they have no value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from falconer.recsys.metrics.labels import (
    BINARY_METRICS,
    auc,
    average_precision,
    expected_calibration_error,
    gauc,
    log_loss,
)

rows = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0]), st.integers(0, 3)
    ),
    min_size=2,
    max_size=40,
).filter(lambda drawn: len({label for label, _, _ in drawn}) == 2)
"""Labels of both kinds, scores with many ties, users."""


def arrays(drawn: list[tuple[int, float, int]]) -> tuple[Any, Any, Any]:
    label, score, user = (np.array(column) for column in zip(*drawn, strict=True))
    return label, score, user


@settings(max_examples=200)
@given(rows)
def test_values_are_those_of_scikit_learn(drawn: list[tuple[int, float, int]]) -> None:
    label, score, _ = arrays(drawn)
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-9)
    assert average_precision(label, score) == pytest.approx(
        average_precision_score(label, score), abs=1e-9
    )
    clipped = np.clip(score, 1e-15, 1 - 1e-15)
    assert log_loss(label, score) == pytest.approx(sklearn_log_loss(label, clipped), abs=1e-9)


@settings(max_examples=100)
@given(rows)
def test_gauc_is_the_mean_of_users_by_rows(drawn: list[tuple[int, float, int]]) -> None:
    label, score, user = arrays(drawn)
    judged = [one for one in np.unique(user) if len(np.unique(label[user == one])) == 2]
    values = [roc_auc_score(label[user == one], score[user == one]) for one in judged]
    found = gauc(label, score, user)
    if not judged:
        assert np.isnan(found)
    else:
        weights = [(user == one).sum() for one in judged]
        assert found == pytest.approx(np.average(values, weights=weights), abs=1e-9)


def test_large_values_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(20_000)
    label = rng.random(20_000) < score**2
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-9)
    assert average_precision(label, score) == pytest.approx(
        average_precision_score(label, score), abs=1e-9
    )
    assert log_loss(label, score) == pytest.approx(sklearn_log_loss(label, score), abs=1e-9)
    assert gauc(label, score, np.zeros(20_000)) == pytest.approx(auc(label, score), abs=1e-12)


def test_calibration_error_is_that_of_scikit_learns_curve() -> None:
    rng = np.random.default_rng(1)
    score = rng.random(5_000)
    label = rng.random(5_000) < score**2
    ones, means = calibration_curve(label, score, n_bins=10, strategy="uniform")
    counts = np.histogram(score, bins=np.linspace(0, 1, 11))[0]
    expected = (np.abs(ones - means) * counts).sum() / 5_000
    assert expected_calibration_error(label, score) == pytest.approx(expected, abs=1e-9)
    assert expected > 0.1
    assert expected_calibration_error(rng.random(50_000) < 0.3, np.full(50_000, 0.3)) < 0.01


def test_calibration_error_has_its_known_values() -> None:
    assert expected_calibration_error(np.array([0, 1, 1, 0]), np.array([0.0, 1.0, 1.0, 0.0])) == 0
    assert expected_calibration_error(np.array([1, 0]), np.array([0.0, 1.0])) == 1
    assert expected_calibration_error(np.array([1, 0]), np.array([0.5, 0.5])) == 0
    assert expected_calibration_error(
        np.array([1, 0]), np.array([0.2, 0.1]), bins=1
    ) == pytest.approx(0.35)


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_is_irrelevant(drawn: list[tuple[int, float, int]], random: Any) -> None:
    label, score, user = arrays(drawn)
    mixed = list(drawn)
    random.shuffle(mixed)
    other_label, other_score, other_user = arrays(mixed)
    for function in (auc, average_precision, log_loss, expected_calibration_error):
        assert function(label, score) == pytest.approx(
            function(other_label, other_score), abs=1e-12
        )
    first, second = gauc(label, score, user), gauc(other_label, other_score, other_user)
    assert first == pytest.approx(second, abs=1e-12, nan_ok=True)


@given(rows)
def test_a_perfect_order_has_one(drawn: list[tuple[int, float, int]]) -> None:
    label, _, _ = arrays(drawn)
    assert auc(label, label * 1.0) == average_precision(label, label * 1.0) == 1
    assert auc(label, -label * 1.0) == 0
    assert auc(label, np.zeros(len(label))) == 0.5


@pytest.mark.parametrize("label", [[], [0, 0], [1, 1]], ids=str)
def test_without_both_labels_there_is_no_order(label: list[int]) -> None:
    given_label, score = np.array(label, np.int64), np.zeros(len(label))
    assert np.isnan(auc(given_label, score))
    assert np.isnan(gauc(given_label, score, given_label))
    assert np.isnan(average_precision(given_label, score)) == (1 not in label)
    assert np.isnan(log_loss(given_label, score)) == (not label)
    assert np.isnan(expected_calibration_error(given_label, score)) == (not label)


@pytest.mark.parametrize("name", BINARY_METRICS)
@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        ([0, 1], [0.5], "1 scores beside 2 labels"),
        ([0, 2], [0.5, 0.5], "labels must be 0 or 1"),
        ([0, 1], [0.5, np.nan], "score of row 1 is NaN"),
    ],
)
def test_wrong_rows_are_refused(
    name: str, label: list[int], score: list[float], message: str
) -> None:
    given_values = [np.array(label), np.array(score)] + (
        [np.array(label)] if name == "gauc" else []
    )
    with pytest.raises(ValueError, match=message):
        BINARY_METRICS[name].function(*given_values)


@pytest.mark.parametrize("function", [log_loss, expected_calibration_error])
def test_a_score_that_is_no_probability_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match=r"the score of row 1 is 1\.5"):
        function(np.array([0, 1]), np.array([0.5, 1.5]))
