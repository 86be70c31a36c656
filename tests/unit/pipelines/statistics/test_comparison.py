"""Who leads, in words, and which reports can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.statistics.comparison import (
    Metric,
    listed,
    name_of,
    own_labels,
    refuse_other_data,
    standing,
    verdict,
)
from falconer.pipelines.statistics.differences import Estimate, PairedDifference


@dataclass
class Report:
    label: str
    mean: float = 0.5
    run: str | None = None
    model: str | None = None
    dataset_id: str = "d"
    content: str | None = None
    fold: str = "test"
    level: float = 0.95
    resamples: int = 200
    seed: int = 0
    metrics: dict[str, Estimate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metrics = {"ndcg@10": Estimate(mean=self.mean, definition="")}


def gap(first: str, second: str, size: float, *, apart: bool) -> PairedDifference:
    """A difference whose interval is 0.02 wide, or reaches zero."""
    half = 0.01 if apart else abs(size) + 0.01
    return PairedDifference(
        metric="ndcg@10",
        first=first,
        second=second,
        difference=size,
        low=size - half,
        high=size + half,
        n=100,
        p_holm=0.001 if apart else 0.5,
        p_bootstrap=0.001,
        p_randomisation=0.001,
    )


def said(means: dict[str, float], equal: Sequence[tuple[str, str]], *plain: str) -> str:
    """The verdict on models of these means, best first, of which some pairs are equal."""
    reports = [Report(label, mean, model=label) for label, mean in means.items()]
    labels = list(means)
    gaps = [
        gap(one, other, means[one] - means[other], apart=(one, other) not in equal)
        for place, one in enumerate(labels)
        for other in labels[place + 1 :]
    ]
    return verdict(reports, gaps, "ndcg@10", baselines=plain)


THREE = {"a": 0.5, "b": 0.4, "c": 0.2}


def test_the_leader_is_ahead_of_the_second() -> None:
    assert said(THREE, []) == (
        "a (ndcg@10 0.5000) leads, 0.1000 (95% interval 0.0900 to 0.1100) ahead of b."
    )


def test_where_some_equal_the_first_there_is_no_winner() -> None:
    found = said(THREE, [("a", "b"), ("a", "c")])
    assert found.startswith("No winner: a, b and c cannot be told apart on ndcg@10. a (ndcg@10 ")
    assert found.endswith("0.1000 (95% interval -0.0100 to 0.2100) from b.")


def test_one_model_alone() -> None:
    assert said({"a": 0.5}, []) == (
        "Only a (ndcg@10 0.5000) was judged, so there is nothing to compare it with."
    )


@pytest.mark.parametrize(
    ("plain", "equal", "words"),
    [
        (("a",), (), "The plain baseline a beats b and c."),
        (("b",), (), "The plain baseline b beats c."),
        (("b",), (("a", "b"),), "The plain baseline b beats c and cannot be told apart from a."),
        (("c",), (("b", "c"),), "The plain baseline c cannot be told apart from b."),
        (("c",), (), "a and b beat every plain baseline here (c)."),
        (("b", "c"), (), "a beats every plain baseline here (b and c)."),
    ],
)
def test_where_plain_baselines_stand(
    plain: tuple[str, ...], equal: tuple[tuple[str, str], ...], words: str
) -> None:
    assert said(THREE, equal, *plain).endswith(f" {words}")


def test_of_plain_models_alone_nothing_is_said_beside_the_leader() -> None:
    assert said(THREE, [], "a", "b", "c") == said(THREE, [])


def test_a_metric_of_which_less_is_better_has_the_interval_of_the_size() -> None:
    reports = [Report("a", 0.2), Report("b", 0.5)]
    found = verdict(reports, [gap("a", "b", -0.3, apart=True)], "ndcg@10")
    assert "leads, 0.3000 (95% interval 0.2900 to 0.3100) ahead of b" in found


def test_no_difference_has_the_interval_as_it_is() -> None:
    zero = gap("a", "b", 0.0, apart=False).model_copy(update={"low": -0.01, "high": 0.03})
    found = verdict([Report("a"), Report("b")], [zero], "ndcg@10")
    assert "0.0000 (95% interval -0.0100 to 0.0300) from b" in found


def test_labels_that_several_share_get_what_tells_them_apart() -> None:
    assert own_labels([Report("a", run="r1"), Report("a", run="r2"), Report("b", run="r3")]) == [
        "a (r1)",
        "a (r2)",
        "b",
    ]
    assert own_labels([Report("a"), Report("a"), Report("b")]) == ["a no. 1", "a no. 2", "b"]


def test_a_message_names_the_run_or_the_label() -> None:
    assert name_of(Report("a", run="r1")) == "r1"
    assert name_of(Report("a")) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_the_same_content_is_the_same_data() -> None:
    refuse_other_data([Report("a", content="x"), Report("b", dataset_id="e", content="x")])
    refuse_other_data([Report("a"), Report("b")])


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (Report("b", dataset_id="e"), "of dataset e"),
        (Report("b", dataset_id="e", content="y"), "of dataset e"),
        (Report("b", fold="valid"), "fold valid"),
        (Report("b", content="x", fold="valid"), "fold valid"),
        (Report("b", level=0.9), "90% intervals"),
        (Report("b", resamples=9), "9 resamples"),
        (Report("b", seed=3), "seed 3"),
    ],
)
def test_other_questions_or_intervals_are_refused(other: Report, says: str) -> None:
    with pytest.raises(ArtifactError, match=says):
        refuse_other_data([Report("a", content="x"), other])


@dataclass
class Judged:
    report: Report
    column: np.ndarray

    def values(self, metric: str) -> np.ndarray:
        return self.column


def ordered(means: dict[str, float], metric: Metric) -> list[str]:
    judged = [
        Judged(Report(label, mean), np.array([mean - 0.01, mean + 0.01]))
        for label, mean in means.items()
    ]
    return [one.report.label for one in standing(judged, metric).judged]


def test_the_best_comes_first_and_equals_by_their_labels() -> None:
    means = {"b": 0.4, "c": 0.4, "a": 0.2, "d": 0.5}
    assert ordered(means, Metric("ndcg@10")) == ["d", "b", "c", "a"]
    assert ordered(means, Metric("ndcg@10", lower_is_better=True)) == ["a", "b", "c", "d"]


def test_nothing_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="nothing to compare"):
        standing([], Metric("ndcg@10"))


def test_what_answered_other_questions_has_no_place_beside() -> None:
    judged = [Judged(Report("a"), np.zeros(2)), Judged(Report("b", fold="valid"), np.ones(2))]
    with pytest.raises(ArtifactError, match="evaluate both on the same fold"):
        standing(judged, Metric("ndcg@10"))
