"""Paired differences on anything that has a report and values: many models, bounds, ties."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from falconer.pipelines.statistics import significance
from falconer.pipelines.statistics.differences import (
    Estimate,
    PairedDifference,
    paired_differences,
)
from falconer.pipelines.statistics.significance import randomisation_p


@dataclass
class Report:
    label: str
    run: str | None = None
    model: str | None = None
    dataset_id: str = "d"
    fold: str = "test"
    metrics: dict[str, Estimate] = field(default_factory=dict)
    level: float = 0.95
    resamples: int = 200
    seed: int = 0


@dataclass
class Model:
    report: Report
    column: np.ndarray

    def values(self, metric: str) -> np.ndarray:
        return self.column


def models(n: int, *, step: float, questions: int = 300, level: float = 0.95) -> list[Model]:
    """So many models, each better than the next by `step`, beyond every doubt where it is large."""
    rng = np.random.default_rng(0)
    ability = rng.random(questions)
    return [
        Model(
            Report(f"m{k}", level=level), ability - step * k + 0.01 * rng.standard_normal(questions)
        )
        for k in range(n)
    ]


@pytest.mark.parametrize(("n", "level"), [(40, 0.95), (6, 0.9995)])
def test_models_that_are_plainly_apart_are_told_apart_however_many_there_are(
    n: int, level: float
) -> None:
    found = paired_differences(models(n, step=0.05, level=level), "m")
    assert len(found) == n * (n - 1) // 2
    assert all(gap.separated for gap in found)
    assert all(gap.p_is_bound for gap in found)


def test_a_p_value_that_some_flip_reached_is_no_bound() -> None:
    [gap] = paired_differences(models(2, step=0.0), "m")
    assert gap.p_holm > 0.001
    assert not gap.p_is_bound


def test_the_p_values_of_pairs_are_corrected_for_their_number() -> None:
    found = paired_differences(models(5, step=0.0003), "m")
    smallest = min(found, key=lambda gap: gap.p_randomisation)
    assert smallest.p_holm == pytest.approx(min(1.0, 10 * smallest.p_randomisation))


def test_signs_drawn_for_models_give_the_p_values_of_signs_drawn_for_pairs() -> None:
    values = np.random.default_rng(1).integers(0, 2, (50, 4)).astype(np.float64) / 3
    firsts, seconds = np.triu_indices(4, 1)
    pairs = (firsts.astype(np.int64), seconds.astype(np.int64))
    gaps = values[:, firsts] - values[:, seconds]
    for exact in (significance.EXACT_QUERIES, 10):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(significance, "EXACT_QUERIES", exact)
            assert randomisation_p(values, seed=3, pairs=pairs) == pytest.approx(
                randomisation_p(gaps, seed=3)
            )


def difference(low: float, high: float, p: float) -> PairedDifference:
    return PairedDifference(
        metric="m", first="a", second="b", difference=(low + high) / 2, low=low, high=high, n=9,
        p_holm=p, p_bootstrap=p, p_randomisation=p,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [
        (0.1, 0.2, 0.05, "told apart"),
        (0.1, 0.2, 0.0501, "not told apart after correction"),
        (0.0, 0.2, 0.01, "within the noise"),
        (-0.2, 0.0, 0.01, "within the noise"),
        (-0.2, -0.1, 0.01, "told apart"),
    ],
)
def test_apart_needs_an_interval_without_zero_and_the_corrected_test(
    low: float, high: float, p: float, words: str
) -> None:
    found = difference(low, high, p)
    assert found.in_words == words
    assert found.separated is (words == "told apart")
    assert found.reaches_zero is (words == "within the noise")


def test_a_p_value_of_just_what_is_allowed_is_apart() -> None:
    half = difference(0.1, 0.2, 0.5).model_copy(update={"level": 0.5})
    assert half.separated


def test_an_interval_is_printed_where_there_is_one() -> None:
    assert Estimate(mean=0.5, low=0.25, high=0.75, definition="").ends == " (0.2500 to 0.7500)"
    assert Estimate(mean=0.5, definition="").ends == ""


def test_the_number_of_questions_is_for_the_interval_s_own_level() -> None:
    first, second = models(2, step=0.002, level=0.9)
    (found,) = paired_differences([first, second], "m")
    gaps = first.column - second.column
    assert found.n_needed == significance.queries_needed(gaps, alpha=0.1)
    assert found.n_needed != significance.queries_needed(gaps, alpha=0.05)


def test_a_report_that_says_nothing_of_it_has_p_values_and_no_bounds() -> None:
    found = PairedDifference(
        metric="m", first="a", second="b", difference=0.1, low=0.0, high=0.2, n=9,
        p_holm=0.5, p_randomisation=0.5,
        p_bootstrap=0.5,
    )  # fmt: skip
    assert (found.p_is_bound, found.n_needed, found.level) == (False, None, 0.95)
