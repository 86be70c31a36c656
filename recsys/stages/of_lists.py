"""Lists of recommendations, as evaluating and comparing see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from falconer.pipelines.console import say
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.recsys.judging import slices
from falconer.recsys.judging.compare import Task
from falconer.recsys.judging.config import ComparisonConfig, EvaluationConfig
from falconer.recsys.judging.lists import checks
from falconer.recsys.judging.lists import judge as judging
from falconer.recsys.judging.lists.per_query import JudgedLists
from falconer.recsys.judging.lists.relevance import has_relevant
from falconer.recsys.judging.lists.task import TOP_N
from falconer.recsys.judging.reports import Comparison, ListsReport, Part
from falconer.recsys.judging.stored import REPORT, reports_in
from falconer.recsys.judging.subject import Subject
from falconer.recsys.lists import formats, parquet
from falconer.recsys.metrics.tables import metric_of_lists
from falconer.recsys.reporting import lists_page, off_policy
from falconer.recsys.stages.answers import Judging

VIEWS: tuple[View, ...] = ("all", "repeat", "novel")


class ListAnswers:
    """`Answers` of the task `top_n`."""

    task: Task[ListsReport] = TOP_N
    noun = "lists"
    command = "recommend"

    def refuse_settings(self, views: Sequence[View], config: EvaluationConfig) -> None:
        """All settings are of lists, but for metrics of rows."""
        of_rows = [name for name in config.metrics if metric_of_lists(name) is None]
        if of_rows:
            raise ConfigError(
                f"{', '.join(of_rows)}: of labelled rows, and this dataset is of the task `top_n`"
            )

    def of_run(self, run: Run, views: Sequence[View]) -> dict[Part, Path]:
        """The lists of these views, or of all that there are."""
        present = [view for view in VIEWS if (run.path / view / parquet.FILE).is_file()]
        missing = [view for view in views if view not in present]
        if missing or not present:
            raise ArtifactError(
                f"{run.path}: has no lists{' for view ' + ', '.join(missing) if missing else ''}; "
                f"write them with `falconer recommend {run.path}`"
            )
        return {view: run.path / view / parquet.FILE for view in views or present}

    def of_file(self, path: Path, data: Dataset, views: Sequence[View]) -> dict[Part, Path]:
        """In these views, else in those of the dataset's split."""
        return dict.fromkeys(views or data.card.split.views, path)

    def readable(self, path: Path) -> AbstractContextManager[Path]:
        """As parquet, whatever form it has."""
        return formats.as_parquet(path)

    def about(self, path: Path) -> Mapping[str, Any]:
        """What our own lists say of themselves."""
        return parquet.about(path)

    def warnings(self, data: Dataset, fold: Fold, config: EvaluationConfig) -> tuple[str, ...]:
        """What checks of the protocol find."""
        return checks.warnings_of(data, fold, config.k)

    def judge(
        self, path: Path, judging_on: Judging, subject: Subject, folder: Path
    ) -> ListsReport | None:
        """Judge one view; None where no query has a relevant item there."""
        data, fold, config = judging_on.data, judging_on.fold, judging_on.config
        view = judging_on.part
        assert view != "labels"
        if not has_relevant(data, fold, view):
            say(f"{view}: left out, no query of fold {fold} has a relevant item there")
            return None
        scope = judging.Scope(fold, view, slices.slicings(data, fold))
        item_keys = data.items.column("key").combine_chunks()
        with (
            parquet.stored(
                path, user_keys=data.query_keys(fold), item_keys=item_keys, k=max(config.k)
            ) as lists,
            reports_in(folder, judging.PER_QUERY) as place,
        ):
            judged = judging.judge(lists, data, scope, subject, config, table=place.table)
            place.put(judged.report)
        return judged.report

    def show(self, report: ListsReport) -> None:
        """Means by metric and cut-off, and how many queries they are over."""
        say(
            f"{report.label}, view {report.view}: {report.n_evaluated} of {report.n_queries} "
            f"queries of fold {report.fold}"
        )
        names = tuple(dict.fromkeys(metric.partition("@")[0] for metric in report.metrics))
        width = 2 + max(map(len, names))
        say("".join(["".ljust(width), *(f"@{k}".rjust(9) for k in report.k)]))
        for name in names:
            values = (report.metrics.get(f"{name}@{k}") for k in report.k)
            cells = ("-".rjust(9) if one is None else f"{one.mean:9.4f}" for one in values)
            say("".join([name.ljust(width), *cells]))
        for line in off_policy.lines(report.off_policy) if report.off_policy else ():
            say(line)
        if report.n_without_list:
            say(
                f"note: {report.n_without_list} of these queries have no list: they count as misses"
            )

    def parts(self, folder: Path) -> list[Part]:
        """The views that were judged."""
        return [view for view in VIEWS if (folder / view / REPORT).is_file()]

    def read(self, folder: Path) -> JudgedLists:
        """The report of a view."""
        return judging.read(folder)

    def render(
        self,
        comparison: Comparison[ListsReport],
        data: Dataset,
        runs: Sequence[Run],
        config: ComparisonConfig,
    ) -> str:
        """The page."""
        return lists_page.render(comparison, data, runs, config)
