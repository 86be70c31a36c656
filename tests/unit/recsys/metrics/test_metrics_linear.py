"""Values of rows whose mean is a metric: against numeric derivatives, and the bootstrap of the
metric itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.statistics.bootstrap import interval, resampled_means
from falconer.recsys.metrics import BINARY_METRICS, RATING_METRICS
from falconer.recsys.metrics.linear import INFLUENCES, metric_value, row_values
from falconer.recsys.metrics.rating import mae, rmse

BINARY = ("roc_auc", "gauc", "log_loss", "average_precision", "expected_calibration_error")
rows = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0]), st.integers(0, 3)
    ),
    min_size=4,
    max_size=30,
).filter(lambda drawn: len({label for label, _, _ in drawn}) == 2)


def drawn_rows(n: int, seed: int) -> tuple[Any, Any, Any]:
    """Labels that follow from a logistic model with an effect of each of n / 20 users, and its
    probabilities."""
    random = np.random.default_rng(seed)
    user = random.integers(0, n // 20, n)
    logit = random.normal(size=n) + random.normal(size=n // 20)[user]
    probability = 1 / (1 + np.exp(-logit))
    return (random.random(n) < probability).astype(float), probability, user


@settings(max_examples=150, deadline=None)
@given(rows)
def test_the_mean_of_the_rows_values_is_the_metric(drawn: list[tuple[int, float, int]]) -> None:
    label, score, user = (np.array(column) for column in zip(*drawn, strict=True))
    for name in BINARY:
        values = row_values(name, label, score, user)
        expected = BINARY_METRICS[name].function(label, score, *([user] if name == "gauc" else []))
        if values is None:
            assert np.isnan(expected)
        else:
            assert values.mean() == pytest.approx(expected, abs=1e-9)


def test_the_lowest_row_moves_average_precision_too() -> None:
    """Two rows, the positive one below: AP = w / (w + 1) at its weight w, whose slope at 1 is a
    quarter, and two rows share it."""
    values = row_values("average_precision", np.array([0.0, 1.0]), np.array([0.9, 0.1]), None)
    assert values is not None
    np.testing.assert_allclose(values, [0.5 - 2 / 4, 0.5 + 2 / 4], atol=1e-12)


@pytest.mark.parametrize("name", [name for name in BINARY if name != "gauc"])
def test_an_influence_is_what_one_more_copy_of_the_row_does(name: str) -> None:
    """The metric of all rows 2,000 times, with one row once more, is the metric with the row's
    weight 1 + 1/2000."""
    random = np.random.default_rng(3)
    label, score = random.integers(0, 2, 12).astype(float), np.round(random.random(12), 1)
    metric, copies = BINARY_METRICS[name].function, 2000
    values = row_values(name, label, score, None)
    assert values is not None
    whole = metric(np.tile(label, copies), np.tile(score, copies))
    for row in range(12):
        more = metric(
            np.append(np.tile(label, copies), label[row]),
            np.append(np.tile(score, copies), score[row]),
        )
        influence = (more - whole) * copies * 12
        assert influence == pytest.approx(values[row] - values.mean(), abs=5e-3)


@pytest.mark.parametrize("name", [*BINARY, "rmse", "mae"])
def test_intervals_are_those_of_the_bootstrap_of_the_metric_itself(name: str) -> None:
    label, score, user = drawn_rows(3000, seed=1)
    n_users = user.max() + 1
    values = row_values(name, label, score, user)
    assert values is not None
    by_user = values.mean() + (n_users / len(label)) * np.bincount(
        user, weights=values - values.mean()
    )
    low, high = interval(resampled_means(by_user[:, None], resamples=1000, seed=0), level=0.9)
    direct = np.quantile(resampled_metric(name, label, score, user), [0.05, 0.95])
    width = direct[1] - direct[0]
    if name == "expected_calibration_error":  # bounded by 0, and the bootstrap only adds to it
        assert high[0] - low[0] == pytest.approx(width, rel=0.4)
    else:
        assert [low[0], high[0]] == pytest.approx(direct, abs=0.12 * width)


def resampled_metric(name: str, label: Any, score: Any, user: Any) -> list[float]:
    """The metric of 400 draws of users with all their rows; a user that is drawn twice is two
    users."""
    random = np.random.default_rng(5)
    rows_of = [np.flatnonzero(user == one) for one in range(user.max() + 1)]
    found = []
    for _ in range(400):
        chosen = [rows_of[one] for one in random.integers(0, len(rows_of), len(rows_of))]
        twin = np.repeat(np.arange(len(chosen)), [len(part) for part in chosen])
        rows = np.concatenate(chosen)
        found.append(metric_value(name, label[rows], score[rows], twin))
    return found


def test_every_metric_of_rows_has_an_influence() -> None:
    assert set(INFLUENCES) == {*BINARY_METRICS, *RATING_METRICS}


def test_errors_of_ratings() -> None:
    label, score = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    assert mae(label, score) == pytest.approx(1.0)
    assert rmse(label, score) == pytest.approx(np.sqrt(5 / 3))
    assert np.isnan(rmse(label[:0], score[:0]))
    with pytest.raises(ValueError, match="NaN"):
        mae(label, np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ValueError, match="2 predictions beside 3"):
        rmse(label, score[:2])


def test_a_metric_without_a_value_has_no_rows_values() -> None:
    ones = np.ones(5)
    assert row_values("roc_auc", ones, np.linspace(0, 1, 5), None) is None
    assert row_values("log_loss", ones, np.linspace(0, 1, 5), None) is not None
