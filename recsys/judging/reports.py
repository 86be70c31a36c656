"""What an evaluation says: the content of `report.json`, and the comparison of several."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.data.schema import Fold, Target, View
from falconer.pipelines.statistics.differences import Difference, Estimate, PairedDifference

REPORT_FORMAT_VERSION = 1

Part = Literal["all", "repeat", "novel", "labels"]
"""What a report is on, and its folder: a view of lists, or the rows of the task `labels`."""
Unit = Literal["user", "row", "group of rows"]


class SliceEstimate(Config):
    """The mean of a metric over the queries of one group of a slicing, with its bootstrap
    interval."""

    metric: str
    slicing: str
    group: str
    n: int
    """Queries with a value in this group."""
    mean: float
    low: float
    high: float


class PolicyEstimate(Config):
    """What it would earn to show one of the first k items of each list, all of them alike."""

    k: int
    effective_users: float
    """Kish's effective sample size of the logged users, each with the sum of their weights."""
    mean_weight: float
    """Of the logged rows whose users have a list: 1 in expectation, where propensities are right
    and every item of the lists can have been logged."""
    weights_fit: bool
    """Whether that is 1 but for chance."""
    snips: Estimate | None = None
    doubly_robust: Estimate | None = None
    refused: str | None = None
    """Why there is no estimate."""


class OffPolicy(Config):
    """What lists would have earned, told from rows that another recommender logged."""

    n_rows: int
    n_users: int
    n_outside: int
    """Rows of items outside the catalogue: no list can show them."""
    n_without_list: int
    """Rows of users without a list of items of the catalogue: they are shown nothing."""
    logged: Estimate
    """The mean reward of what was shown."""
    policies: tuple[PolicyEstimate, ...]
    """By k."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the estimates must know."""
        strange = [one for one in self.policies if not one.weights_fit and one.refused is None]
        if not strange:
            return ()
        means = ", ".join(f"{one.mean_weight:.2f} at {one.k}" for one in strange)
        return (
            f"off-policy weights have the mean {means}, and 1 where the logged propensities are "
            "right and every item of the lists can have been shown: the estimates are of another "
            "policy than the lists'",
        )


class BaseReport(Config):
    """What every report says: who was judged, on which data, and how intervals were made."""

    label: str
    """Short name to print: the model's, or the file's for what came from elsewhere."""
    run: str | None
    """Name of the run directory that was judged, if one was."""
    model: str | None = None
    """The registered model behind it, if there is one."""
    dataset_name: str
    dataset_id: str
    content: str | None = None
    """A hash of the dataset's files: datasets of other ids may hold the same."""
    fold: Fold
    metrics: dict[str, Estimate]
    """Name -> estimate, in the order of the metric table."""
    slices: tuple[SliceEstimate, ...] = ()
    k: tuple[int, ...] = ()
    """Cut-offs, of lists."""
    level: float
    resamples: int
    seed: int
    test_reads: int | None = None
    """How often the test fold of this dataset had been judged on here, this time included; None for
    another fold."""
    test_lists: int | None = None
    """For how many different runs or files."""
    cost: dict[str, float] = Field(default_factory=dict)
    """`train_seconds`, `recommend_seconds`, where known."""
    answers: str | None = None
    """sha256 of the file of lists or predictions that was judged; the table of values has it
    too."""
    by_popularity: int | None = None
    """Questions that the model did not answer itself, since it does not know their users: it gave
    the most popular items. None where that is not known."""
    knobs: tuple[str, ...] = ()
    """Knobs of the run that differ from its recipe, as `name=value`."""
    protocol: dict[str, str] = Field(default_factory=dict)
    """`split`, `targets` (which held-out events are asked for), `validation` and, of lists,
    `outside` (what becomes of relevant items outside the catalogue), in words; `training` where a
    model learned from validation too."""
    warnings: tuple[str, ...] = ()


class ListsReport(BaseReport):
    """The content of `report.json`: one list of recommendations judged on one fold and one view."""

    format_version: int = REPORT_FORMAT_VERSION
    level: float = 0.95
    view: View
    k: tuple[int, ...]
    n_queries: int
    n_evaluated: int
    """Queries with at least one relevant item that counts, in the view: the denominator of every
    mean."""
    n_without_list: int
    """Evaluated queries for which no list was given: they count as misses."""
    n_relevant: int
    n_outside: int
    """Relevant items outside the catalogue, which no list can hold: not counted as misses, unless
    `protocol` says so. The same in every view, since whether they are repeats is not known."""
    off_policy: OffPolicy | None = None
    """None where the dataset has no logged rows."""


class Bin(Config):
    """Rows whose probability falls into one of ten bins of equal width: how many, mean score, share
    of label 1."""

    n: int
    score: float
    label: float


class LabelsReport(BaseReport):
    """The content of `report.json` in the task `labels`: predictions judged on one fold.

    `slices` has the main metric in parts of the rows.
    """

    format_version: int = REPORT_FORMAT_VERSION
    target: Target
    n_rows: int
    mean_label: float
    """Share of label 1, or mean rating."""
    unit: Unit
    """What is resampled."""
    n_units: int
    bins: tuple[Bin, ...] = ()
    """Reliability: bins without a row are left out; none for ratings, and for scores that are no
    probabilities."""


R = TypeVar("R", bound=BaseReport)


class SliceDifference(Difference):
    """The difference of two models over one group's queries, corrected for all groups and pairs of
    the view."""

    slicing: str
    group: str


class ViewComparison(Config, Generic[R]):
    """All compared reports of one view, best first by `metric`, and the paired differences."""

    view: Part
    metric: str
    lower_is_better: bool = False
    reports: tuple[R, ...]
    differences: tuple[PairedDifference, ...]
    """Between every pair of labels, on `metric`."""
    letters: dict[str, str] = Field(default_factory=dict)
    """Label -> significance groups: models that share a letter were not told apart."""
    slices: tuple[SliceDifference, ...] = ()
    """Between the first of `reports` and each other one, in every group."""
    verdict: str
    """One to three sentences: who leads, by how much, whether a plain baseline wins, what the noise
    does not let say."""


class Comparison(Config, Generic[R]):
    """Several runs on one dataset and fold."""

    dataset_id: str
    fold: Fold
    views: tuple[ViewComparison[R], ...]
    warnings: tuple[str, ...] = ()
    """What was not judged alike, in words."""
