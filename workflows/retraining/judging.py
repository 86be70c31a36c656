"""Each model on the same window: its lists, its report, and the rankers whose order is known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset, write_table
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import identity_of, read_json, sha256_of, write_json
from falconer.recsys import stages
from falconer.recsys.contracts import CatalogScorer, PairScorer
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists import judge as reports
from falconer.recsys.judging.lists.off_policy import snips_of_users
from falconer.recsys.judging.lists.relevance import QUERIES_AT_ONCE
from falconer.recsys.lists import parquet as recommendations
from falconer.recsys.models.popularity.on_numpy import PopularityScorer
from falconer.recsys.models.saved import load_model
from falconer.recsys.recommending.job import Job, write_lists
from falconer.recsys.stages.answering import unknown_users
from falconer.workflows.retraining.config import Rule
from falconer.workflows.retraining.decisions import EARNED, FACTS, MEASURED, PER_QUERY

KEY = "judged.json"
RANDOM, REVERSED = "random", "reversed"
SEED = 20_260_101


def by_train_events(data: Dataset) -> PopularityScorer:
    """All items by their train events."""
    return PopularityScorer(_train_events(data).astype(np.float32), data.n_items)


def known_ranker(data: Dataset, order: str) -> PopularityScorer:
    """All items by their train events rising, or in one random order."""
    shuffled = np.random.default_rng(SEED).permutation(data.n_items)
    scores = {RANDOM: shuffled, REVERSED: -_train_events(data)}[order]
    return PopularityScorer(scores.astype(np.float32), data.n_items)


def _train_events(data: Dataset) -> NDArray[np.int64]:
    return np.bincount(data.train_column("item"), minlength=data.n_items)


def judge(run: Path, data: Dataset, out: Path, rule: Rule, *, k: int, model: str) -> bool:
    """Rank and judge a trained model on the test fold of `data`, into `out`; returns False where
    that was done before.

    `model` is the hash of the model's files.
    """
    key = _key(data, model, rule, k)
    if _is_done(out, key):
        return False
    _judge(load_model(run / "model", data), data, out, rule, k)
    write_json(out / KEY, {"key": key})
    return True


def judge_known(order: str, data: Dataset, out: Path, rule: Rule, *, k: int) -> bool:
    """As `judge`, for a ranker whose place among others is known."""
    key = _key(data, order, rule, k)
    if _is_done(out, key):
        return False
    _judge(known_ranker(data, order), data, out, rule, k)
    write_json(out / KEY, {"key": key})
    return True


def _key(data: Dataset, model: str, rule: Rule, k: int) -> str:
    earned = [rule.off_policy.k] if rule.off_policy is not None else []
    return identity_of([data.card.dataset_id, model, rule.metric, rule.view, k, *earned])


def _is_done(out: Path, key: str) -> bool:
    path = out / KEY
    return path.is_file() and read_json(path)["key"] == key


def _judge(
    scorer: CatalogScorer | PairScorer, data: Dataset, out: Path, rule: Rule, k: int
) -> None:
    (out / KEY).unlink(missing_ok=True)
    seconds = _rank(scorer, data, out, rule, k)
    file = out / rule.view / recommendations.FILE
    stages.evaluate(file, data.path, views=[rule.view], out=out, config=_config(rule, data, k))
    report = reports.read(out / rule.view).report
    coverage = report.metrics.get(f"coverage@{rule.metric.partition('@')[2]}")
    facts: dict[str, Any] = {
        "coverage": coverage.mean if coverage else 1.0,
        "by_popularity": unknown_users(scorer, data, "test") or 0,
        "queries": sum(int(one.some.sum()) for one in data.truth_blocks("test", QUERIES_AT_ONCE)),
    }
    if report.off_policy:
        facts["off_policy"] = report.off_policy.model_dump(mode="json")
    write_json(out / FACTS, facts)
    if rule.off_policy is not None:
        _write_earned(file, data, out / EARNED, rule.off_policy.k)
    write_json(out / MEASURED, {"ms_a_list": 1000 * seconds / max(1, data.n_queries("test"))})


def _write_earned(file: Path, data: Dataset, out: Path, k: int) -> None:
    """What each user's list would have earned, where enough was logged to tell."""
    out.unlink(missing_ok=True)
    keys = data.query_keys("test"), data.items.column("key").combine_chunks()
    with recommendations.stored(file, user_keys=keys[0], item_keys=keys[1], k=k) as lists:
        earned = snips_of_users(lists, data, "test", k)
    if earned is not None:
        write_table(out.parent, out.name, {"snips": earned})


def _config(rule: Rule, data: Dataset, k: int) -> EvaluationConfig:
    """No verdict looks at the metric's own interval; off-policy estimates are shown with theirs."""
    cut_offs, resamples = {int(rule.metric.partition("@")[2] or k), k}, 100
    if data.logged("test") is not None:
        cut_offs, resamples = cut_offs | {1, rule.off_policy.k if rule.off_policy else 1}, 1000
    metrics = (rule.metric.partition("@")[0], "coverage")
    return EvaluationConfig(k=tuple(sorted(cut_offs)), metrics=metrics, resamples=resamples)


def _rank(
    scorer: CatalogScorer | PairScorer, data: Dataset, out: Path, rule: Rule, k: int
) -> float:
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    write_lists(scorer, data, out, Job("test", (rule.view,), k, {}))
    return time.perf_counter() - started


def repeats(run: Path, data: Dataset, judged: Path, again: Path, rule: Rule, *, k: int) -> bool:
    """Whether the model, loaded and ranked once more, gives the same bytes as before."""
    _rank(load_model(run / "model", data), data, again, rule, k)
    first, second = (folder / rule.view / recommendations.FILE for folder in (judged, again))
    return sha256_of(first) == sha256_of(second)


def inputs_of(folders: Sequence[Path], window: Path, rule: Rule) -> dict[str, str]:
    """File below the window's folder -> sha256, of all that a verdict reads of these judged
    models."""
    names = [f"{rule.view}/{PER_QUERY}", FACTS]
    names += [MEASURED] if rule.max_latency_ms is not None else []
    earned = [folder / EARNED for folder in folders] if rule.off_policy is not None else []
    paths = sorted(folder / name for folder in folders for name in names)
    paths += [path for path in earned if path.is_file()]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise ArtifactError(f"{absent[0]}: absent, so there is no verdict")
    return {path.relative_to(window).as_posix(): sha256_of(path) for path in paths}
