"""Metrics that say the same: where each query has one relevant item, recall is the hit rate."""

from __future__ import annotations

from collections.abc import Sequence

from falconer.recsys.judging.reports import BaseReport


def same_metrics(reports: Sequence[BaseReport], kept: str) -> dict[str, list[str]]:
    """The families of metrics (without a cut-off) that are shown -> those that have the same mean
    as them in every report and at every cut-off, and need not be shown. Of equal ones `kept` is
    shown, else the first."""
    families = list(dict.fromkeys(name.partition("@")[0] for name in reports[0].metrics))
    families.sort(key=lambda family: family != kept)
    shown: dict[tuple[float, ...], str] = {}
    found: dict[str, list[str]] = {}
    for family in families:
        first = shown.setdefault(_means(reports, family), family)
        found.setdefault(first, [])
        if first != family:
            found[first].append(family)
    return found


def _means(reports: Sequence[BaseReport], family: str) -> tuple[float, ...]:
    """All means of a family, in the order of reports and cut-offs."""
    return tuple(
        round(estimate.mean, 12)
        for report in reports
        for name, estimate in sorted(report.metrics.items(), key=lambda one: _cutoff(one[0]))
        if name.partition("@")[0] == family
    )


def _cutoff(name: str) -> int:
    _, _, k = name.partition("@")
    return int(k) if k else 0
