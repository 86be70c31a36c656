from __future__ import annotations

import itertools
import math
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from falconer.pipelines.statistics import significance
from falconer.pipelines.statistics.significance import (
    bootstrap_p,
    holm,
    letters,
    queries_needed,
    randomisation_p,
)


def column(values: object) -> np.ndarray:
    return np.asarray(values, np.float64)[:, None]


def test_random_flips_reach_the_p_value_of_all_flips() -> None:
    gaps = np.array([0.3, -0.1, 0.4, 0.2, 0.25, -0.05, 0.1, 0.3])
    sums = [abs(np.dot(signs, gaps)) for signs in itertools.product((-1, 1), repeat=8)]
    exact = np.mean([total >= gaps.sum() - 1e-12 for total in sums])
    (found,) = randomisation_p(column(gaps), seed=0, flips=40_000)
    assert found == pytest.approx(exact, abs=0.004)


def test_many_queries_take_the_normal_limit_which_agrees_with_flips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gaps = np.random.default_rng(0).standard_normal((3000, 4)) + np.array([0, 0.02, 0.04, 0.06])
    flipped = randomisation_p(gaps, seed=1)
    monkeypatch.setattr(significance, "EXACT_QUERIES", 100)
    assert randomisation_p(gaps, seed=1) == pytest.approx(flipped, abs=0.02)


def test_sums_that_differ_by_their_rounding_alone_are_equally_far() -> None:
    values = np.array([[1e6], [-1e6], [1e-6]])
    assert randomisation_p(values, seed=0, flips=200)[0] == 1.0


def test_no_difference_at_all_has_p_one() -> None:
    assert randomisation_p(np.zeros((30, 2)), seed=0).tolist() == [1.0, 1.0]
    assert bootstrap_p(np.zeros((200, 1))).tolist() == [1.0]


def test_p_values_of_equal_models_are_uniform() -> None:
    gaps = np.random.default_rng(3).standard_normal((60, 400)) * np.linspace(0.1, 5, 60)[:, None]
    assert stats.kstest(randomisation_p(gaps, seed=0, flips=2000), "uniform").pvalue > 0.01


def test_p_values_agree_with_the_t_test_where_both_hold() -> None:
    gaps = np.random.default_rng(4).standard_normal((200, 5)) + np.linspace(0, 0.2, 5)
    assert randomisation_p(gaps, seed=0) == pytest.approx(
        stats.ttest_1samp(gaps, 0).pvalue, abs=0.03
    )


@given(st.lists(st.floats(0.0001, 1), min_size=1, max_size=12))
def test_holm_is_between_the_plain_and_the_bonferroni_value_and_keeps_the_order(
    p: list[float],
) -> None:
    adjusted = holm(p)
    assert all(a <= b <= min(1, a * len(p)) + 1e-12 for a, b in zip(p, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(p)] == sorted(adjusted)


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_calls_a_difference_among_equals_as_seldom_as_it_says() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for seed in range(200):
        values = rng.standard_normal((50, 5))
        pairs = np.stack(
            [values[:, i] - values[:, j] for i, j in itertools.combinations(range(5), 2)], axis=1
        )
        alarms += min(holm(randomisation_p(pairs, seed=seed, flips=1000).tolist())) <= 0.05
    assert alarms <= 20


def test_the_number_of_queries_has_the_power_that_it_promises() -> None:
    rng = np.random.default_rng(6)
    pilot = rng.standard_normal(100_000) + 0.2
    n = queries_needed(pilot, alpha=0.05)
    assert n is not None
    assert n == pytest.approx((1.96 + 0.8416) ** 2 / 0.04, rel=0.05)
    found = stats.ttest_1samp(rng.standard_normal((n, 2000)) + 0.2, 0).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    ("gaps", "expected"), [([0.0, 0.0], None), ([0.1, -0.1], None), ([0.5], 2), ([0.5, 0.5], 2)]
)
def test_the_number_of_queries_where_there_is_nothing_to_compute(
    gaps: list[float], expected: int | None
) -> None:
    assert queries_needed(np.array(gaps), alpha=0.05) == expected


LETTERS = {
    "all alike": ([], {"A": "a", "B": "a", "C": "a", "D": "a"}),
    "all apart": (["AB", "AC", "AD", "BC", "BD", "CD"], {"A": "a", "B": "b", "C": "c", "D": "d"}),
    "a bridge": (["AC", "AD", "BD"], {"A": "a", "B": "ab", "C": "bc", "D": "c"}),
    "not in order": (["AB", "CD"], {"A": "ab", "B": "cd", "C": "ac", "D": "bd"}),
}


@pytest.mark.parametrize("case", LETTERS)
def test_letters_on_worked_examples(case: str) -> None:
    apart, expected = LETTERS[case]
    pairs = {(a, b): f"{a}{b}" in apart for a, b in itertools.combinations("ABCD", 2)}
    assert letters("ABCD", pairs) == expected


@given(st.integers(1, 6), st.data())
def test_models_share_a_letter_exactly_where_they_are_not_told_apart(
    n: int, data: st.DataObject
) -> None:
    labels = [f"m{i}" for i in range(n)]
    pairs = {pair: data.draw(st.booleans()) for pair in itertools.combinations(labels, 2)}
    given_letters = letters(labels, pairs)
    assert all(given_letters.values())
    for (first, second), apart in pairs.items():
        assert bool(set(given_letters[first]) & set(given_letters[second])) is not apart


def test_many_groups_have_names_of_their_own() -> None:
    labels = [f"m{i}" for i in range(30)]
    found = letters(labels, dict.fromkeys(itertools.combinations(labels, 2), True))
    assert len(set(found.values())) == 30
    assert [found[f"m{i}"] for i in (0, 25, 26, 29)] == ["a", "z", "a2", "d2"]


@pytest.mark.parametrize(
    ("tests", "alpha", "flips"),
    [(1, 0.05, 10_000), (250, 0.05, 10_000), (528, 0.05, 21_120), (3, 0.0005, 12_000)],
)
def test_there_are_flips_enough_for_the_smallest_p_to_survive_the_correction(
    tests: int, alpha: float, flips: int
) -> None:
    found = significance.flips_for(tests, alpha=alpha)
    assert found == flips
    assert tests / (1 + found) <= alpha


def test_flips_end_where_a_machine_does() -> None:
    assert significance.flips_for(10**9, alpha=0.05) == significance.MOST_FLIPS


def test_the_share_of_resamples_beyond_zero_twice() -> None:
    """Nine resamples: none below zero, three, and all exactly there."""
    columns = [range(1, 10), range(-3, 6), [0] * 9]
    found = significance.bootstrap_p(np.array(columns, np.float64).T)
    assert found.tolist() == pytest.approx([2 * 1 / 10, 2 * 5 / 10, 1.0])


def test_a_difference_takes_as_many_queries_in_either_direction() -> None:
    ahead = np.random.default_rng(0).normal(0.1, 1.0, 200)
    n = significance.queries_needed(ahead, alpha=0.05)
    assert n is not None
    assert n > 100
    assert significance.queries_needed(-ahead, alpha=0.05) == n


def test_only_the_smallest_p_value_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def p_values(values: object, *, flips: int, **_: object) -> np.ndarray:
        return np.array([1, 2]) / (1 + flips)

    monkeypatch.setattr(significance, "randomisation_p", p_values)
    found = significance.randomisation_tests(np.zeros((5, 2)), seed=0, alpha=0.05)
    assert found.is_bound == [True, False]


def test_the_number_of_queries_is_rounded_up() -> None:
    """By hand: (1.96 + 0.8416)^2 of a variance of 1 and a mean of 0.5 are 31.4 queries."""
    gaps = 0.5 + np.array([-1.0, 1.0] * 50) * (99 / 100) ** 0.5
    assert significance.queries_needed(gaps, alpha=0.05) == 32


@pytest.mark.parametrize("n", [1, 7, 8, 9, 17])
def test_signs_are_signs_of_as_many_rows_and_columns_as_are_asked_for(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(significance, "SIGNS_AT_ONCE", 5 * n)
    blocks = list(significance._signs(n, 12, 0))
    assert [block.shape for block in blocks] == [(5, n), (5, n), (2, n)]
    assert set(np.concatenate(blocks).ravel()) == {-1.0, 1.0}


def test_flips_are_drawn_up_to_the_number_of_queries_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of eleven equal differences all signs but two are nearer to zero: 1 in 1,024."""
    monkeypatch.setattr(significance, "EXACT_QUERIES", 11)
    values = np.ones((11, 1))
    drawn = randomisation_p(values, seed=0, flips=20_000)[0]
    assert drawn == pytest.approx(2 / 2**11, abs=1e-3)
    normal = randomisation_p(np.ones((12, 1)), seed=0, flips=20_000)[0]
    assert normal == pytest.approx(2 * stats.norm.sf(12**0.5))


def test_as_many_queries_as_are_flipped_are_flipped(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.full((60, 1), 0.5)
    monkeypatch.setattr(significance, "EXACT_QUERIES", 60)
    found = significance.randomisation_tests(values, seed=0, alpha=0.05)
    assert found.p == [1 / (1 + significance.FLIPS)]
    assert found.is_bound == [True]
    monkeypatch.setattr(significance, "EXACT_QUERIES", 59)
    found = significance.randomisation_tests(values, seed=0, alpha=0.05)
    assert 0 < found.p[0] < 1e-12
    assert found.is_bound == [False]


def test_the_rounding_of_a_difference_is_that_of_both_sums() -> None:
    values = np.array([[1.0, 100.0, 0.0], [-1.0, -100.0, 0.0]])
    pairs = (np.array([0, 0, 1]), np.array([1, 2, 2]))
    assert significance._rounding(values, None) == pytest.approx([2e-14, 2e-12, 0])
    assert significance._rounding(values, pairs) == pytest.approx([2.02e-12, 2e-14, 2e-12])


@pytest.mark.parametrize("gaps", [[0.1, 0.5], [0.0, 0.4, 0.1, -0.2], [0.3, -0.1, 0.2, 0.2, -0.4]])
@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.01, 0.9)])
def test_the_number_of_queries_is_that_of_its_formula(
    gaps: list[float], alpha: float, power: float
) -> None:
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    asked = z**2 * variance(gaps) / fmean(gaps) ** 2
    assert queries_needed(np.array(gaps), alpha=alpha, power=power) == math.ceil(asked)
