"""Pages that put classifiers side by side: several runs, or a recipe without each of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from falconer.pipelines import page
from falconer.pipelines.charts import Dot, dot_chart
from falconer.pipelines.page import Column, Table
from falconer.pipelines.statistics.differences import Difference, Estimate
from falconer.vision.judging.compare import AgainstFirst


class Report(Protocol):
    """What a page needs to know of a judging."""

    @property
    def label(self) -> str:
        """Short name to print."""

    @property
    def metrics(self) -> Mapping[str, Estimate]:
        """Name -> estimate."""

    @property
    def n(self) -> int:
        """Pictures."""

    @property
    def fold(self) -> str:
        """Which pictures."""

    @property
    def level(self) -> float:
        """Of the intervals."""

    @property
    def resamples(self) -> int:
        """Of the intervals."""


class Judged(Protocol):
    """A classifier or a detector with its report."""

    @property
    def report(self) -> Report:
        """How good it is."""


def comparison_page(
    judged: Sequence[Judged], differences: Sequence[Difference], metric: str
) -> str:
    """Runs by `metric`, and their paired differences."""
    title = f"{len(judged)} runs by {metric}"
    return _page(title, judged, metric, _values(judged), _differences(differences), "")


def ablation_page(
    name: str, judged: Sequence[Judged], rows: Sequence[AgainstFirst], metric: str
) -> str:
    """A recipe, and the recipe without each of its parts, over the seeds."""
    table = _seeds(rows, metric)
    found = [row.difference for row in rows if row.difference is not None]
    chart = dot_chart(
        "worth",
        [Dot(one.second, one.difference, one.low, one.high) for one in found],
        title="What each part is worth",
        description=f"{metric} of the whole recipe minus that of the recipe without the part.",
        axis=f"{metric}: whole recipe minus without",
        digits=4,
        signed=True,
    )
    lead = (
        "Right of zero: the recipe is better with this part. Intervals are over pictures, with the "
        f"mean over the seeds of each ({len(rows[0].seeds)}); their spread is in the table."
    )
    return _page(
        f"{name}: what each part is worth", judged, metric, table, _differences(found), lead, chart
    )


def _page(
    title: str,
    judged: Sequence[Judged],
    metric: str,
    table: Table,
    differences: Table | None,
    lead: str,
    chart: object = None,
) -> str:
    report = judged[0].report
    dots = [
        Dot(one.report.label, found.mean, found.low, found.high, place)
        for place, one in enumerate(judged)
        for found in [one.report.metrics[metric]]
    ]
    values = dot_chart(
        "values",
        dots,
        title=metric,
        description=f"{metric} of each, with {100 * report.level:g} % intervals over pictures.",
        axis=metric,
        digits=4,
    )
    context = {
        "title": title,
        "lead_text": lead,
        "facts": [
            ("Judged on", f"{page.count(report.n)} pictures, fold {report.fold}"),
            ("Intervals", f"{100 * report.level:g} %, {page.count(report.resamples)} resamples"),
        ],
        "charts": [(metric, values)] + ([("Worth of each part", chart)] if chart else []),
        "table": table,
        "differences": differences,
        "sections": [],
    }
    return page.render("falconer.vision.reporting", "comparison.html", context)


def _values(judged: Sequence[Judged]) -> Table:
    names = list(judged[0].report.metrics)
    rows = []
    for one in judged:
        cells = []
        for name in names:
            found = one.report.metrics.get(name)
            cells.append("" if found is None else page.decimal(found.mean))
        rows.append((one.report.label, *cells))
    columns = (Column("Run"), *(Column(name, numeric=True) for name in names))
    return Table("runs", "Every metric", columns, tuple(rows))


def _seeds(rows: Sequence[AgainstFirst], metric: str) -> Table:
    columns = (
        Column("Recipe"),
        Column("Mean", numeric=True),
        Column("Lowest seed", numeric=True),
        Column("Highest seed", numeric=True),
    )
    cells = tuple(
        (
            row.label,
            page.decimal(sum(row.seeds) / len(row.seeds)),
            page.decimal(min(row.seeds)),
            page.decimal(max(row.seeds)),
        )
        for row in rows
    )
    return Table("seeds", f"{metric}, seeds: {len(rows[0].seeds)}", columns, cells)


def _differences(found: Sequence[Difference]) -> Table | None:
    if not found:
        return None
    columns = (
        Column("First"),
        Column("Second"),
        Column("Difference", numeric=True),
        Column("Interval", numeric=True),
        Column("p (Holm)", numeric=True),
        Column("Told apart"),
    )
    rows = tuple(
        (
            one.first,
            one.second,
            page.decimal(one.difference, signed=True),
            f"{page.decimal(one.low, signed=True)} to {page.decimal(one.high, signed=True)}",
            f"{'≤ ' if one.p_is_bound else ''}{page.decimal(one.p_holm)}",
            "yes" if one.separated else "no",
        )
        for one in found
    )
    return Table("differences", "Paired differences, on the same pictures", columns, rows)
