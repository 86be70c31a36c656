"""Comparing runs on the same queries: paired differences, and a verdict in words that never outruns
the noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from falconer.pipelines.config import Config
from falconer.pipelines.data.schema import View
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.statistics import significance
from falconer.pipelines.statistics.bootstrap import interval, resampled_means
from falconer.pipelines.statistics.differences import PairedDifference, paired_differences
from falconer.recsys.judging import slices
from falconer.recsys.judging.lists.per_query import KEYS, Judged
from falconer.recsys.judging.reports import (
    Comparison,
    Report,
    SliceDifference,
    ViewComparison,
)
from falconer.recsys.metrics import known_metrics, more_is_better

PLAIN_BASELINES = ("popularity", "personal_popularity", "item_knn", "tifu_knn")
"""Models without a fit worth the name: whatever does not beat them is not worth its cost."""

MIN_GROUP = 10
"""Queries of a group that is compared: of fewer nobody can say anything."""


class ComparisonConfig(Config):
    """What decides the order; intervals of differences are made as the reports' own intervals
    were."""

    metric: str = "ndcg@10"

    @field_validator("metric")
    @classmethod
    def _tells_who_is_better(cls, metric: str) -> str:
        name = metric.partition("@")[0]
        if name in known_metrics() and not more_is_better(name):
            raise ValueError(
                f"more {name} is not better by itself, so it cannot say who leads; name one of "
                "accuracy"
            )
        return metric


def compare(runs: Sequence[Mapping[View, Judged]], config: ComparisonConfig) -> Comparison:
    """Compare runs view by view; each run maps its views to what was judged.

    Raises `ArtifactError` where the runs differ in dataset, fold, views, judged queries or the
    making of intervals, and where a run lacks the metric; `ConfigError` where there is nothing to
    compare.
    """
    if not runs:
        raise ConfigError("nothing to compare: give at least one run that was evaluated")
    first = next(iter(runs[0].values())).report
    _refuse_other_data(runs, first)
    views = _common_views(runs)
    named = _with_own_labels(runs)
    return Comparison(
        dataset_id=first.dataset_id,
        fold=first.fold,
        views=tuple(_compare_view(view, [run[view] for run in named], config) for view in views),
        warnings=tuple(
            dict.fromkeys(
                text
                for view in views
                for text in _other_settings([run[view].report for run in named])
            )
        ),
    )


def _other_settings(reports: Sequence[Report]) -> Iterator[str]:
    """In what each report was judged otherwise than the first, where it was."""
    first, *others = reports
    for other in others:
        found = [
            part for part in (_other_cut_offs(other, first), *_other_metrics(other, first)) if part
        ]
        if found:
            yield (
                f"{other.label} was judged with other settings than {first.label}: "
                f"{'; '.join(found)}. Only what both "
                "have is compared; evaluate both alike"
            )


def _other_cut_offs(one: Report, other: Report) -> str:
    cut_offs = (", ".join(map(str, report.k)) for report in (one, other))
    return "" if one.k == other.k else "cut-offs {} and not {}".format(*cut_offs)


def _other_metrics(one: Report, other: Report) -> Iterator[str]:
    families = [
        list(dict.fromkeys(name.partition("@")[0] for name in report.metrics))
        for report in (one, other)
    ]
    alone = [
        name for here, there in (families, families[::-1]) for name in here if name not in there
    ]
    if alone:
        yield f"{_listed(alone)} in one of them only"
    common = [name for name in one.metrics if name in other.metrics]
    differing = [
        name for name in common if one.metrics[name].definition != other.metrics[name].definition
    ]
    if differing:
        yield f"another definition of {_listed(list(dict.fromkeys(name.partition('@')[0] for name in differing)))}"


def _refuse_other_data(runs: Sequence[Mapping[View, Judged]], first: Report) -> None:
    for run in runs:
        for report in (judged.report for judged in run.values()):
            if (report.dataset_id, report.fold) != (first.dataset_id, first.fold):
                raise ArtifactError(
                    f"{_name(report)} was judged on fold {report.fold} of dataset "
                    f"{report.dataset_id}, {_name(first)} "
                    f"on fold {first.fold} of {first.dataset_id}: evaluate both on the same fold "
                    "of the same dataset"
                )
            if _intervals(report) != _intervals(first):
                raise ArtifactError(
                    f"{_name(report)} has {_intervals(report)}, {_name(first)} has "
                    f"{_intervals(first)}: evaluate "
                    "both with the same level, resamples and seed"
                )


def _intervals(report: Report) -> str:
    return f"{report.level:.0%} intervals of {report.resamples} resamples, seed {report.seed}"


def _common_views(runs: Sequence[Mapping[View, Judged]]) -> list[View]:
    views = list(runs[0])
    for run in runs:
        if set(run) != set(views):
            name = _name(next(iter(run.values())).report)
            other = _name(next(iter(runs[0].values())).report)
            raise ArtifactError(
                f"{name} was judged in views {', '.join(run)}, {other} in {', '.join(views)}: "
                "evaluate both in the same views"
            )
    return views


def _name(report: Report) -> str:
    return report.run or report.label


def _with_own_labels(runs: Sequence[Mapping[View, Judged]]) -> list[dict[View, Judged]]:
    """The runs with labels that tell them apart: one that several share gets the run's name, then a
    number."""
    firsts = [next(iter(run.values())).report for run in runs]
    labels = [report.label for report in firsts]
    named = [f"{report.label} ({report.run})" if report.run else report.label for report in firsts]
    numbered = [f"{label} no. {place}" for place, label in enumerate(named, start=1)]
    for finer in (named, numbered):
        uses = Counter(labels)
        labels = [
            own if uses[label] > 1 else label for label, own in zip(labels, finer, strict=True)
        ]
    return [
        {view: _relabelled(judged, label) for view, judged in run.items()}
        for run, label in zip(runs, labels, strict=True)
    ]


def _relabelled(judged: Judged, label: str) -> Judged:
    return Judged(judged.report.model_copy(update={"label": label}), judged.per_query)


def _compare_view(view: View, judged: Sequence[Judged], config: ComparisonConfig) -> ViewComparison:
    _refuse_other_queries(judged)
    ordered = sorted(
        judged, key=lambda one: (-float(one.values(config.metric).mean()), one.report.label)
    )
    reports = tuple(one.report for one in ordered)
    differences = paired_differences(ordered, config.metric)
    return ViewComparison(
        view=view,
        metric=config.metric,
        reports=reports,
        differences=differences,
        slices=slice_differences(ordered),
        letters=significance.letters(
            [report.label for report in reports],
            {(d.first, d.second): d.separated for d in differences},
        ),
        verdict=verdict(reports, differences, config),
    )


def _refuse_other_queries(judged: Sequence[Judged]) -> None:
    first = judged[0]
    for other in judged[1:]:
        if not other.per_query.table(*KEYS).equals(first.per_query.table(*KEYS)):
            raise ArtifactError(
                f"{_name(other.report)} and {_name(first.report)} were not judged on the same "
                "queries, though on the "
                "same dataset: one of them is damaged; evaluate both anew"
            )


def slice_differences(judged: Sequence[Judged]) -> tuple[SliceDifference, ...]:
    """The first's lead over each other one in every group of every slicing that all of them were
    judged on.

    Groups of under `MIN_GROUP` queries are left out; the p-values are corrected for all groups and
    pairs (Holm).
    """
    first, *others = judged
    wanted = [
        (name, other)
        for other in others
        for name in first.per_query.column_names
        if slices.is_slice(name) and name in other.per_query.column_names
    ]
    gaps = [_column(first, name) - _column(other, name) for name, other in wanted]
    kept = [
        place for place, gap in enumerate(gaps) if np.count_nonzero(~np.isnan(gap)) >= MIN_GROUP
    ]
    if not kept:
        return ()
    values = np.stack([gaps[place] for place in kept], axis=1)
    made = first.report
    resampled = resampled_means(values, resamples=made.resamples, seed=made.seed)
    low, high = interval(resampled, level=made.level)
    tests = significance.randomisation_tests(  # 0 for a query that takes no part adds nothing under any sign
        np.nan_to_num(values), seed=made.seed, alpha=1 - made.level
    )
    found = []
    for place, p_holm in enumerate(tests.p_holm):
        name, other = wanted[kept[place]]
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
                p_holm=p_holm,
                p_is_bound=tests.is_bound[place],
            )
        )
    return tuple(found)


def _column(judged: Judged, name: str) -> NDArray[np.float64]:
    return judged.per_query.evaluated(name)[:, 0]


def verdict(
    reports: Sequence[Report], differences: Sequence[PairedDifference], config: ComparisonConfig
) -> str:
    """One to three sentences on reports that are sorted best first: who leads, and where plain
    baselines stand."""
    if len(reports) == 1:
        return f"Only {_with_value(reports[0], config)} was judged, so there is nothing to compare it with."
    separated = {(d.first, d.second): d.separated for d in differences}
    leader, rest = reports[0], reports[1:]
    equals = [report for report in rest if not separated[leader.label, report.label]]
    lead = (
        _tied(leader, equals, differences, config)
        if equals
        else _leads(leader, rest[0], differences, config)
    )
    return " ".join(part for part in (lead, _on_baselines(reports, separated)) if part)


def _leads(
    leader: Report,
    second: Report,
    differences: Sequence[PairedDifference],
    config: ComparisonConfig,
) -> str:
    return f"{_with_value(leader, config)} leads, {_gap(leader, second, differences)} above {second.label}."


def _tied(
    leader: Report,
    equals: Sequence[Report],
    differences: Sequence[PairedDifference],
    config: ComparisonConfig,
) -> str:
    names = _listed([leader.label, *(report.label for report in equals)])
    return (
        f"No winner: {names} cannot be told apart on {config.metric}. "
        f"{_with_value(leader, config)} is only nominally "
        f"first, {_gap(leader, equals[0], differences)} from {equals[0].label}."
    )


def _gap(first: Report, second: Report, differences: Sequence[PairedDifference]) -> str:
    found = next(d for d in differences if (d.first, d.second) == (first.label, second.label))
    return (
        f"{found.difference:.4f} ({first.level:.0%} interval {found.low:.4f} to {found.high:.4f})"
    )


def _with_value(report: Report, config: ComparisonConfig) -> str:
    return f"{report.label} ({config.metric} {report.metrics[config.metric].mean:.4f})"


def _on_baselines(reports: Sequence[Report], separated: Mapping[tuple[str, str], bool]) -> str:
    """Which plain baselines beat or equal which of the other models; empty where there are none of
    either."""
    plain = [report for report in reports if report.model in PLAIN_BASELINES]
    others = [report for report in reports if report.model not in PLAIN_BASELINES]
    if not plain or not others:
        return ""
    sentences = [
        sentence for one in plain if (sentence := _stands(one, others, reports, separated))
    ]
    verb = "beats" if len(others) == 1 else "beat"
    names = _listed([report.label for report in others])
    return (
        " ".join(sentences)
        or f"{names} {verb} every plain baseline here ({_listed([one.label for one in plain])})."
    )


def _stands(
    plain: Report,
    others: Sequence[Report],
    reports: Sequence[Report],
    separated: Mapping[tuple[str, str], bool],
) -> str:
    """What a plain baseline beats and what it equals, in one sentence; empty where it is beaten by
    all others."""
    place = {report.label: number for number, report in enumerate(reports)}
    beaten, equal = [], []
    for other in others:
        first, second = sorted((plain.label, other.label), key=place.__getitem__)
        if not separated[first, second]:
            equal.append(other.label)
        elif first == plain.label:
            beaten.append(other.label)
    parts = [f"beats {_listed(beaten)}"] if beaten else []
    parts += [f"cannot be told apart from {_listed(equal)}"] if equal else []
    return f"The plain baseline {plain.label} {' and '.join(parts)}." if parts else ""


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
