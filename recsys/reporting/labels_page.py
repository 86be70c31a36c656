"""The page on compared predictions of labels: leaderboard, calibration, slices, and what they rest
on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from falconer.pipelines import charts, page
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.page import Column, Table
from falconer.pipelines.runs import Run
from falconer.recsys.judging.reports import Comparison, LabelsReport
from falconer.recsys.reporting import cards as report_cards
from falconer.recsys.reporting.palette import Palette, curves_of
from falconer.recsys.reporting.sections import section, units_of


def render(comparison: Comparison[LabelsReport], data: Dataset, runs: Sequence[Run]) -> str:
    """The HTML of the comparison; `runs` are those that made the predictions."""
    [view] = comparison.views
    palette, reports = Palette.of(comparison), view.reports
    shown = section(view, palette)
    curves = curves_of({report.run: report.label for report in reports}, runs, palette)
    with_bins = [report for report in reports if report.bins]
    links = [("summary", "Summary"), (shown.name, shown.title)]
    links += [("calibration", "Calibration")] if with_bins else []
    links += [("training", "Training")] if curves else []
    n = len(reports)
    answering = {"predict_seconds": "Predicting"}
    context = {
        "title": f"{n} model{'s' * (n != 1)} on {data.card.name}",
        "sections": [*links, ("cost", "Cost"), ("data", "Data"), ("protocol", "Protocol")],
        "facts": _facts(reports[0], data),
        "views": [shown],
        "warnings": report_cards.warnings(comparison),
        "reliability": _reliability(with_bins, palette) if with_bins else None,
        "bins": _bins(with_bins),
        "curves": curves,
        "costs": report_cards.cost_table(reports, runs, answering),
        "data_card": report_cards.data_card(data, comparison.fold),
        "protocol_card": _protocol_card(reports, data, runs),
    }
    return page.render("falconer.recsys.reporting", "labels.html", context)


def _facts(first: LabelsReport, data: Dataset) -> list[tuple[str, str]]:
    mean = ("Label 1", page.percent(first.mean_label)) if first.target == "binary" else (
        "Mean rating", page.decimal(first.mean_label, digits=2)
    )  # fmt: skip
    return [
        ("Train rows", page.count(data.train.num_rows)),
        (f"Rows ({first.fold})", page.count(first.n_rows)),
        mean,
        ("Features", page.count(len(data.card.features))),
        ("Split", data.card.split.protocol.replace("_", " ")),
        ("Dataset", first.dataset_id),
    ]


def _reliability(reports: Sequence[LabelsReport], palette: Palette) -> Markup:
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


def _bins(reports: Sequence[LabelsReport]) -> Table:
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


def _protocol_card(
    reports: Sequence[LabelsReport], data: Dataset, runs: Sequence[Run]
) -> dict[str, Any]:
    first = reports[0]
    definitions = {
        name: one.definition for report in reports for name, one in report.metrics.items()
    }
    return {
        "description": data.card.split.description,
        "facts": report_cards.facts(first, data),
        "parameters": ", ".join(
            f"{key} = {value}" for key, value in data.card.split.parameters.items()
        ),
        "definitions": list(definitions.items()),
        "bootstrap": f"Intervals hold {100 * first.level:g}\u00a0% of "
        f"{page.count(first.resamples)} bootstrap resamples of {page.count(first.n_units)} "
        f"{units_of(first).lower()} (seed {first.seed}), of values whose mean is the metric: for "
        "one that is no mean over rows, such as the AUC, its first-order change with the row's "
        "weight. A paired difference is computed on the same rows for both models, and its "
        "interval is that "
        "of the difference.",
        "reads": report_cards.reads(reports),
        "runs": report_cards.run_table({report.run: report.label for report in reports}, runs),
        "versions": report_cards.version_table(runs),
    }
