"""Predictions of labels, as evaluating and comparing see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from falconer.pipelines.console import say
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.recsys.judging.compare import Task
from falconer.recsys.judging.config import ComparisonConfig, EvaluationConfig
from falconer.recsys.judging.labels import checks, predictions
from falconer.recsys.judging.labels import judge as judging
from falconer.recsys.judging.labels.judge import JudgedLabels
from falconer.recsys.judging.labels.task import LABELS
from falconer.recsys.judging.reports import Comparison, LabelsReport, Part
from falconer.recsys.judging.stored import REPORT
from falconer.recsys.judging.subject import Subject
from falconer.recsys.metrics.tables import metric_of_rows
from falconer.recsys.reporting import labels_page
from falconer.recsys.stages.answers import Judging

FOLDER: Part = "labels"


class LabelAnswers:
    """`Answers` of the task `labels`."""

    task: Task[LabelsReport] = LABELS
    noun = "predictions"
    command = "predict"

    def refuse_settings(self, views: Sequence[View], config: EvaluationConfig) -> None:
        """Refuse what is of lists; all metrics of ours are computed, and those of other packages
        are named."""
        of_lists = {"k", "category", "outside"} & config.model_fields_set
        given = [
            *sorted(of_lists),
            *(name for name in config.metrics if metric_of_rows(name) is None),
            *(["view"] if views else []),
        ]
        if given:
            raise ConfigError(
                f"{', '.join(given)}: of lists; on a dataset of the task `labels` every metric of "
                "ours is computed, so leave it out"
            )

    def of_run(self, run: Run, views: Sequence[View]) -> dict[Part, Path]:
        """The run's predictions."""
        path = run.path / predictions.FILE
        if not path.is_file():
            raise ArtifactError(
                f"{run.path}: has no predictions; write them with `falconer predict {run.path}`"
            )
        return {FOLDER: path}

    def of_file(self, path: Path, data: Dataset, views: Sequence[View]) -> dict[Part, Path]:
        """A file of predictions."""
        return {FOLDER: path}

    def readable(self, path: Path) -> AbstractContextManager[Path]:
        """Parquet and CSV are read as they are."""
        return nullcontext(path)

    def about(self, path: Path) -> Mapping[str, Any]:
        """What our own predictions say of themselves."""
        return predictions.about(path)

    def warnings(self, data: Dataset, fold: Fold, config: EvaluationConfig) -> tuple[str, ...]:
        """What checks of the protocol find."""
        return checks.warnings_of(data, fold)

    def judge(
        self, path: Path, judging_on: Judging, subject: Subject, folder: Path
    ) -> LabelsReport:
        """Judge the rows of the fold."""
        data, fold = judging_on.data, judging_on.fold
        score = predictions.read(path, data, fold)
        judged = judging.judge(score, data, fold, subject, judging_on.config)
        judging.write(folder, judged)
        return judged.report

    def show(self, report: LabelsReport) -> None:
        """Each metric with its interval."""
        units = "groups of rows" if report.unit == "group of rows" else f"{report.unit}s"
        say(
            f"{report.label}: {report.n_rows:,} rows of fold {report.fold}; "
            f"{100 * report.level:g}% intervals over {report.n_units:,} {units}"
        )
        width = 2 + max(map(len, report.metrics), default=0)
        for name, one in report.metrics.items():
            say(f"{name.ljust(width)}{one.mean:9.4f} {one.ends}".rstrip())

    def parts(self, folder: Path) -> list[Part]:
        """The one part, if it was judged."""
        return [FOLDER] if (folder / FOLDER / REPORT).is_file() else []

    def read(self, folder: Path) -> JudgedLabels:
        """The report."""
        return judging.read(folder)

    def render(
        self,
        comparison: Comparison[LabelsReport],
        data: Dataset,
        runs: Sequence[Run],
        config: ComparisonConfig,
    ) -> str:
        """The page."""
        return labels_page.render(comparison, data, runs)
