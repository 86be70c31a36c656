"""A trained run answers: lists for queries, or a score for each row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.errors import ConfigError
from falconer.recsys.contracts import CatalogScorer, PairScorer, UserScorer
from falconer.recsys.judging.labels import predictions
from falconer.recsys.judging.labels.judge import PER_UNIT
from falconer.recsys.judging.lists.judge import PER_QUERY
from falconer.recsys.judging.lists.relevance import queries_and_truths
from falconer.recsys.judging.stored import remove_reports
from falconer.recsys.lists.held import held
from falconer.recsys.lists.sealed import break_seal, seal
from falconer.recsys.models.saved import load_model
from falconer.recsys.recommending import job
from falconer.recsys.recommending.top_k import BLOCK_BYTES
from falconer.recsys.stages.finished import dataset_of, finished_run


class RecommendConfig(Config):
    """How long lists are, what a block of scores may take in memory, and where products of factors
    are ranked.

    `device` cuda (or cpu) ranks them with torch; None: with compiled code on all cores, whose bits
    are the same in any batch.
    """

    k: int = Field(default=100, ge=1)
    block_mb: int = Field(default=BLOCK_BYTES // 2**20, ge=1)
    device: str | None = None


def recommend(
    run_path: Path,
    *,
    fold: Fold = "test",
    views: Sequence[View] = (),
    data_path: Path | None = None,
    config: RecommendConfig | None = None,
) -> Path:
    """Write `<run>/<view>/recommendations.parquet` for each view (none given: all of the dataset's
    split).

    A run holds the lists of one fold: reports on what is replaced are removed. A job that was
    killed goes on where it stopped when it is started again. Returns the run directory.
    """
    config = config or RecommendConfig()
    run = finished_run(run_path)
    data = dataset_of(run, data_path)
    if data.card.task != "top_n":
        raise ConfigError(
            f"{data.path} is a dataset of the task {data.card.task}, which has no lists; use "
            "`falconer predict`"
        )
    chosen = tuple(dict.fromkeys(views)) or data.card.split.views
    overlap.refuse_overlap(run.path, data, fold)
    scorer = load_model(run.model_directory, data)
    unknown = unknown_users(scorer, data, fold)
    wanted = job.Job(
        fold,
        chosen,
        config.k,
        {"run": run.name, **({} if unknown is None else {job.BY_POPULARITY: unknown})},
        block_bytes=config.block_mb * 2**20,
        device=config.device,
        outdate=lambda folder: remove_reports(folder, PER_QUERY),
    )
    written = job.write_lists(scorer, data, run.path, wanted)
    run.log_timing(recommend_seconds=written.seconds)
    run.log(
        f"top {config.k} of {written.n_queries} queries in views {', '.join(chosen)}: "
        f"{written.seconds:.1f} s"
    )
    if unknown:
        run.log(
            f"{unknown} of {written.n_queries} queries are of users whom the model does not know: "
            "popularity for them"
        )
    return run.path


def unknown_users(scorer: CatalogScorer | PairScorer, data: Dataset, fold: Fold) -> int | None:
    """How many queries with a truth are answered without the model; None where it needs no ids of
    users."""
    if not isinstance(scorer, UserScorer):
        return None
    return sum(
        int(np.count_nonzero(~scorer.knows(queries) & truth.some))
        for _, queries, truth in queries_and_truths(data, fold)
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
    target = run.path / predictions.FILE
    started = time.perf_counter()
    about = {"run": run.name, "fold": fold, "dataset_id": data.card.dataset_id}
    with held(run.path):
        remove_reports(run.path / "labels", PER_UNIT)
        break_seal(target)
        n = predictions.write(target, scorer, data, fold, about)
        seal(target)
    seconds = time.perf_counter() - started
    run.log_timing(predict_seconds=seconds)
    run.log(f"predicted {n:,} rows of fold {fold}: {seconds:.1f} s")
    return run.path
