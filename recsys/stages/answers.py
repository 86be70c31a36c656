"""What evaluating and comparing ask of a task's answers: lists, or predictions of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.runs import Run
from falconer.recsys.judging.compare import Judged, Task
from falconer.recsys.judging.config import ComparisonConfig, EvaluationConfig
from falconer.recsys.judging.reports import BaseReport, Comparison, Part
from falconer.recsys.judging.subject import Subject

R = TypeVar("R", bound=BaseReport)


@dataclass(frozen=True)
class Judging:
    """On what answers are judged, and how: `part` is a view of lists, or "labels"."""

    data: Dataset
    fold: Fold
    part: Part
    config: EvaluationConfig


class Answers(Protocol[R]):
    """The answers of one task."""

    @property
    def task(self) -> Task[R]:
        """What a comparison asks of it."""

    @property
    def noun(self) -> str:
        """ "lists", or "predictions"."""

    @property
    def command(self) -> str:
        """The command that writes them."""

    def refuse_settings(self, views: Sequence[View], config: EvaluationConfig) -> None:
        """`ConfigError` where what was given says nothing about this task."""

    def of_run(self, run: Run, views: Sequence[View]) -> dict[Part, Path]:
        """The run's files; `ArtifactError` where there are none, or none for one of `views`."""

    def of_file(self, path: Path, data: Dataset, views: Sequence[View]) -> dict[Part, Path]:
        """What anybody's file is judged on."""

    def readable(self, path: Path) -> AbstractContextManager[Path]:
        """The file in a form that `judge` reads."""

    def about(self, path: Path) -> Mapping[str, Any]:
        """What a readable file says of itself: `dataset_id`, `fold`."""

    def warnings(self, data: Dataset, fold: Fold, config: EvaluationConfig) -> tuple[str, ...]:
        """What checks of the protocol find."""

    def judge(self, path: Path, judging: Judging, subject: Subject, folder: Path) -> R | None:
        """Judge a readable file and write the report into `folder`; None where there is nothing to
        judge."""

    def show(self, report: R) -> None:
        """Print the report's figures."""

    def parts(self, folder: Path) -> list[Part]:
        """The parts of a run, or of a folder of reports, that were judged."""

    def read(self, folder: Path) -> Judged[R]:
        """The report in a part's folder, with its values."""

    def render(
        self,
        comparison: Comparison[R],
        data: Dataset,
        runs: Sequence[Run],
        config: ComparisonConfig,
    ) -> str:
        """The page."""
