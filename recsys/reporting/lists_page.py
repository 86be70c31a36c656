"""The comparison report: one page that says who leads, by how much, how sure that is, and on what
it rests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from falconer.pipelines import charts, drawing, page
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import View
from falconer.pipelines.page import Column, Table
from falconer.pipelines.runs import Run
from falconer.pipelines.statistics.differences import Estimate, PairedDifference
from falconer.recsys.judging.reports import Comparison, Report, ViewComparison
from falconer.recsys.reporting import cards as report_cards
from falconer.recsys.reporting import explorer
from falconer.recsys.reporting import slices as report_slices
from falconer.recsys.reporting import users as examples
from falconer.recsys.reporting.cards import VIEWS


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
    full_table: Table
    curves: tuple[tuple[str, Markup], ...]
    differences: Table | None
    slices: Table | None
    reversals: tuple[str, ...]
    no_reversals: str
    trade_offs: tuple[tuple[str, Markup], ...]


@dataclass(frozen=True)
class Palette:
    """Model label -> its colour and marker, the same in every chart of the page."""

    numbers: dict[str, int]

    @classmethod
    def of(cls, comparison: Comparison) -> Palette:
        """Numbers in the order in which labels first appear."""
        labels = dict.fromkeys(report.label for view in comparison.views for report in view.reports)
        return cls({label: number for number, label in enumerate(labels)})

    def __getitem__(self, label: str) -> int:
        return self.numbers[label]


def render(comparison: Comparison, data: Dataset, runs: Sequence[Run]) -> str:
    """The HTML of the comparison.

    `runs` are those that made the lists; `run.path / view / "recommendations.parquet"` is read for
    the ten users. Reports whose lists came from elsewhere (`report.run` is None) take part in
    everything but the users and the training curves. Raises `ArtifactError` where a run's lists are
    missing or damaged.
    """
    palette = Palette.of(comparison)
    sections = [_section(view, palette) for view in comparison.views]
    files = _list_files(comparison, runs)
    explored = examples.examples(data, comparison.fold, files, n=examples.N_EXPLORED)
    people, searchable = explored[: examples.N_USERS], _explorer(explored, files)
    curves = training_curves(comparison, runs, palette)
    context = {
        "title": f"{len(palette.numbers)} recommender{'s' * (len(palette.numbers) != 1)} on {data.card.name}",
        "sections": _contents(
            sections,
            has_people=bool(people),
            has_explorer=bool(searchable),
            has_curves=bool(curves),
        ),
        "facts": _facts(comparison, data),
        "sampled": data.card.split.sampled,
        "views": sections,
        "view_titles": {view: title for view, (title, _) in VIEWS.items()},
        "palette": palette.numbers,
        "people": people,
        "rule": examples.RULE,
        "explorer_rule": examples.EXPLORER_RULE,
        "explorer": searchable,
        "curves": curves,
        "warnings": report_cards.warnings(comparison),
        "costs": report_cards.costs(comparison, runs),
        "data_card": report_cards.data_card(data, comparison.fold),
        "protocol_card": report_cards.protocol_card(comparison, data, runs),
    }
    return page.render("falconer.recsys.reporting", "comparison.html", context)


def _explorer(people: Sequence[examples.Example], files: Mapping[View, Mapping[str, Path]]) -> str:
    """The explorer's content; empty where no lists are at hand."""
    runs = list(dict.fromkeys(label for by_label in files.values() for label in by_label))
    return (
        explorer.content(people, runs, [VIEWS[view][0] for view in files])
        if people and runs
        else ""
    )


def _facts(comparison: Comparison, data: Dataset) -> list[tuple[str, str]]:
    first = comparison.views[0].reports[0]
    return [
        ("Users", page.count(data.n_users)),
        ("Items in the catalogue", page.count(data.n_items)),
        ("Train events", page.count(data.train.num_rows)),
        (f"Queries ({comparison.fold})", page.count(first.n_queries)),
        ("Split", data.card.split.protocol.replace("_", " ")),
        ("Dataset", comparison.dataset_id),
    ]


def _contents(
    sections: Sequence[Section], *, has_people: bool, has_explorer: bool, has_curves: bool
) -> list[tuple[str, str]]:
    links = [("summary", "Summary")] + [(section.name, section.title) for section in sections]
    links += [("users", "Real users")] if has_people else []
    links += [("explorer", "Explorer")] if has_explorer else []
    links += [("training", "Training")] if has_curves else []
    return [*links, ("cost", "Cost"), ("data", "Data"), ("protocol", "Protocol")]


def _section(view: ViewComparison, palette: Palette) -> Section:
    title, rule = VIEWS[view.view]
    first = view.reports[0]
    return Section(
        name=f"view-{view.view}",
        title=title,
        rule=rule,
        first=first.label,
        verdict=view.verdict,
        scope=f"{page.count(first.n_evaluated)} of {page.count(first.n_queries)} queries have a relevant item here; "
        f"every mean is over those {page.count(first.n_evaluated)}.",
        leaderboard=_leaderboard_chart(view, palette),
        gaps=_gap_chart(view, palette),
        table=leaderboard(view, palette),
        full_table=_full_table(view),
        curves=tuple(_curves(view, palette)),
        differences=difference_table(view),
        slices=report_slices.slice_table(view, title, palette.numbers),
        reversals=report_slices.reversals(view),
        no_reversals=report_slices.none_found(view),
        trade_offs=tuple(report_slices.trade_offs(view, title, palette.numbers)),
    )


def _leaderboard_chart(view: ViewComparison, palette: Palette) -> Markup:
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


def _gap_chart(view: ViewComparison, palette: Palette) -> Markup | None:
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


def _gap(view: ViewComparison, first: str, label: str) -> PairedDifference | None:
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


def _level(view: ViewComparison) -> str:
    return f"{100 * view.reports[0].level:g}\u00a0%"


def leaderboard(view: ViewComparison, palette: Palette) -> Table:
    """The metrics at the view's main cut-off, best first; the first is marked best only where that
    is certain."""
    _, _, cutoff = view.metric.partition("@")
    names = [
        name
        for name in view.reports[0].metrics
        if name == view.metric or name.partition("@")[2] in ("", cutoff)
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


def is_best(view: ViewComparison) -> bool:
    """Whether the first model's lead over every other one is outside the noise."""
    first, *others = [report.label for report in view.reports]
    gaps = [_gap(view, first, label) for label in others]
    return bool(gaps) and all(
        gap is not None and gap.separated and gap.difference < 0 for gap in gaps
    )


def _model_cell(report: Report, palette: Palette, *, best: bool) -> Markup:
    badge = Markup('<span class="badge good">best</span>') if best else Markup("")
    return Markup('<span class="model">{}{}</span>{}').format(
        drawing.swatch(palette[report.label]), page.breakable(report.label), badge
    )


def _estimate(report: Report, name: str) -> str:
    estimate: Estimate | None = report.metrics.get(name)
    if estimate is None:
        return "\u2013"
    if estimate.low is None or estimate.high is None:
        return page.decimal(estimate.mean)
    return page.with_note(
        page.decimal(estimate.mean),
        f"{page.decimal(estimate.low)} to {page.decimal(estimate.high)}",
    )


def _full_table(view: ViewComparison) -> Table:
    labels = [report.label for report in view.reports]
    rows = tuple(
        (name, *(_estimate(report, name) for report in view.reports))
        for name in view.reports[0].metrics
    )
    columns = (Column("Metric"), *(Column(label, numeric=True) for label in labels))
    return Table(
        f"{view.view}-all", f"{VIEWS[view.view][0]}: every metric at every cut-off", columns, rows
    )


def _curves(view: ViewComparison, palette: Palette) -> list[tuple[str, Markup]]:
    """A line chart of each metric that was computed at two or more cut-offs."""
    families: dict[str, list[int]] = {}
    for name in view.reports[0].metrics:
        family, at, cutoff = name.partition("@")
        if at:
            families.setdefault(family, []).append(int(cutoff))
    return [
        (family, _curve(view, family, sorted(cutoffs), palette))
        for family, cutoffs in families.items()
        if cutoffs[1:]
    ]


def _curve(view: ViewComparison, family: str, cutoffs: Sequence[int], palette: Palette) -> Markup:
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


def difference_table(view: ViewComparison) -> Table | None:
    """Every pair's difference with its interval and test, and whether they are told apart; None for
    a single model."""
    if not view.differences:
        return None
    caption = f"{VIEWS[view.view][0]}: paired differences in {view.metric}, both models on the same queries"
    return pair_table(f"{view.view}-pairs", caption, view.differences, units="Queries")


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
                p_value(gap.p_holm),
                f"alone {p_value(gap.p_randomisation)}, bootstrap {p_value(gap.p_bootstrap)}",
            ),
            Markup(
                '<span class="badge good">told apart</span>'
                if gap.separated
                else "within the noise"
            ),
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


def p_value(p: float) -> str:
    """A p-value with three decimals, or that it is smaller."""
    return "< 0.001" if p < 0.001 else page.decimal(p, digits=3)


def _list_files(comparison: Comparison, runs: Sequence[Run]) -> dict[View, dict[str, Path]]:
    """View -> label -> the file of lists, for the reports that one of `runs` made."""
    paths = {run.name: run.path for run in runs}
    return {
        view.view: {
            report.label: paths[report.run] / view.view / "recommendations.parquet"
            for report in view.reports
            if report.run in paths
        }
        for view in comparison.views
    }


def training_curves(
    comparison: Comparison, runs: Sequence[Run], palette: Palette
) -> list[tuple[str, Markup]]:
    """A line chart of each metric that some run logged at two or more steps, with one line a
    run."""
    return curves_of(
        {r.run: r.label for view in comparison.views for r in view.reports}, runs, palette
    )


def curves_of(
    labels: Mapping[str | None, str], runs: Sequence[Run], palette: Palette
) -> list[tuple[str, Markup]]:
    """The same for runs whose labels are given by their names."""
    found: dict[str, list[charts.Series]] = {}
    for run in runs:
        for metric, points in _logged(run).items():
            if run.name in labels and len(points) > 1:
                label = labels[run.name]
                found.setdefault(metric, []).append(charts.Series(label, points, palette[label]))
    return [
        (metric, _training_curve(metric, lines, number))
        for number, (metric, lines) in enumerate(found.items())
    ]


def _logged(run: Run) -> dict[str, list[tuple[float, float]]]:
    points: dict[str, list[tuple[float, float]]] = {}
    for line in run.read_lines("metrics.jsonl"):
        for metric, value in line.items():
            if metric != "step":
                points.setdefault(metric, []).append((float(line["step"]), float(value)))
    return points


def _training_curve(metric: str, lines: Sequence[charts.Series], number: int) -> Markup:
    ends = "; ".join(
        f"{line.label} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in lines
    )
    return charts.line_chart(
        f"training-{number}",
        lines,
        title=f"{metric} while training",
        description=f"Value at each logged step: {ends}.",
        axis="step",
        zero=False,
    )
