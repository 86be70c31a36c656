"""Who leads among models that answered the same questions, and in words that never outrun the
noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.statistics.differences import (
    Judged,
    PairedDifference,
    ReportFacts,
    paired_differences,
)
from falconer.pipelines.statistics.significance import letters

J = TypeVar("J", bound=Judged)


@dataclass(frozen=True)
class Metric:
    """What decides the order."""

    name: str
    lower_is_better: bool = False


@dataclass(frozen=True)
class Standing(Generic[J]):
    """Models in order, the best first.

    `letters` maps labels to significance groups: models that share a letter were not told apart.
    """

    judged: tuple[J, ...]
    differences: tuple[PairedDifference, ...]
    letters: dict[str, str]
    verdict: str


def standing(judged: Sequence[J], metric: Metric, *, baselines: Sequence[str] = ()) -> Standing[J]:
    """Order the models by their mean, compare every two, and say who leads.

    Labels must tell them apart (`own_labels`). `baselines` are models that cost next to nothing:
    what does not beat them is said. Raises `ConfigError` where there is nothing to compare, and
    `ArtifactError` where the questions are not known to be the same (`refuse_other_data`).
    """
    if not judged:
        raise ConfigError("nothing to compare: give at least one run that was evaluated")
    refuse_other_data([one.report for one in judged])
    sign = 1 if metric.lower_is_better else -1
    ordered = sorted(
        judged, key=lambda one: (sign * float(one.values(metric.name).mean()), one.report.label)
    )
    differences = paired_differences(ordered, metric.name)
    reports = [one.report for one in ordered]
    return Standing(
        judged=tuple(ordered),
        differences=differences,
        letters=letters([one.label for one in reports], _apart(differences)),
        verdict=verdict(reports, differences, metric.name, baselines=baselines),
    )


def refuse_other_data(reports: Sequence[ReportFacts]) -> None:
    """`ArtifactError` where reports differ in dataset, fold or the making of their intervals.

    Two datasets whose files are the same to the byte are one, whatever their ids.
    """
    first = reports[0]
    for other in reports[1:]:
        equal = other.content is not None and other.content == first.content
        if other.fold != first.fold or not (equal or other.dataset_id == first.dataset_id):
            raise ArtifactError(
                f"{name_of(other)} was judged on fold {other.fold} of dataset {other.dataset_id}, "
                f"{name_of(first)} on fold {first.fold} of {first.dataset_id}: evaluate both on "
                "the same fold of the same dataset"
            )
        if _intervals(other) != _intervals(first):
            raise ArtifactError(
                f"{name_of(other)} has {_intervals(other)}, {name_of(first)} has "
                f"{_intervals(first)}: evaluate both with the same level, resamples and seed"
            )


def _intervals(report: ReportFacts) -> str:
    return f"{100 * report.level:g}% intervals of {report.resamples} resamples, seed {report.seed}"


def name_of(report: ReportFacts) -> str:
    """What a message calls a report: the run, or else the label."""
    return report.run or report.label


def own_labels(reports: Sequence[ReportFacts]) -> list[str]:
    """Labels that tell the reports apart: one that several share gets the run's name, then a
    number."""
    labels = [report.label for report in reports]
    named = [f"{one.label} ({one.run})" if one.run else one.label for one in reports]
    numbered = [f"{label} no. {place}" for place, label in enumerate(named, start=1)]
    for finer in (named, numbered):
        uses = Counter(labels)
        labels = [
            own if uses[label] > 1 else label for label, own in zip(labels, finer, strict=True)
        ]
    return labels


def _apart(differences: Sequence[PairedDifference]) -> dict[tuple[str, str], bool]:
    return {(gap.first, gap.second): gap.separated for gap in differences}


def verdict(
    reports: Sequence[ReportFacts],
    differences: Sequence[PairedDifference],
    metric: str,
    *,
    baselines: Sequence[str] = (),
) -> str:
    """One to three sentences on reports that are sorted best first: who leads, and where plain
    baselines stand."""
    leader, *rest = reports
    if not rest:
        return (
            f"Only {_with_value(leader, metric)} was judged, so there is nothing to "
            "compare it with."
        )
    apart = _apart(differences)
    equals = [report for report in rest if not apart[leader.label, report.label]]
    gaps = {(gap.first, gap.second): gap for gap in differences}
    if equals:
        names = listed([leader.label, *(report.label for report in equals)])
        lead = (
            f"No winner: {names} cannot be told apart on {metric}. {_with_value(leader, metric)} "
            f"is only nominally first, {_size(gaps[leader.label, equals[0].label])} from "
            f"{equals[0].label}."
        )
    else:
        second = rest[0].label
        lead = (
            f"{_with_value(leader, metric)} leads, {_size(gaps[leader.label, second])} ahead of "
            f"{second}."
        )
    return " ".join(part for part in (lead, _on_baselines(reports, apart, baselines)) if part)


def _size(gap: PairedDifference) -> str:
    """The size of a difference with its interval, whichever direction is the better one."""
    low, high = (gap.low, gap.high) if gap.difference >= 0 else (-gap.high, -gap.low)
    return f"{abs(gap.difference):.4f} ({100 * gap.level:g}% interval {low:.4f} to {high:.4f})"


def _with_value(report: ReportFacts, metric: str) -> str:
    return f"{report.label} ({metric} {report.metrics[metric].mean:.4f})"


def _on_baselines(
    reports: Sequence[ReportFacts], apart: Mapping[tuple[str, str], bool], baselines: Sequence[str]
) -> str:
    """Which plain baselines beat or equal which of the other models; empty where there are none of
    either."""
    plain = [report for report in reports if report.model in baselines]
    others = [report.label for report in reports if report.model not in baselines]
    if not plain or not others:
        return ""
    place = {report.label: number for number, report in enumerate(reports)}
    sentences = [_stands(one.label, others, place, apart) for one in plain]
    verb = "beats" if len(others) == 1 else "beat"
    return " ".join(filter(None, sentences)) or (
        f"{listed(others)} {verb} every plain baseline here "
        f"({listed([one.label for one in plain])})."
    )


def _stands(
    plain: str,
    others: Sequence[str],
    place: Mapping[str, int],
    apart: Mapping[tuple[str, str], bool],
) -> str:
    """What a plain baseline beats and what it equals, in one sentence; empty where it is beaten by
    all others."""
    beaten, equal = [], []
    for other in others:
        first, second = sorted((plain, other), key=place.__getitem__)
        if not apart[first, second]:
            equal.append(other)
        elif first == plain:
            beaten.append(other)
    parts = [f"beats {listed(beaten)}"] if beaten else []
    parts += [f"cannot be told apart from {listed(equal)}"] if equal else []
    return f"The plain baseline {plain} {' and '.join(parts)}." if parts else ""


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
