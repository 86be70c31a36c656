"""The bootstrap: against theory, and against itself in one piece and in blocks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from falconer.pipelines.statistics import bootstrap as resampling
from falconer.pipelines.statistics.bootstrap import Resampling, interval, resampled_means


def test_intervals_are_those_of_the_central_limit_theorem() -> None:
    values = np.random.default_rng(0).gamma(2, size=(4000, 1))
    low, high = interval(resampled_means(values, resamples=4000, seed=0), level=0.95)
    half = 1.959964 * values.std() / np.sqrt(len(values))
    assert low[0] == pytest.approx(values.mean() - half, abs=0.08 * half)
    assert high[0] == pytest.approx(values.mean() + half, abs=0.08 * half)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(300):
        low, high = interval(
            resampled_means(rng.random((100, 1)), resamples=300, seed=seed), level=0.9
        )
        inside += low[0] <= 0.5 <= high[0]
    assert 0.84 < inside / 300 < 0.95


def test_resamples_are_seeded_shared_by_columns_and_independent_of_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).random((50, 3))
    together = resampled_means(values, resamples=200, seed=7)
    assert (together == resampled_means(values, resamples=200, seed=7)).all()
    assert not (together == resampled_means(values, resamples=200, seed=8)).all()
    np.testing.assert_allclose(
        resampled_means(values[:, [2]], resamples=200, seed=7)[:, 0], together[:, 2], rtol=1e-12
    )
    monkeypatch.setattr(resampling, "DRAWS_AT_ONCE", 50 * 3)
    np.testing.assert_allclose(resampled_means(values, resamples=200, seed=7), together, rtol=1e-12)


def test_a_paired_interval_is_far_narrower_than_two_apart() -> None:
    rng = np.random.default_rng(0)
    ability = rng.random(500)
    values = np.stack([ability + 0.02 + 0.01 * rng.standard_normal(500), ability], axis=1)
    means = resampled_means(values, resamples=500, seed=0)
    low, high = interval(means[:, [0]] - means[:, [1]], level=0.95)
    assert 0.018 < low[0] < high[0] < 0.022
    single_low, single_high = interval(means, level=0.95)
    assert (single_high - single_low).min() > 10 * (high - low)[0]


def test_queries_without_a_value_are_left_out_of_its_mean_and_interval() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((300, 3))
    values[::3, 1] = np.nan
    means = resampled_means(values, resamples=500, seed=1)
    whole = resampled_means(np.nan_to_num(values), resamples=500, seed=1)
    assert means[:, [0, 2]].tobytes() == whole[:, [0, 2]].tobytes()
    assert not np.isnan(means).any()
    known = values[~np.isnan(values[:, 1]), 1]
    low, high = interval(means[:, [1]], level=0.95)
    half = 1.96 * known.std() / np.sqrt(len(known))
    assert (low[0], high[0]) == pytest.approx(
        (known.mean() - half, known.mean() + half), abs=0.25 * half
    )


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=6), st.sampled_from([1, 7, 64]), st.integers(0, 3))
def test_rows_may_come_in_any_parts(cuts: list[int], rows: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((40, 3))
    values[::3, 1] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "ROWS", rows)
        whole = resampled_means(values, resamples=20, seed=seed)
        drawn = Resampling(40, 3, resamples=20, seed=seed)
        bounds = [0, *sorted(cuts), 40]
        for start, stop in pairwise(bounds):
            drawn.add(values[start:stop])
    assert drawn.means().tobytes() == whole.tobytes()
    np.testing.assert_allclose(drawn.mean(), np.nanmean(values, axis=0), rtol=1e-12)
    assert drawn.present.tolist() == [40, 26, 40]


def test_one_block_draws_as_one_draw_from_all_rows() -> None:
    values = np.random.default_rng(0).random((50, 2))
    rows = np.random.default_rng(7).integers(0, 50, (200, 50))
    np.testing.assert_allclose(
        resampled_means(values, resamples=200, seed=7), values[rows].mean(axis=1), rtol=1e-12
    )


@pytest.mark.parametrize("rows", [1, 64, 700])
def test_blocks_draw_what_one_draw_from_all_rows_would(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Means and deviations of resampled means are those of theory, whatever the block, though rows
    are not alike."""
    rng = np.random.default_rng(0)
    values = np.stack([np.sort(rng.gamma(2, size=2000)), rng.random(2000)], axis=1)
    values[:500, 1] = np.nan
    monkeypatch.setattr(resampling, "ROWS", rows)
    means = resampled_means(values, resamples=3000, seed=1)
    error = np.nanstd(values, axis=0) / np.sqrt(np.count_nonzero(~np.isnan(values), axis=0))
    np.testing.assert_allclose(means.std(axis=0), error, rtol=0.06)
    assert (
        np.abs(means.mean(axis=0) - np.nanmean(values, axis=0)) < 4 * error / np.sqrt(3000)
    ).all()


def test_a_column_that_no_row_has_is_nan_and_a_row_that_is_not_drawn_gives_the_mean_of_all() -> (
    None
):
    values = np.full((30, 2), np.nan)
    values[3, 0] = 0.25
    means = resampled_means(values, resamples=50, seed=0)
    assert (means[:, 0] == 0.25).all()
    assert np.isnan(means[:, 1]).all()


def test_rows_are_drawn_by_the_seed_s_own_generator() -> None:
    """Numbers that were printed once come out again."""
    values = np.arange(7.0)[:, None]
    drawn = np.random.default_rng(5).integers(0, 7, 3 * 7).reshape(3, 7)
    found = resampled_means(values, resamples=3, seed=5)
    np.testing.assert_allclose(found[:, 0], drawn.mean(axis=1))


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_percentiles_of_few_rows_are_those_of_the_expanded_interval(level: float) -> None:
    """Hesterberg 2015, section 3.5: the percentile at which sqrt(n / (n - 1)) of t's quantile lies
    on the normal curve."""
    n = np.array([1, 2, 5, 30, 1000])
    means = np.random.default_rng(0).normal(size=(5000, len(n)))
    low, high = interval(means, level=level, n=n)
    for column, rows in enumerate(n):
        freedom = max(rows - 1, 1)
        further = stats.norm.cdf(np.sqrt(rows / freedom) * stats.t.ppf((1 - level) / 2, freedom))
        assert low[column] == pytest.approx(np.quantile(means[:, column], further))
        assert high[column] == pytest.approx(np.quantile(means[:, column], 1 - further))
