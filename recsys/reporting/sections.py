"""What a page shows of one view, or of the rows of the task `labels`: charts, leaderboard, slices
and differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from falconer.pipelines import charts, drawing, page
from falconer.pipelines.page import Column, Table
from falconer.pipelines.statistics.differences import Estimate, PairedDifference
from falconer.recsys.judging.reports import BaseReport, LabelsReport, ListsReport, ViewComparison
from falconer.recsys.reporting import off_policy
from falconer.recsys.reporting import slices as report_slices
from falconer.recsys.reporting.cards import VIEWS
from falconer.recsys.reporting.equals import same_metrics
from falconer.recsys.reporting.palette import Palette


@dataclass(frozen=True)
class Section:
    """What the page shows of one view."""

    name: str
    title: str
    rule: str
    first: str
    verdict: str
    scope: str
    leaderboard: Markup
    gaps: Markup | None
    table: Table
    equal: tuple[str, ...]
    full_table: Table | None
    curves: tuple[tuple[str, Markup], ...]
    differences: Table | None
    off_policy: Table | None
    slices: Table | None
    reversals: tuple[str, ...]
    no_reversals: str
    trade_offs: tuple[tuple[str, Markup], ...]


def section(view: ViewComparison[Any], palette: Palette) -> Section:
    """All of one view."""
    title, rule = VIEWS[view.view]
    first = view.reports[0]
    return Section(
        name=f"view-{view.view}",
        title=title,
        rule=rule,
        first=first.label,
        verdict=view.verdict,
        scope=_scope(first),
        leaderboard=_leaderboard_chart(view, palette),
        gaps=_gap_chart(view, palette),
        table=leaderboard(view, palette),
        equal=_equal(view),
        full_table=_full_table(view),
        curves=tuple(_curves(view, palette)),
        differences=difference_table(view),
        off_policy=_off_policy(view),
        slices=report_slices.slice_table(view, title, palette.numbers),
        reversals=report_slices.reversals(view),
        no_reversals=report_slices.none_found(view),
        trade_offs=tuple(report_slices.trade_offs(view, title, palette.numbers)),
    )


def _scope(report: BaseReport) -> str:
    """What every mean is over."""
    if isinstance(report, ListsReport):
        return (
            f"{page.count(report.n_evaluated)} of {page.count(report.n_queries)} queries have a "
            f"relevant item here; every mean is over those {page.count(report.n_evaluated)}."
        )
    if isinstance(report, LabelsReport):
        return (
            f"{page.count(report.n_rows)} rows, of {page.count(report.n_units)} "
            f"{units_of(report).lower()}."
        )
    return ""


def units_of(report: BaseReport) -> str:
    """What is resampled, and what a paired difference is over."""
    names = {"user": "Users", "row": "Rows", "group of rows": "Groups of rows"}
    return names[report.unit] if isinstance(report, LabelsReport) else "Queries"


def _leaderboard_chart(view: ViewComparison[Any], palette: Palette) -> Markup:
    rows = [
        charts.Dot(report.label, estimate.mean, estimate.low, estimate.high, palette[report.label])
        for report in view.reports
        for estimate in [report.metrics[view.metric]]
    ]
    return charts.dot_chart(
        f"{view.view}-leaderboard",
        rows,
        title=f"{VIEWS[view.view][0]}: {view.metric} of each model",
        description=f"Means with {_level(view)} intervals: "
        + "; ".join(_spoken(row) for row in rows)
        + ".",
        axis=f"{view.metric}, mean and {_level(view)} interval",
    )


def _gap_chart(view: ViewComparison[Any], palette: Palette) -> Markup | None:
    """How far each model is behind the first, with the paired interval."""
    first, *others = [report.label for report in view.reports]
    gaps = [(label, gap) for label in others if (gap := _gap(view, first, label))]
    if not gaps:
        return None
    rows = [
        charts.Dot(label, gap.difference, gap.low, gap.high, palette[label]) for label, gap in gaps
    ]
    return charts.dot_chart(
        f"{view.view}-gaps",
        rows,
        title=f"{VIEWS[view.view][0]}: {view.metric} of each model less that of {first}",
        description=f"Paired differences with {_level(view)} intervals: "
        + "; ".join(_spoken(row) for row in rows)
        + ".",
        axis="an interval that reaches zero: not told apart",
        digits=4,
        signed=True,
    )


def _gap(view: ViewComparison[Any], first: str, label: str) -> PairedDifference | None:
    """The difference `label` - `first`, whichever way round it was computed."""
    for found in view.differences:
        if (found.first, found.second) == (label, first):
            return found
        if (found.first, found.second) == (first, label):
            turned = {"difference": -found.difference, "low": -found.high, "high": -found.low}
            return found.model_copy(update={"first": label, "second": first, **turned})
    return None


def _spoken(row: charts.Dot) -> str:
    interval = "" if row.low is None or row.high is None else f" ({row.low:.4f} to {row.high:.4f})"
    return f"{row.label} {row.value:.4f}{interval}"


def _level(view: ViewComparison[Any]) -> str:
    return f"{100 * view.reports[0].level:g}\u00a0%"


def leaderboard(view: ViewComparison[Any], palette: Palette) -> Table:
    """The metrics at the view's main cut-off, best first; the first is marked best only where that
    is certain."""
    _, _, cutoff = view.metric.partition("@")
    shown = same_metrics(view.reports, view.metric.partition("@")[0])
    names = [
        name
        for name in view.reports[0].metrics
        if name == view.metric
        or (name.partition("@")[2] in ("", cutoff) and name.partition("@")[0] in shown)
    ]
    names.sort(key=lambda name: name != view.metric)
    rows = tuple(
        (
            _model_cell(report, palette, best=place == 0 and is_best(view)),
            view.letters.get(report.label, ""),
            *(_estimate(report, name) for name in names),
        )
        for place, report in enumerate(view.reports)
    )
    caption = f"{VIEWS[view.view][0]}: leaderboard by {view.metric}, with {_level(view)} intervals"
    columns = (Column("Model"), Column("Group"), *(Column(name, numeric=True) for name in names))
    return Table(f"{view.view}-table", caption, columns, rows)


def _equal(view: ViewComparison[Any]) -> tuple[str, ...]:
    """Which metrics are left out since they are equal to one that is shown, in words."""
    found = same_metrics(view.reports, view.metric.partition("@")[0])
    return tuple(f"{', '.join(others)} = {shown}" for shown, others in found.items() if others)


def is_best(view: ViewComparison[Any]) -> bool:
    """Whether the first model's lead over every other one is outside the noise."""
    first, *others = [report.label for report in view.reports]
    gaps = [_gap(view, first, label) for label in others]
    return bool(gaps) and all(gap is not None and gap.separated for gap in gaps)


def _model_cell(report: BaseReport, palette: Palette, *, best: bool) -> Markup:
    badge = Markup('<span class="badge good">best</span>') if best else Markup("")
    return Markup('<span class="model">{}{}</span>{}').format(
        drawing.swatch(palette[report.label]), page.breakable(report.label), badge
    )


def _off_policy(view: ViewComparison[Any]) -> Table | None:
    """What the lists would have earned; None where nothing was logged."""
    reports = [report for report in view.reports if isinstance(report, ListsReport)]
    found = {report.label: report.off_policy for report in reports if report.off_policy}
    if not found:
        return None
    title = (
        f"{VIEWS[view.view][0]}: mean reward, had one of each list's first k items been shown, "
        f"with {_level(view)} intervals; {off_policy.of_log(next(iter(found.values())))}"
    )
    return off_policy.table(f"{view.view}-off-policy", found, title=title)


def _estimate(report: BaseReport, name: str) -> str:
    estimate: Estimate | None = report.metrics.get(name)
    if estimate is None:
        return "\u2013"
    if estimate.low is None or estimate.high is None:
        return page.decimal(estimate.mean)
    return page.with_note(
        page.decimal(estimate.mean),
        page.span(estimate.low, estimate.high),
    )


def _full_table(view: ViewComparison[Any]) -> Table | None:
    """Every metric at every cut-off; None where there are no cut-offs."""
    if not view.reports[0].k:
        return None
    labels = [report.label for report in view.reports]
    rows = tuple(
        (name, *(_estimate(report, name) for report in view.reports))
        for name in view.reports[0].metrics
    )
    columns = (Column("Metric"), *(Column(label, numeric=True) for label in labels))
    return Table(
        f"{view.view}-all", f"{VIEWS[view.view][0]}: every metric at every cut-off", columns, rows
    )


def _curves(view: ViewComparison[Any], palette: Palette) -> list[tuple[str, Markup]]:
    """A line chart of each metric that was computed at two or more cut-offs, that of the view's own
    metric first; of equal metrics one."""
    main = view.metric.partition("@")[0]
    shown = same_metrics(view.reports, main)
    families: dict[str, list[int]] = {main: []} if "@" in view.metric else {}
    for name in view.reports[0].metrics:
        family, at, cutoff = name.partition("@")
        if at and family in shown:
            families.setdefault(family, []).append(int(cutoff))
    return [
        (family, _curve(view, family, sorted(cutoffs), palette))
        for family, cutoffs in families.items()
        if cutoffs[1:]
    ]


def _curve(
    view: ViewComparison[Any], family: str, cutoffs: Sequence[int], palette: Palette
) -> Markup:
    lines = [
        charts.Series(report.label, points, palette[report.label])
        for report in view.reports
        for points in [
            [
                (k, report.metrics[f"{family}@{k}"].mean)
                for k in cutoffs
                if f"{family}@{k}" in report.metrics
            ]
        ]
        if points  # it may have been judged without this metric
    ]
    ends = "; ".join(
        f"{line.label} {line.points[0][1]:.4f} to {line.points[-1][1]:.4f}" for line in lines
    )
    return charts.line_chart(
        f"{view.view}-{family}",
        lines,
        title=f"{VIEWS[view.view][0]}: {family} at each cut-off k",
        description=f"From k = {cutoffs[0]} to k = {cutoffs[-1]}: {ends}.",
        axis="k, items in the list (log scale)",
        log=True,
    )


def difference_table(view: ViewComparison[Any]) -> Table | None:
    """Every pair's difference with its interval and test, and whether they are told apart; None for
    a single model."""
    if not view.differences:
        return None
    units = units_of(view.reports[0])
    title = VIEWS[view.view][0]
    caption = f"{title}: paired differences in {view.metric}, both models on the same questions"
    return pair_table(f"{view.view}-pairs", caption, view.differences, units=units)


def pair_table(
    name: str, caption: str, differences: Sequence[PairedDifference], *, units: str
) -> Table:
    """A row for each of one or more paired differences; `units` is what they are over."""
    rows = tuple(
        (
            Markup("{} \u2212 {}").format(gap.first, gap.second),
            page.decimal(gap.difference, signed=True),
            f"{page.decimal(gap.low, signed=True)} to {page.decimal(gap.high, signed=True)}",
            page.with_note(
                p_value(gap.p_holm, is_bound=gap.p_is_bound),
                f"alone {p_value(gap.p_randomisation, is_bound=gap.p_is_bound)}, "
                f"bootstrap {p_value(gap.p_bootstrap)}",
            ),
            Markup('<span class="badge good">told apart</span>' if gap.separated else gap.in_words),
            page.count(gap.n),
            "\u2013" if gap.n_needed is None else page.count(gap.n_needed),
        )
        for gap in differences
    )
    columns = (
        Column("Pair"),
        Column("Difference", numeric=True),
        Column(f"{100 * differences[0].level:g}\u00a0% interval", numeric=True),
        Column("p (Holm)", numeric=True),
        Column("Verdict"),
        Column(units, numeric=True),
        Column(f"{units} needed", numeric=True),
    )
    return Table(name, caption, columns, rows)


def p_value(p: float, *, is_bound: bool = False) -> str:
    """A p-value with three decimals, or that it is smaller; one that no flip reached is "at
    most"."""
    shown = max(p, 0.001) if is_bound else p
    if shown < 0.001:
        return "< 0.001"
    bound = "at most " if is_bound else ""
    return (
        f"{bound}{page.decimal(math.ceil(1000 * shown - 1e-9) / 1000 if is_bound else p, digits=3)}"
    )
