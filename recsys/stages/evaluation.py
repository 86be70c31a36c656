"""Judge answers: a run's, or those of anybody's file.

No framework is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from falconer.pipelines import runs
from falconer.pipelines.console import say
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.reads import note_read, refuse_tuned_on
from falconer.recsys.judging.reports import BaseReport, Part
from falconer.recsys.judging.subject import Subject
from falconer.recsys.lists.held import held
from falconer.recsys.lists.sealed import checked_sha256
from falconer.recsys.recommending.job import BY_POPULARITY
from falconer.recsys.stages.answers import Answers, Judging
from falconer.recsys.stages.finished import (
    ANSWERS,
    REFIT_OF,
    TRAIN_AND_VALID,
    dataset_of,
    mirror_apart,
)

R = TypeVar("R", bound=BaseReport)


def evaluate(
    path: Path,
    data_path: Path | None = None,
    *,
    fold: Fold | None = None,
    views: Sequence[View] = (),
    out: Path | None = None,
    config: EvaluationConfig | None = None,
) -> Path:
    """Judge a run's answers, or those of any file: on a dataset of the task `top_n` lists (parquet,
    CSV, TREC, RecBole) in `views`, else in all views of the dataset; on one of the task `labels`
    predictions.

    Reports go to `<out>/<view>/`, or `<out>/labels/`; `out` is the run directory, or a folder
    `<file>-report` beside the file. The fold is that which the answers were made for; `test` where
    the file does not say. Returns `out`.
    """
    config = config or EvaluationConfig()
    run = Run.open(path) if (path / runs.RUN_FILE).is_file() else None
    data = dataset_of(run, data_path) if run else _dataset_for(path, data_path)
    answers = ANSWERS[data.card.task]
    answers.refuse_settings(views, config)
    if run:
        subject = _subject_of(run)
        files, out = answers.of_run(run, views), out or run.path
    else:
        subject = Subject(label=path.stem)
        out = out or path.with_name(f"{path.stem}-report")
        files = answers.of_file(path, data, views)
    _Evaluation(answers, data, out, fold, config, run).judge(files, subject)
    if run:
        mirror_apart(run.path)
    return out


def _dataset_for(path: Path, given: Path | None) -> Dataset:
    if path.is_dir():
        raise ArtifactError(f"{path}: neither a run directory nor a file of lists or predictions")
    if given is None:
        raise ConfigError(f"{path}: say which dataset to judge this file on, with --data DIR")
    return Dataset.open(given)


def _subject_of(run: Run) -> Subject:
    """With the last of each of the run's times that a report prints."""
    timing = {key: value for line in run.read_lines("timing.jsonl") for key, value in line.items()}
    wanted = ("train_seconds", "recommend_seconds", "predict_seconds")
    return Subject(
        label=run.info.get("label", run.info["model"]),
        run=run.name,
        model=run.info["model"],
        cost={key: timing[key] for key in wanted if key in timing},
        knobs=tuple(run.info.get("knobs", ())),
        protocol={"training": f"on {TRAIN_AND_VALID}"} if run.info.get(REFIT_OF) else {},
    )


def _without_model(about: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader must know where users were answered with the most popular items."""
    n = about.get(BY_POPULARITY)
    if not n:
        return ()
    return (
        f"{n:,} queries are of users whom the model does not know: they were answered by "
        "popularity, and are judged with the rest",
    )


@dataclass(frozen=True)
class _Evaluation(Generic[R]):
    """One evaluation: whose answers it is, on which dataset, and where reports go."""

    answers: Answers[R]
    data: Dataset
    out: Path
    fold: Fold | None
    config: EvaluationConfig
    run: Run | None

    def judge(self, files: Mapping[Part, Path], subject: Subject) -> None:
        """Judge each file, print its figures, and write its report.

        That the test fold is looked at is noted before it is. Who judges holds the folders of the
        answers and of the reports, so that nobody replaces either meanwhile.
        """
        prepared: dict[Fold, Subject] = {}
        reports = []
        with ExitStack() as stack:
            for folder in self._folders(files):
                stack.enter_context(held(folder))
            for part, path in files.items():
                readable = stack.enter_context(self.answers.readable(path))
                about = self.answers.about(readable)
                self._refuse_foreign(path, about)
                fold: Fold = self.fold or about.get("fold", "test")
                if fold not in prepared:
                    prepared[fold] = self._prepared(subject, fold)
                judged = replace(
                    prepared[fold],
                    answers=checked_sha256(path, remedy=self._anew(fold)),
                    by_popularity=about.get(BY_POPULARITY),
                    warnings=(*prepared[fold].warnings, *_without_model(about)),
                )
                judging = Judging(self.data, fold, part, self.config)
                report = self.answers.judge(readable, judging, judged, self.out / part)
                if report is not None:
                    self._show(report)
                    reports.append(report)
        if not reports:
            raise ConfigError(
                f"{self.data.path}: nothing to judge in views {', '.join(files)}; choose another "
                "fold or view"
            )

    def _folders(self, files: Mapping[Part, Path]) -> list[Path]:
        """What is to be held: the folder of reports, and that of the run."""
        of_run = {path.parent.parent for part, path in files.items() if path.parent.name == part}
        return list(dict.fromkeys([self.out.resolve(), *(path.resolve() for path in of_run)]))

    def _prepared(self, subject: Subject, fold: Fold) -> Subject:
        """The subject with what is the same for all files of a fold."""
        info = self.run.info if self.run else {}
        if self.run:
            overlap.refuse_overlap(self.run.path, self.data, fold)
        tuned = refuse_tuned_on(info, subject.name, fold)
        reads = None
        if fold == "test":
            reads = note_read(self.out.parent, self.data.card.dataset_id, subject.name)
        found = self.answers.warnings(self.data, fold, self.config)
        return replace(subject, warnings=(*tuned, *found), reads=reads)

    def _refuse_foreign(self, path: Path, about: Mapping[str, Any]) -> None:
        """A file that says for which dataset and fold it was made is judged there only."""
        command, own = self.answers.command, self.data.card.dataset_id
        if about.get("dataset_id", own) != own:
            raise ArtifactError(
                f"{path}: made for dataset {about['dataset_id']}, and {self.data.path} is {own}; "
                f"{command} on this dataset with `falconer {command} RUN --data DIR`"
            )
        if self.fold and about.get("fold", self.fold) != self.fold:
            raise ArtifactError(f"{path}: made for fold {about['fold']}; {self._anew(self.fold)}")

    def _anew(self, fold: Fold) -> str:
        return (
            f"make {self.answers.noun} for {fold} with `falconer {self.answers.command} RUN "
            f"--fold {fold}`"
        )

    def _show(self, report: R) -> None:
        self.answers.show(report)
        facts = "; ".join(f"{name} {text}" for name, text in report.protocol.items())
        if facts:
            say(f"protocol: {facts}")
        for warning in report.warnings:
            say(f"note: {warning}")
