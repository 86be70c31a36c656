"""The page on compared lists: who leads, by how much, how sure that is, and on what it rests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from falconer.pipelines import page
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import View
from falconer.pipelines.runs import Run
from falconer.recsys.judging.config import ComparisonConfig
from falconer.recsys.judging.reports import Comparison, ListsReport
from falconer.recsys.reporting import cards as report_cards
from falconer.recsys.reporting import explorer
from falconer.recsys.reporting import users as examples
from falconer.recsys.reporting.cards import VIEWS
from falconer.recsys.reporting.palette import Palette, curves_of
from falconer.recsys.reporting.sections import Section, section


def render(
    comparison: Comparison[ListsReport],
    data: Dataset,
    runs: Sequence[Run],
    config: ComparisonConfig | None = None,
) -> str:
    """The HTML of the comparison.

    `runs` are those that made the lists; `run.path / view / "recommendations.parquet"` is read for
    the users that `config` allows. Reports whose lists came from elsewhere (`report.run` is None)
    take part in everything but the users and the training curves. Raises `ArtifactError` where a
    run's lists are missing or damaged.
    """
    config = config or ComparisonConfig()
    palette = Palette.of(comparison)
    sections = [section(view, palette) for view in comparison.views]
    files = _list_files(comparison, runs)
    explored = examples.examples(
        data, comparison.fold, files, n=config.users, names=config.user_names
    )
    people, searchable = explored[: examples.N_USERS], _explorer(explored, files)
    curves = curves_of(_labels(comparison), runs, palette)
    context = {
        "title": (
            f"{len(palette.numbers)} recommender{'s' * (len(palette.numbers) != 1)} on "
            f"{data.card.name}"
        ),
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
        "explorer_rule": examples.explorer_rule(config.users),
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


def _facts(comparison: Comparison[ListsReport], data: Dataset) -> list[tuple[str, str]]:
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


def _labels(comparison: Comparison[ListsReport]) -> dict[str | None, str]:
    """Each run's label, by its name."""
    return {report.run: report.label for view in comparison.views for report in view.reports}


def _list_files(
    comparison: Comparison[ListsReport], runs: Sequence[Run]
) -> dict[View, dict[str, Path]]:
    """View -> label -> the file of lists, for the reports that one of `runs` made."""
    paths = {run.name: run.path for run in runs}
    return {
        view.view: {
            report.label: paths[report.run] / view.view / "recommendations.parquet"
            for report in view.reports
            if report.run in paths
        }
        for view in comparison.views
        if view.view != "labels"
    }
