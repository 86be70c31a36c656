"""The comparison of predictions as a page: leaderboard, calibration, differences, and what they
rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from falconer.pipelines import charts, drawing, page
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.page import Column, Table
from falconer.pipelines.runs import Run
from falconer.recsys.judging.labels.compare import RowComparison
from falconer.recsys.judging.labels.judge import RowReport
from falconer.recsys.judging.reports import SliceEstimate
from falconer.recsys.reporting import cards as report_cards
from falconer.recsys.reporting.lists_page import Palette, curves_of, pair_table

ABSENT = "\u2013"


def render(comparison: RowComparison, data: Dataset, runs: Sequence[Run]) -> str:
    """The HTML of the comparison; `runs` are those that made the predictions."""
    palette = Palette({report.label: number for number, report in enumerate(comparison.reports)})
    curves = curves_of({report.run: report.label for report in comparison.reports}, runs, palette)
    with_bins = [report for report in comparison.reports if report.bins]
    links = [("summary", "Summary"), ("leaderboard", "Leaderboard")]
    links += [("calibration", "Calibration")] if with_bins else []
    links += [("parts", "Parts")] if any(report.slices for report in comparison.reports) else []
    links += [("training", "Training")] if curves else []
    n = len(comparison.reports)
    context = {
        "title": f"{n} model{'s' * (n != 1)} on {data.card.name}",
        "sections": [*links, ("cost", "Cost"), ("data", "Data"), ("protocol", "Protocol")],
        "facts": _facts(comparison, data),
        "verdict": comparison.verdict,
        "warnings": warnings(comparison.reports),
        "charts": _charts(comparison, palette),
        "table": leaderboard(comparison, palette),
        "differences": _differences(comparison),
        "reliability": _reliability(with_bins, palette) if with_bins else None,
        "bins": _bins(with_bins),
        "parts": _parts(comparison.reports),
        "curves": curves,
        "costs": report_cards.cost_table(
            comparison.reports, runs, {"predict_seconds": "Predicting"}
        ),
        "data_card": report_cards.data_card(data, comparison.fold),
        "protocol_card": _protocol_card(comparison, data, runs),
    }
    return page.render("falconer.recsys.reporting", "labels.html", context)


def _facts(comparison: RowComparison, data: Dataset) -> list[tuple[str, str]]:
    first = comparison.reports[0]
    mean = ("Label 1", page.percent(first.mean_label)) if first.target == "binary" else (
        "Mean rating", page.decimal(first.mean_label, digits=2)
    )  # fmt: skip
    return [
        ("Train rows", page.count(data.train.num_rows)),
        (f"Rows ({comparison.fold})", page.count(first.n_rows)),
        mean,
        ("Features", page.count(len(data.card.features))),
        ("Split", data.card.split.protocol.replace("_", " ")),
        ("Dataset", comparison.dataset_id),
    ]


def warnings(reports: Sequence[RowReport]) -> tuple[str, ...]:
    """Every report's warnings, each once, with the models it is about where these are not all."""
    found: dict[str, list[str]] = {}
    for report in reports:
        for warning in report.warnings:
            found.setdefault(warning, []).append(report.label)
    return tuple(
        warning if len(labels) == len(reports) else f"{warning}: {', '.join(labels)}"
        for warning, labels in found.items()
    )


def _charts(comparison: RowComparison, palette: Palette) -> list[tuple[str, Markup]]:
    level = _level(comparison)
    rows = [
        charts.Dot(report.label, one.mean, one.low, one.high, palette[report.label])
        for report in comparison.reports
        for one in [report.metrics[comparison.metric]]
    ]
    spoken = "; ".join(f"{row.label} {row.value:.4f}" for row in rows)
    drawn = charts.dot_chart(
        "leaderboard-chart",
        rows,
        title=f"{comparison.metric} of each model",
        description=f"Values with {level} intervals: {spoken}.",
        axis=f"{comparison.metric}, with {level} interval",
        digits=4,
    )
    return [("Value and interval of each model", drawn), *_gaps(comparison, palette)]


def _gaps(comparison: RowComparison, palette: Palette) -> list[tuple[str, Markup]]:
    """How far each model is from the first, with the paired interval."""
    first, *others = [report.label for report in comparison.reports]
    gaps = [gap for gap in comparison.differences if gap.first == first]
    if not others:
        return []
    rows = [
        charts.Dot(gap.second, -gap.difference, -gap.high, -gap.low, palette[gap.second])
        for gap in gaps
    ]
    spoken = "; ".join(f"{row.label} {row.value:+.4f}" for row in rows)
    drawn = charts.dot_chart(
        "gap-chart",
        rows,
        title=f"{comparison.metric} of each model less that of {first}",
        description=f"Paired differences with {_level(comparison)} intervals: {spoken}.",
        axis="an interval that reaches zero: not told apart",
        digits=4,
        signed=True,
    )
    return [(f"Difference to {first}, paired", drawn)]


def _level(comparison: RowComparison) -> str:
    return f"{100 * comparison.reports[0].level:g}\u00a0%"


def leaderboard(comparison: RowComparison, palette: Palette) -> Table:
    """Every metric of every model, best first."""
    names = list(dict.fromkeys(name for report in comparison.reports for name in report.metrics))
    names.sort(key=lambda name: name != comparison.metric)
    rows = tuple(
        (
            Markup('<span class="model">{}{}</span>').format(
                drawing.swatch(palette[report.label]), page.breakable(report.label)
            ),
            comparison.letters.get(report.label, ""),
            *(_estimate(report, name) for name in names),
        )
        for report in comparison.reports
    )
    caption = f"Leaderboard by {comparison.metric}, with {_level(comparison)} intervals"
    columns = (Column("Model"), Column("Group"), *(Column(name, numeric=True) for name in names))
    return Table("leaderboard-table", caption, columns, rows)


def _estimate(report: RowReport, name: str) -> str:
    one = report.metrics.get(name)
    if one is None or one.low is None or one.high is None:
        return ABSENT
    return page.with_note(
        page.decimal(one.mean), f"{page.decimal(one.low)} to {page.decimal(one.high)}"
    )


def _differences(comparison: RowComparison) -> Table | None:
    if not comparison.differences:
        return None
    unit = {"user": "Users", "row": "Rows", "group of rows": "Groups of rows"}[
        comparison.reports[0].unit
    ]
    caption = f"Paired differences in {comparison.metric}, both models on the same rows"
    return pair_table("pairs", caption, comparison.differences, units=unit)


def _reliability(reports: Sequence[RowReport], palette: Palette) -> Markup:
    lines = [
        charts.Series(
            report.label, [(one.score, one.label) for one in report.bins], palette[report.label]
        )
        for report in reports
    ]
    ideal = charts.Series("as given", [(0.0, 0.0), (1.0, 1.0)], len(palette.numbers))
    ends = "; ".join(
        f"{line.label} from {line.points[0][0]:.3f}, {line.points[0][1]:.3f} to "
        f"{line.points[-1][0]:.3f}, "
        f"{line.points[-1][1]:.3f}"
        for line in lines
    )
    return charts.line_chart(
        "reliability",
        [*lines, ideal],
        title="Share of label 1 against the mean score, in ten bins of the score",
        description=f"Mean score and share of label 1, first and last bin: {ends}.",
        axis="mean score of the bin",
    )


def _bins(reports: Sequence[RowReport]) -> Table:
    rows = tuple(
        (
            report.label,
            page.decimal(one.score, digits=3),
            page.decimal(one.label, digits=3),
            page.count(one.n),
        )
        for report in reports
        for one in report.bins
    )
    columns = (
        Column("Model"),
        *(Column(name, numeric=True) for name in ("Mean score", "Share of label 1", "Rows")),
    )
    return Table("bins", "Calibration: the bins of each model's scores", columns, rows)


def _parts(reports: Sequence[RowReport]) -> Table | None:
    """One row a group, one column a model; None where nothing was cut."""
    found: dict[tuple[str, str], dict[str, SliceEstimate]] = {}
    for report in reports:
        for one in report.slices:
            found.setdefault((one.slicing, one.group), {})[report.label] = one
    if not found:
        return None
    rows = tuple(
        (
            page.with_note(group, slicing),
            page.count(next(iter(by_label.values())).n),
            *(_part(by_label.get(report.label)) for report in reports),
        )
        for (slicing, group), by_label in found.items()
    )
    metric = next(one.metric for report in reports for one in report.slices)
    models = (Column(report.label, numeric=True) for report in reports)
    caption = f"{metric} in parts of the rows, with {100 * reports[0].level:g}\u00a0% intervals"
    return Table(
        "parts-table", caption, (Column("Group"), Column("Rows", numeric=True), *models), rows
    )


def _part(one: SliceEstimate | None) -> str:
    if one is None:
        return ABSENT
    return page.with_note(
        page.decimal(one.mean), f"{page.decimal(one.low)} to {page.decimal(one.high)}"
    )


def _protocol_card(comparison: RowComparison, data: Dataset, runs: Sequence[Run]) -> dict[str, Any]:
    first = comparison.reports[0]
    definitions = {
        name: one.definition
        for report in comparison.reports
        for name, one in report.metrics.items()
    }
    return {
        "description": data.card.split.description,
        "parameters": ", ".join(
            f"{key} = {value}" for key, value in data.card.split.parameters.items()
        ),
        "definitions": list(definitions.items()),
        "bootstrap": f"Intervals hold {100 * first.level:g}\u00a0% of {page.count(first.resamples)} bootstrap "
        f"resamples of {page.count(first.n_units)} {_units(first)} (seed {first.seed}), of values "
        "whose mean is the "
        "metric: for one that is no mean over rows, such as the AUC, its first-order change with "
        "the row's weight. A "
        "paired difference is computed on the same rows for both models, and its interval is that "
        "of the difference.",
        "reads": report_cards.reads(comparison.reports),
        "runs": report_cards.run_table(
            {report.run: report.label for report in comparison.reports}, runs
        ),
        "versions": report_cards.version_table(runs),
    }


def _units(report: RowReport) -> str:
    return "groups of rows" if report.unit == "group of rows" else f"{report.unit}s"
