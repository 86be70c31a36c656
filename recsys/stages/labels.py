"""What the commands call for the task `labels`: predict, evaluate, compare."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from falconer.pipelines import runs
from falconer.pipelines.console import say
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import FORMER_TASK, Fold, View
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.files import write_text
from falconer.pipelines.runs import Run
from falconer.recsys.contracts import PairScorer
from falconer.recsys.judging.compare import ComparisonConfig
from falconer.recsys.judging.labels import checks, predictions
from falconer.recsys.judging.labels import compare as comparing
from falconer.recsys.judging.labels import judge as judging
from falconer.recsys.judging.labels.compare import RowComparison
from falconer.recsys.judging.labels.judge import RowReport
from falconer.recsys.judging.lists import checks as protocol
from falconer.recsys.judging.lists.judge import EvaluationConfig
from falconer.recsys.models.saved import load_model
from falconer.recsys.reporting import labels_page as comparison_page
from falconer.recsys.stages.finished import dataset_of, finished_run, mirror_apart

FOLDER = "labels"
"""Of a run's report, beside the folders that the views of lists have."""


def is_about_rows(path: Path, data_path: Path | None) -> bool:
    """Whether a run, or a file to be judged on a dataset, is of the task `labels`."""
    if data_path is not None:
        return Dataset.open(data_path).card.task == "labels"
    return (path / runs.RUN_FILE).is_file() and dataset_of(
        Run.open(path), None
    ).card.task == "labels"


def refuse_rows(data: Dataset) -> None:
    """`ConfigError` for a dataset of the task `labels`, which has no lists."""
    if data.card.task == "labels":
        raise ConfigError(
            f"{data.path} is a dataset of the task `labels`, which has no lists; use `falconer "
            "predict`"
        )


def predict(run_path: Path, *, fold: Fold = "test", data_path: Path | None = None) -> Path:
    """Write `<run>/predictions.parquet` with a score for each row of the fold; returns the run
    directory.

    A run holds the predictions for one fold: a report on what is replaced is removed. Raises
    `ConfigError` for a dataset of another task.
    """
    run = finished_run(run_path)
    data = dataset_of(run, data_path)
    if data.card.task != "labels":
        raise ConfigError(
            f"{data.path} is a dataset of the task {data.card.task}; use `falconer recommend`"
        )
    overlap.refuse_overlap(run.path, data, fold)
    scorer = load_model(run.model_directory, data)
    if not isinstance(scorer, PairScorer):
        raise ConfigError(
            f"{run.path}: this model scores no rows; train another one, such as label_mean"
        )
    judging.remove(run.path / FOLDER)
    started = time.perf_counter()
    about = {"run": run.name, "fold": fold, "dataset_id": data.card.dataset_id}
    n = predictions.write(run.path / predictions.FILE, scorer, data, fold, about)
    seconds = time.perf_counter() - started
    run.log_timing(predict_seconds=seconds)
    run.log(f"predicted {n:,} rows of fold {fold}: {seconds:.1f} s")
    return run.path


def evaluate(
    path: Path,
    data_path: Path | None,
    *,
    fold: Fold | None,
    views: Sequence[View],
    out: Path | None,
    config: EvaluationConfig,
) -> Path:
    """Judge a run's predictions, or anybody's: a parquet or CSV file with ordinal and score.

    The report goes to `<out>/labels`; `out` is the run directory, or a folder `<file>-report`
    beside the file. Returns `out`. Raises `ConfigError` where `views`, or what `config` sets, are
    of lists.
    """
    _refuse_list_settings(views, config)
    if (path / runs.RUN_FILE).is_file():
        return _evaluate_run(Run.open(path), data_path, fold=fold, out=out, config=config)
    if path.is_dir():
        raise ArtifactError(f"{path}: neither a run directory nor a file of predictions")
    assert data_path is not None
    target = out or path.with_name(f"{path.stem}-report")
    facts = {"label": path.stem, "run": None}
    _evaluate(path, Dataset.open(data_path), target, fold=fold, config=config, facts=facts, info={})
    return target


def _refuse_list_settings(views: Sequence[View], config: EvaluationConfig) -> None:
    given = [
        *sorted({"k", "metrics", "category"} & config.model_fields_set),
        *(["view"] if views else []),
    ]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: of lists; on a dataset of the task `labels` every metric is "
            "computed, so leave it out"
        )


def _evaluate_run(
    run: Run,
    data_path: Path | None,
    *,
    fold: Fold | None,
    out: Path | None,
    config: EvaluationConfig,
) -> Path:
    path, info, target = run.path / predictions.FILE, run.info, out or run.path
    if not path.is_file():
        raise ArtifactError(
            f"{run.path}: has no predictions; write them with `falconer predict {run.path}`"
        )
    timing = {key: value for line in run.read_lines("timing.jsonl") for key, value in line.items()}
    cost = {key: timing[key] for key in ("train_seconds", "predict_seconds") if key in timing}
    facts = {
        "label": info.get("label", info["model"]),
        "run": run.name,
        "model": info["model"],
        "cost": cost,
    }
    _evaluate(
        path, dataset_of(run, data_path), target, fold=fold, config=config, facts=facts, info=info
    )
    mirror_apart(run.path)
    return target


def _evaluate(
    path: Path,
    data: Dataset,
    out: Path,
    *,
    fold: Fold | None,
    config: EvaluationConfig,
    facts: Mapping[str, Any],
    info: Mapping[str, Any],
) -> None:
    about = predictions.about(path)
    _refuse_foreign(path, about, data, fold)
    chosen: Fold = fold or about.get("fold", "test")
    name = facts["run"] or facts["label"]
    tuned = protocol.refuse_tuned_on(info, name, chosen)
    judged = judging.judge(
        predictions.read(path, data, chosen),
        data,
        fold=chosen,
        config=config,
        warnings=(*tuned, *checks.warnings_of(data, chosen)),
        reads=protocol.reads_with(out.parent, data.card.dataset_id, name)
        if chosen == "test"
        else None,
        **facts,
    )
    judging.write(out / FOLDER, judged)
    _print_report(judged.report)
    if chosen == "test":
        protocol.note_read(out.parent, data.card.dataset_id, name)


def _refuse_foreign(path: Path, about: Mapping[str, Any], data: Dataset, fold: Fold | None) -> None:
    """A file that says for which dataset and fold it was made is judged there only."""
    if about.get("dataset_id", data.card.dataset_id) != data.card.dataset_id:
        raise ArtifactError(
            f"{path}: made for dataset {about['dataset_id']}, and {data.path} is "
            f"{data.card.dataset_id}; "
            "predict on this dataset with `falconer predict RUN --data DIR`"
        )
    if fold and about.get("fold", fold) != fold:
        raise ArtifactError(
            f"{path}: made for fold {about['fold']}; predict for {fold} with `falconer predict RUN "
            f"--fold {fold}`"
        )


def _print_report(report: RowReport) -> None:
    """Each metric with its interval, and what is to be known of it."""
    of = (
        f"{report.n_units:,} {report.unit}s"
        if report.unit != "group of rows"
        else f"{report.n_units:,} groups of rows"
    )
    say(
        f"{report.label}: {report.n_rows:,} rows of fold {report.fold}; {report.level:.0%} "
        f"intervals over {of}"
    )
    width = 2 + max(map(len, report.metrics), default=0)
    for name, one in report.metrics.items():
        say(f"{name.ljust(width)}{one.mean:9.4f}  ({one.low:.4f} to {one.high:.4f})")
    for warning in report.warnings:
        say(f"note: {warning}")


def are_about_rows(paths: Sequence[Path]) -> bool:
    """Whether these evaluated runs are of the task `labels`; `ConfigError` where some are and others
    are not."""
    _refuse_former_folder(paths)
    found = [(path / FOLDER / judging.REPORT).is_file() for path in paths]
    if any(found) and not all(found):
        other = paths[found.index(False)]
        raise ConfigError(
            f"{other}: has no report on predictions, as others here have; evaluate it, or leave it "
            "out"
        )
    return any(found)


def _refuse_former_folder(paths: Sequence[Path]) -> None:
    for path in paths:
        former = path / FORMER_TASK / judging.REPORT
        if former.is_file() and not (path / FOLDER / judging.REPORT).is_file():
            raise ArtifactError(
                f"{former}: written by an older release; judge anew with `falconer evaluate {path}`"
            )


def compare(
    paths: Sequence[Path], *, out: Path, data_path: Path | None, config: ComparisonConfig
) -> Path:
    """Compare evaluated runs, or folders that `evaluate` wrote: print the verdict, write the page
    to `out`."""
    metric = config.metric if "metric" in config.model_fields_set else None
    result = comparing.compare([judging.read(path / FOLDER) for path in paths], metric=metric)
    members = [Run.open(path) for path in paths if (path / runs.RUN_FILE).is_file()]
    write_text(
        out, comparison_page.render(result, _compared_dataset(result, members, data_path), members)
    )
    say(result.verdict)
    for gap in result.differences:
        note = "" if gap.separated else ", not told apart"
        say(
            f"  {gap.first} - {gap.second}: {gap.metric} {gap.difference:+.4f} "
            f"({gap.level:.0%} interval {gap.low:+.4f} to {gap.high:+.4f}, p "
            f"{gap.p_holm:.4f}{note})"
        )
    return out


def _compared_dataset(result: RowComparison, members: Sequence[Run], given: Path | None) -> Dataset:
    for path in [given] if given else [Path(str(run.info["dataset_path"])) for run in members]:
        data = Dataset.open(path)
        if data.card.dataset_id == result.dataset_id:
            return data
    raise ConfigError(
        f"dataset {result.dataset_id}, on which these were judged, is not known; give --data DIR"
    )
