"""Comparing runs on the same questions, whatever the task: order, paired differences, groups and a
verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from falconer.pipelines.data.schema import TaskName
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.statistics import comparison, significance
from falconer.pipelines.statistics.bootstrap import interval, resampled_means
from falconer.pipelines.statistics.comparison import Metric, listed, name_of
from falconer.recsys.judging import slices
from falconer.recsys.judging.reports import (
    BaseReport,
    Comparison,
    Part,
    SliceDifference,
    ViewComparison,
)

R = TypeVar("R", bound=BaseReport)
Float64 = NDArray[np.float64]

MOST_KNOBS = 2
"""That a label names."""
MIN_GROUP = 10
"""Questions of a group that is compared: of fewer nobody can say anything."""


class Judged(Protocol[R]):
    """What was judged: a report, and the values behind its means and those of its groups."""

    @property
    def report(self) -> R:
        """Says who was judged, and how intervals are made."""

    @property
    def keys(self) -> pa.Table:
        """The questions, in order."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the columns of groups (`slices.column`)."""

    def values(self, metric: str) -> Float64:
        """float64[n] without NaN: of each question."""

    def group(self, name: str) -> Float64:
        """float64[n], NaN for a question that takes no part in the group."""

    def labelled(self, label: str) -> Judged[R]:
        """The same under another label."""


@dataclass(frozen=True)
class Task(Generic[R]):
    """What a comparison asks of a task.

    `metric_of` gives the metric that decides where none is named; `known` looks a metric up by its
    name, and raises `ConfigError` where it cannot say who leads.
    """

    name: TaskName
    questions: str
    baselines: tuple[str, ...]
    metric_of: Callable[[R], str]
    known: Callable[[str], Metric]


def compare(
    runs: Sequence[Mapping[Part, Judged[R]]], task: Task[R], *, metric: str | None = None
) -> Comparison[R]:
    """Compare runs view by view; each run maps its views to what was judged.

    Raises `ArtifactError` where the runs differ in dataset, fold, views, judged questions or the
    making of intervals, and where a run lacks the metric; `ConfigError` where there is nothing to
    compare.
    """
    if not runs:
        raise ConfigError("nothing to compare: give at least one run that was evaluated")
    comparison.refuse_other_data([one.report for run in runs for one in run.values()])
    views = _common_views(runs)
    named = _with_own_labels(runs)
    first = named[0][views[0]].report
    decides = task.known(metric or task.metric_of(first))
    texts = (
        text for view in views for text in _other_settings([run[view].report for run in named])
    )
    return Comparison(
        dataset_id=first.dataset_id,
        fold=first.fold,
        views=tuple(_view(view, [run[view] for run in named], task, decides) for view in views),
        warnings=tuple(dict.fromkeys(texts)),
    )


def _common_views(runs: Sequence[Mapping[Part, Judged[R]]]) -> list[Part]:
    views = list(runs[0])
    for run in runs:
        if set(run) != set(views):
            name = name_of(next(iter(run.values())).report)
            other = name_of(next(iter(runs[0].values())).report)
            raise ArtifactError(
                f"{name} was judged in views {', '.join(run)}, {other} in {', '.join(views)}: "
                "evaluate both in the same views"
            )
    return views


def _with_own_labels(runs: Sequence[Mapping[Part, Judged[R]]]) -> list[dict[Part, Judged[R]]]:
    reports = [next(iter(run.values())).report for run in runs]
    labels = comparison.own_labels(
        [one.model_copy(update={"label": _with_knobs(one)}) for one in reports]
    )
    return [
        {view: judged.labelled(label) for view, judged in run.items()}
        for run, label in zip(runs, labels, strict=True)
    ]


def _with_knobs(report: BaseReport) -> str:
    """The label, with the knobs that differ from the recipe: two of them, and how many more."""
    named, more = report.knobs[:MOST_KNOBS], len(report.knobs) - MOST_KNOBS
    texts = [*named, *([f"{more} more"] if more > 0 else [])]
    return f"{report.label} ({', '.join(texts)})" if texts else report.label


def _other_settings(reports: Sequence[R]) -> Iterator[str]:
    """In what each report was judged otherwise than the first, where it was."""
    first, *others = reports
    for other in others:
        found = [
            part for part in (_other_cut_offs(other, first), *_other_metrics(other, first)) if part
        ]
        trained = [one.protocol.get("training", "on train") for one in (other, first)]
        if trained[0] != trained[1]:
            yield (
                f"{other.label} was trained {trained[0]}, {first.label} {trained[1]}: part of the "
                "difference may be the data and not the model"
            )
        if found:
            yield (
                f"{other.label} was judged with other settings than {first.label}: "
                f"{'; '.join(found)}. Only what both have is compared; evaluate both alike"
            )


def _other_cut_offs(one: BaseReport, other: BaseReport) -> str:
    mine, theirs = (", ".join(map(str, report.k)) for report in (one, other))
    return "" if one.k == other.k else f"cut-offs {mine} and not {theirs}"


def _other_metrics(one: BaseReport, other: BaseReport) -> Iterator[str]:
    mine, theirs = (
        list(dict.fromkeys(name.partition("@")[0] for name in report.metrics))
        for report in (one, other)
    )
    alone = [name for name in mine if name not in theirs]
    alone += [name for name in theirs if name not in mine]
    if alone:
        yield f"{listed(alone)} in one of them only"
    differing = [
        name.partition("@")[0]
        for name in one.metrics
        if name in other.metrics and one.metrics[name].definition != other.metrics[name].definition
    ]
    if differing:
        yield f"another definition of {listed(list(dict.fromkeys(differing)))}"


def _view(
    view: Part, judged: Sequence[Judged[R]], task: Task[R], metric: Metric
) -> ViewComparison[R]:
    _refuse_other_questions(judged, task.questions)
    found = comparison.standing(judged, metric, baselines=task.baselines)
    return ViewComparison(
        view=view,
        metric=metric.name,
        lower_is_better=metric.lower_is_better,
        reports=tuple(one.report for one in found.judged),
        differences=found.differences,
        slices=slice_differences(found.judged),
        letters=found.letters,
        verdict=found.verdict,
    )


def _refuse_other_questions(judged: Sequence[Judged[R]], questions: str) -> None:
    first = judged[0]
    for other in judged[1:]:
        mine, theirs = (one.report.protocol.get("outside") for one in (first, other))
        if mine and theirs and mine != theirs:
            raise ArtifactError(
                f"{name_of(first.report)}: {mine}; {name_of(other.report)}: {theirs}. Evaluate "
                "both with the same `outside`"
            )
        if not other.keys.equals(first.keys):
            raise ArtifactError(
                f"{name_of(other.report)} and {name_of(first.report)} were not judged on the same "
                f"{questions}, though on the same dataset: one of them is damaged; evaluate both "
                "anew"
            )


def slice_differences(judged: Sequence[Judged[R]]) -> tuple[SliceDifference, ...]:
    """The first's lead over each other one in every group that both of them were judged on.

    Groups of under `MIN_GROUP` questions are left out; the p-values are corrected for all groups
    and pairs (Holm).
    """
    first, *others = judged
    wanted = [(name, other) for other in others for name in first.groups if name in other.groups]
    gaps = [first.group(name) - other.group(name) for name, other in wanted]
    kept = [
        place for place, gap in enumerate(gaps) if np.count_nonzero(~np.isnan(gap)) >= MIN_GROUP
    ]
    if not kept:
        return ()
    values, made = np.stack([gaps[place] for place in kept], axis=1), first.report
    low, high = interval(
        resampled_means(values, resamples=made.resamples, seed=made.seed), level=made.level
    )
    # 0 for a question that takes no part adds nothing under any sign
    tests = significance.randomisation_tests(
        np.nan_to_num(values), seed=made.seed, alpha=1 - made.level
    )
    found = []
    for place, (name, other) in enumerate(wanted[place] for place in kept):
        metric, slicing, group = slices.parse(name)
        found.append(
            SliceDifference(
                slicing=slicing,
                group=group,
                metric=metric,
                first=first.report.label,
                second=other.report.label,
                difference=float(np.nanmean(values[:, place])),
                low=low[place],
                high=high[place],
                n=int(np.count_nonzero(~np.isnan(values[:, place]))),
                level=made.level,
                p_holm=tests.p_holm[place],
                p_is_bound=tests.is_bound[place],
            )
        )
    return tuple(found)
