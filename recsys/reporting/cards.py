"""The report's cards: what the data is, how the judging was done, what the runs cost and were made
with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from falconer.pipelines import page
from falconer.pipelines.config import to_toml
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold
from falconer.pipelines.page import Column, Table
from falconer.pipelines.runs import Run
from falconer.pipelines.statistics.differences import Estimate
from falconer.recsys.judging.reports import BaseReport, Comparison, ListsReport, Part
from falconer.recsys.metrics import COMMON_RULES

ABSENT = "\u2013"

VIEWS: dict[Part, tuple[str, str]] = {
    "all": (
        "All items",
        "Every item of the catalogue may be recommended, and everything that a user then chose "
        "counts.",
    ),
    "repeat": (
        "Repeat items only",
        "Only items of the user's own history may be recommended, and only the choices that return "
        "to them count.",
    ),
    "novel": (
        "Novel items only",
        "Items of the user's history are kept out of the lists, and only choices that the user had "
        "never made count.",
    ),
    "labels": ("Labels of rows", "Each row of the fold is given a score, held beside its label."),
}
"""View -> its name and its rule, in words that fit purchases and films alike."""


def warnings(comparison: Comparison[Any]) -> tuple[str, ...]:
    """What was not judged alike, and every report's warnings, each once, with the models and views
    it is about where these are not all of them."""
    found: dict[str, list[str]] = {}
    for view in comparison.views:
        for report in view.reports:
            place = "" if view.view == "labels" else f" ({VIEWS[view.view][0].lower()})"
            for warning in report.warnings:
                found.setdefault(warning, []).append(f"{report.label}{place}")
    n_reports = sum(len(view.reports) for view in comparison.views)
    return comparison.warnings + tuple(
        warning if len(places) == n_reports > 1 else f"{warning}: {', '.join(places)}"
        for warning, places in found.items()
    )


def costs(comparison: Comparison[Any], runs: Sequence[Run]) -> Table:
    """What each model cost, as far as it is known: seconds to train and to recommend, peak
    memory."""
    return cost_table(comparison.views[0].reports, runs, {"recommend_seconds": "Recommending"})


def cost_table(
    reports: Sequence[BaseReport], runs: Sequence[Run], answering: Mapping[str, str]
) -> Table:
    """One row a report; `answering` maps the key of a cost besides training to its column's
    name."""
    info = {run.name: run.info for run in runs}
    rows = []
    for report in reports:
        facts = info.get(report.run or "", {})
        memory = facts.get("peak_memory_mb")
        rows.append(
            (
                report.label,
                str(facts.get("backend", ABSENT)),
                *(_seconds(report.cost.get(key)) for key in ("train_seconds", *answering)),
                ABSENT if memory is None else f"{page.count(memory)}\u00a0MB",
                str(facts.get("machine", ABSENT)),
            )
        )
    columns = (
        Column("Model"),
        Column("Backend"),
        Column("Training", numeric=True),
        *(Column(name, numeric=True) for name in answering.values()),
        Column("Peak memory of the process", numeric=True),
        Column("Machine"),
    )
    return Table("costs", "Cost of each model, as its run measured it", columns, tuple(rows))


def _seconds(value: float | None) -> str:
    return ABSENT if value is None else page.seconds(value)


def data_card(data: Dataset, fold: Fold) -> dict[str, Any]:
    """What the template shows of the dataset: counts, sources, features, the share outside the
    catalogue, recipe."""
    card = data.card
    return {
        "facts": [
            ("Dataset", card.dataset_id),
            ("Lineage of ids", card.id_space.generations[-1]),
            ("Users", page.count(card.n_users)),
            ("Items", page.count(card.n_items)),
            ("Times", "yes" if card.has_time else "none"),
        ],
        "outside": _outside(data, fold) if card.task == "top_n" else "",
        "counts": _counts(card.counts),
        "sources": _sources(card.sources),
        "features": _features(data),
        "notes": card.notes,
        "recipe": to_toml(card.config) if card.config else "",
    }


def _outside(data: Dataset, fold: Fold) -> str:
    truth = data.truth(fold)
    outside, inside = int(truth.n_outside.sum()), len(truth.items.values)
    return (
        f"{page.count(outside)} of {page.count(outside + inside)} relevant items of the {fold} "
        f"queries ({page.percent(outside / max(outside + inside, 1))}) are outside the catalogue, "
        "so that no list could hold them."
    )


def _counts(counts: dict[str, int]) -> Table:
    rows = tuple((name.replace("_", " "), page.count(value)) for name, value in counts.items())
    return Table(
        "counts", "Rows, step by step", (Column("What"), Column("Number", numeric=True)), rows
    )


def _sources(sources: dict[str, str]) -> Table | None:
    columns = (Column("File"), Column("sha256"))
    rows = tuple(
        (name, Markup("<code>{}</code>").format(digest)) for name, digest in sources.items()
    )
    return Table("sources", "Files that were read", columns, rows) if sources else None


def _features(data: Dataset) -> Table | None:
    rows = tuple(
        (
            feature.name,
            feature.table,
            feature.kind,
            ABSENT if feature.cardinality is None else str(feature.cardinality),
        )
        for feature in data.card.features
    )
    columns = (Column("Feature"), Column("Of"), Column("Kind"), Column("Values", numeric=True))
    return Table("features", "Encoded features", columns, rows) if rows else None


def protocol_card(
    comparison: Comparison[Any], data: Dataset, runs: Sequence[Run]
) -> dict[str, Any]:
    """What the template shows of the judging: split, metrics, denominators, bootstrap, runs and
    versions."""
    first = comparison.views[0].reports[0]
    common, definitions = _definitions(comparison)
    return {
        "description": data.card.split.description,
        "facts": facts(first, data),
        "parameters": ", ".join(
            f"{key} = {value}" for key, value in data.card.split.parameters.items()
        ),
        "bootstrap": f"Intervals hold {100 * first.level:g}\u00a0% of "
        f"{page.count(first.resamples)} bootstrap "
        f"resamples of the queries (seed {first.seed}). A paired difference is computed on the "
        "same queries for both "
        "models, and its interval is that of the difference, not of the two means.",
        "denominators": _denominators(comparison),
        "common": common,
        "definitions": definitions,
        "reads": reads([report for view in comparison.views for report in view.reports]),
        "runs": run_table(
            {r.run: r.label for view in comparison.views for r in view.reports}, runs
        ),
        "versions": version_table(runs),
    }


def facts(report: BaseReport, data: Dataset) -> list[tuple[str, str]]:
    """Targets, validation, and what becomes of items outside the catalogue, in words."""
    named = {"targets": "Asked for", "validation": "Validation", "outside": "Unknown items"}
    told = {**data.card.split.facts, **report.protocol}
    return [(title, told[name]) for name, title in named.items() if name in told]


def reads(reports: Sequence[BaseReport]) -> str:
    """How often the test fold was looked at; empty where that was not counted."""
    counts = [(report.test_reads, report.test_lists) for report in reports if report.test_reads]
    if not counts:
        return ""
    times, lists = max(counts, key=lambda count: count[0] or 0)
    return (
        f"The test fold of this dataset had been judged on {page.count(times or 0)} times here, "
        f"for {page.count(lists or 0)} different lists, when the last of these reports was made. "
        "The more often it is looked at to choose between models, the more its figures flatter the "
        "choice; p-values do not know of it."
    )


def _denominators(comparison: Comparison[Any]) -> Table:
    """One row a view, or one for each group of models where the numbers are not the same."""
    rows = []
    for view in comparison.views:
        groups: dict[tuple[str, ...], list[str]] = {}
        for report in view.reports:
            groups.setdefault(_denominator(report), []).append(report.label)
        for numbers, labels in groups.items():
            title = VIEWS[view.view][0]
            rows.append((title if len(groups) == 1 else f"{title}: {', '.join(labels)}", *numbers))
    names = (
        "Queries",
        "Evaluated",
        "Left out",
        "Without a list",
        "Relevant items",
        "Outside the catalogue",
    )
    columns = (Column("View"), *(Column(name, numeric=True) for name in names))
    caption = (
        "Denominators. Left out: no relevant item that counts in the view. Without a list: "
        "evaluated, and counted as a miss"
    )
    return Table("denominators", caption, columns, tuple(rows))


def _denominator(report: ListsReport) -> tuple[str, ...]:
    left_out = report.n_queries - report.n_evaluated
    numbers = (report.n_queries, report.n_evaluated, left_out, report.n_without_list)
    return tuple(page.count(number) for number in (*numbers, report.n_relevant, report.n_outside))


def _definitions(comparison: Comparison[Any]) -> tuple[str, list[tuple[str, str]]]:
    """The rules common to all metrics, and each metric's definition at one cut-off: the others
    differ in k only."""
    main = comparison.views[0].metric.partition("@")[2]
    found: dict[str, tuple[str, Estimate]] = {}
    for view in comparison.views:
        for report in view.reports:
            for name, estimate in report.metrics.items():
                family, _, cutoff = name.partition("@")
                if family not in found or cutoff == main:
                    found[family] = (name, estimate)
    texts = [
        (name, estimate.definition.replace(COMMON_RULES, "")) for name, estimate in found.values()
    ]
    shared = any(COMMON_RULES in estimate.definition for _, estimate in found.values())
    return COMMON_RULES if shared else "", texts


def run_table(labels: Mapping[str | None, str], runs: Sequence[Run]) -> Table | None:
    """What each run was made with; `labels` by its name. None where there are no runs."""
    rows = []
    for run in runs:
        info = run.info
        facts = (str(info.get(fact, ABSENT)) for fact in ("seed", "threads", "git", "python"))
        started = str(info.get("started", ABSENT)).replace("T", " ").removesuffix("+00:00")
        trained = "train and validation" if info.get("refit_of") else "train"
        knobs = ", ".join(info.get("knobs", ())) or ABSENT
        rows.append((labels.get(run.name, run.name), run.name, knobs, started, trained, *facts))
    names = (
        "Model",
        "Run",
        "Knobs",
        "Started (UTC)",
        "Trained on",
        "Seed",
        "Threads",
        "Revision",
        "Python",
    )
    return (
        Table("runs", "The runs", tuple(Column(name) for name in names), tuple(rows))
        if rows
        else None
    )


def version_table(runs: Sequence[Run]) -> Table | None:
    """Package -> version, and every version where the runs differ."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for package, version in run.info.get("versions", {}).items():
            known = found.setdefault(str(package), [])
            if version not in known:
                known.append(str(version))
    rows = tuple((package, ", ".join(versions)) for package, versions in found.items())
    return (
        Table("versions", "Versions in use", (Column("Package"), Column("Version")), rows)
        if rows
        else None
    )
