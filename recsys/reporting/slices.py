"""The report's slices: how every model does in every group, and where the leader is worse though
its mean is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from falconer.pipelines import charts, page
from falconer.pipelines.page import Column, Table
from falconer.recsys.judging.reports import SliceDifference, SliceEstimate, ViewComparison

FEW_ROWS = 100
"""Rows of labels of a group below which no interval is shown: percentiles hold too seldom there."""


def slice_table(view: ViewComparison[Any], title: str, numbers: Mapping[str, int]) -> Table | None:
    """One row a group, one column a model; None where nothing was sliced. `numbers` are the models'
    colours."""
    by_group: dict[tuple[str, str], dict[str, SliceEstimate]] = {}
    for report in view.reports:
        for one in report.slices:
            by_group.setdefault((one.slicing, one.group), {})[report.label] = one
    if not by_group:
        return None
    better = {(gap.slicing, gap.group, gap.second) for gap in worse_for_the_leader(view)}
    rows = []
    for (slicing, group), found in by_group.items():
        cells = [
            _cell(
                found.get(report.label),
                fewest=FEW_ROWS if view.view == "labels" else 0,
                marked=(slicing, group, report.label) in better,
            )
            for report in view.reports
        ]
        rows.append(
            (page.with_note(group, slicing), page.count(next(iter(found.values())).n), *cells)
        )
    metric = next(one.metric for report in view.reports for one in report.slices)
    questions = "Rows" if view.view == "labels" else "Queries"
    models = (Column(report.label, numeric=True) for report in view.reports)
    caption = (
        f"{title}: {metric} in every group, with {100 * view.reports[0].level:g}\u00a0% intervals"
    )
    return Table(
        f"{view.view}-slices",
        caption,
        (Column("Group"), Column(questions, numeric=True), *models),
        tuple(rows),
    )


def _cell(estimate: SliceEstimate | None, *, fewest: int, marked: bool) -> Markup | str:
    if estimate is None:
        return "\u2013"
    mean = page.decimal(estimate.mean)
    if estimate.n < fewest:
        soft = Markup('<span class="soft">{}</span>').format(mean)
        cell = page.with_note(soft, f"under {fewest}")
    else:
        cell = page.with_note(mean, page.span(estimate.low, estimate.high))
    return (
        Markup('{}<span class="badge warn">beats the first</span>').format(cell) if marked else cell
    )


def worse_for_the_leader(view: ViewComparison[Any]) -> tuple[SliceDifference, ...]:
    """Groups in which another model is ahead of the first, outside the noise after correction for
    all groups."""
    sign = -1 if view.lower_is_better else 1
    return tuple(gap for gap in view.slices if gap.separated and sign * gap.difference < 0)


def reversals(view: ViewComparison[Any]) -> tuple[str, ...]:
    """The same in words, one sentence a group; the first model's mean is the best of all
    queries."""
    groups: dict[tuple[str, str], list[SliceDifference]] = {}
    for gap in sorted(worse_for_the_leader(view), key=lambda gap: -abs(gap.difference)):
        groups.setdefault((gap.slicing, gap.group), []).append(gap)
    questions = "users" if view.view == "labels" else "queries"
    return tuple(
        _reversal(gaps[0], [gap.second for gap in gaps[1:]], questions) for gaps in groups.values()
    )


def _reversal(most: SliceDifference, others: Sequence[str], questions: str) -> str:
    also = f"; so {'is' if len(others) == 1 else 'are'} {', '.join(others)}" if others else ""
    low, high = sorted((abs(most.low), abs(most.high)))
    interval = f"{page.decimal(low)} to {page.decimal(high)}"
    return (
        f"{most.slicing}, {most.group} ({page.count(most.n)} {questions}): {most.second} is ahead "
        f"of {most.first} by {page.decimal(abs(most.difference))} in {most.metric} "
        f"({interval}){also}"
    )


def none_found(view: ViewComparison[Any]) -> str:
    """What the page says where there is nothing of the kind; empty where nothing was compared."""
    if not view.slices or worse_for_the_leader(view):
        return ""
    groups = len({(gap.slicing, gap.group) for gap in view.slices})
    return (
        f"In none of {groups} groups is another model ahead of {view.reports[0].label} "
        "outside the noise."
    )


def trade_offs(
    view: ViewComparison[Any], title: str, numbers: Mapping[str, int]
) -> list[tuple[str, Markup]]:
    """(caption, chart) of accuracy against coverage, training seconds, and milliseconds a query,
    where they are known.

    Milliseconds are those of recommending in all views, per query, as the run measured them.
    """
    cutoff = view.metric.partition("@")[2]
    coverage = {
        r.label: r.metrics[f"coverage@{cutoff}"].mean
        for r in view.reports
        if f"coverage@{cutoff}" in r.metrics
    }
    training = {r.label: r.cost["train_seconds"] for r in view.reports if "train_seconds" in r.cost}
    if view.view == "labels":
        return []
    asking = {
        r.label: 1000 * r.cost["recommend_seconds"] / r.n_queries
        for r in view.reports
        if "recommend_seconds" in r.cost
    }
    wanted = (
        ("coverage", f"coverage@{cutoff}: share of the catalogue in any list", coverage, False),
        ("training", "seconds of training (log scale)", training, True),
        ("answering", "milliseconds a query, all views together (log scale)", asking, True),
    )
    return [
        (
            f"{view.metric} and {name}",
            _trade_off(view, title, name, axis, values, numbers, cost=cost),
        )
        for name, axis, values, cost in wanted
        if len(values) > 1
    ]


def _trade_off(
    view: ViewComparison[Any], title: str, name: str, axis: str, values: Mapping[str, float],
    numbers: Mapping[str, int],
    *, cost: bool,
) -> Markup:  # fmt: skip
    points = [
        charts.Point(
            report.label,
            values[report.label],
            report.metrics[view.metric].mean,
            numbers[report.label],
        )
        for report in view.reports
        if report.label in values
    ]
    front = pareto([(-point.x if cost else point.x, point.y) for point in points])
    names = ", ".join(points[place].label for place in front)
    spoken = "; ".join(f"{point.label} {point.x:.4g}, {point.y:.4f}" for point in points)
    return charts.scatter_chart(
        f"{view.view}-against-{name}",
        points,
        title=f"{title}: {view.metric} against {name}",
        description=f"{axis}, {view.metric}: {spoken}. Beaten in both by none: {names}.",
        axis=axis,
        front=front,
        log=cost,
    )


def pareto(points: list[tuple[float, float]]) -> list[int]:
    """Places of the points that no other one reaches in both coordinates and passes in one (higher
    is better)."""
    return [
        place
        for place, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)
    ]
