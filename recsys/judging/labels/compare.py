"""Comparing predictions of the same rows: paired differences, and a verdict that never outruns the
noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from falconer.pipelines.config import Config
from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.statistics import significance
from falconer.pipelines.statistics.differences import PairedDifference, paired_differences
from falconer.recsys.judging.labels.judge import MAIN_METRIC, JudgedRows, RowReport
from falconer.recsys.metrics import BINARY_METRICS, RATING_METRICS

BASELINE = "label_mean"


class RowComparison(Config):
    """All compared reports, best first by `metric`, and the paired differences of every two."""

    dataset_id: str
    fold: Fold
    metric: str
    reports: tuple[RowReport, ...]
    differences: tuple[PairedDifference, ...]
    letters: dict[str, str]
    """Label -> significance groups: models that share a letter were not told apart."""
    verdict: str


def compare(judged: Sequence[JudgedRows], *, metric: str | None = None) -> RowComparison:
    """Compare predictions that were judged on the same rows, by the AUC or the RMSE if not by
    another metric.

    Raises `ArtifactError` where they differ in dataset, fold, units or the making of intervals, or
    lack the metric; `ConfigError` where there is nothing to compare.
    """
    if not judged:
        raise ConfigError("nothing to compare: give at least one run that was evaluated")
    for other in judged[1:]:
        _refuse_other_rows(other, judged[0])
    chosen = metric or MAIN_METRIC[judged[0].report.target]
    sign = -1 if _lower_is_better(chosen) else 1
    ordered = sorted(
        _with_own_labels(judged),
        key=lambda one: (-sign * float(one.values(chosen).mean()), one.report.label),
    )
    differences = paired_differences(ordered, chosen)
    reports = tuple(one.report for one in ordered)
    separated = {(gap.first, gap.second): gap.separated for gap in differences}
    return RowComparison(
        dataset_id=reports[0].dataset_id,
        fold=reports[0].fold,
        metric=chosen,
        reports=reports,
        differences=differences,
        letters=significance.letters([report.label for report in reports], separated),
        verdict=verdict(reports, differences, chosen),
    )


def _lower_is_better(metric: str) -> bool:
    known = {**BINARY_METRICS, **RATING_METRICS}
    if metric not in known:
        raise ConfigError(
            f"{metric!r} is no metric of the task `labels`; there are {', '.join(known)}"
        )
    return known[metric].better == "lower"


def _refuse_other_rows(one: JudgedRows, first: JudgedRows) -> None:
    mine, theirs = one.report, first.report
    if (mine.dataset_id, mine.fold) != (theirs.dataset_id, theirs.fold):
        raise ArtifactError(
            f"{_name(mine)} was judged on fold {mine.fold} of dataset {mine.dataset_id}, "
            f"{_name(theirs)} on fold "
            f"{theirs.fold} of {theirs.dataset_id}: evaluate both on the same fold of the same "
            "dataset"
        )
    if (mine.level, mine.resamples, mine.seed) != (theirs.level, theirs.resamples, theirs.seed):
        raise ArtifactError(
            f"{_name(mine)} and {_name(theirs)} differ in level, resamples or seed: evaluate both "
            "with the same ones"
        )
    if not one.per_unit["unit"].equals(first.per_unit["unit"]):
        raise ArtifactError(
            f"{_name(mine)} and {_name(theirs)} were not judged on the same rows; evaluate both "
            "anew"
        )


def _name(report: RowReport) -> str:
    return report.run or report.label


def _with_own_labels(judged: Sequence[JudgedRows]) -> list[JudgedRows]:
    """With labels that tell them apart: one that several share gets the run's name, then a
    number."""
    labels = [one.report.label for one in judged]
    named = [
        f"{one.report.label} ({one.report.run})" if one.report.run else one.report.label
        for one in judged
    ]
    numbered = [f"{label} no. {place}" for place, label in enumerate(named, start=1)]
    for finer in (named, numbered):
        uses = Counter(labels)
        labels = [
            own if uses[label] > 1 else label for label, own in zip(labels, finer, strict=True)
        ]
    return [
        replace(one, report=one.report.model_copy(update={"label": label}))
        for one, label in zip(judged, labels, strict=True)
    ]


def verdict(
    reports: Sequence[RowReport], differences: Sequence[PairedDifference], metric: str
) -> str:
    """One or two sentences on reports that are sorted best first: who leads, and where the plain
    baseline stands."""
    leader, *others = reports
    if not others:
        return f"Only {_with_value(leader, metric)} was judged, so there is nothing to compare it with."
    found = {(gap.first, gap.second): gap for gap in differences}
    equals = [report.label for report in others if not found[leader.label, report.label].separated]
    second = others[0]
    gap = _gap(found[leader.label, second.label])
    if equals:
        lead = (
            f"No winner: {_listed([leader.label, *equals])} cannot be told apart on {metric}. "
            f"{_with_value(leader, metric)} is only nominally first, {gap} from {second.label}."
        )
    else:
        lead = f"{_with_value(leader, metric)} leads, {gap} from {second.label}."
    return " ".join(part for part in (lead, _on_the_baseline(reports, found)) if part)


def _gap(gap: PairedDifference) -> str:
    """The size of a difference with its interval, whichever direction is the better one."""
    low, high = (gap.low, gap.high) if gap.difference >= 0 else (-gap.high, -gap.low)
    return f"{abs(gap.difference):.4f} ({gap.level:.0%} interval {low:.4f} to {high:.4f})"


def _with_value(report: RowReport, metric: str) -> str:
    return f"{report.label} ({metric} {report.metrics[metric].mean:.4f})"


def _on_the_baseline(
    reports: Sequence[RowReport], found: Mapping[tuple[str, str], PairedDifference]
) -> str:
    """Who beats the best plain baseline, or what it is not worse than; empty where there is none,
    or nothing else."""
    labels = [report.label for report in reports]
    plain = next((place for place, report in enumerate(reports) if report.model == BASELINE), None)
    if plain is None:
        return ""
    above = [label for label in labels[:plain] if not found[label, labels[plain]].separated]
    behind = [report.label for report in reports[plain + 1 :] if report.model != BASELINE]
    parts = [f"cannot be told apart from {_listed(above)}"] if above else []
    parts += [f"is not behind {_listed(behind)}"] if behind else []
    if parts:
        return f"The plain baseline {labels[plain]} {' and '.join(parts)}."
    return (
        f"The plain baseline {labels[plain]} is beaten by {_listed(labels[:plain])}."
        if plain
        else ""
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
