"""Every registered model in its tiny form: one fixed budget for all contract tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import runs
from pipelines.data.dataset import Dataset
from pipelines.data.queries import Queries, Ragged
from recsys import registry
from recsys.api import CatalogScorer
from recsys.models.config import ModelConfig

TINY: Mapping[str, Mapping[str, Any]] = {
    "item_knn": {"decay": 0.7},
    "ease": {"decay": 0.7, "l2": 10.0},
    "als": {"factors": 8},
}
"""Knobs of the tiny form, where the defaults are too large or leave a capability unused."""

ALL = [(name, backend) for name, model in registry.MODELS.items() for backend in model.backends]


def tiny_config(name: str) -> ModelConfig:
    """The model's tiny configuration."""
    return registry.MODELS[name].config(**TINY.get(name, {}))


def train(name: str, backend: str, data: Dataset, root: Path, config: ModelConfig | None = None) -> runs.Run:
    """Train and save; the run's `model_directory` holds the model."""
    chosen = registry.resolve(name, backend)
    config = config or tiny_config(name)
    with runs.start(root, model=name, backend=backend, config=config.model_dump()) as run:
        scorer = chosen.train(config, data, run)
        registry.save_model(run.model_directory, scorer, implementation=chosen, config=config, data=data)
    return run


def scorer_of(run: runs.Run, data: Dataset) -> CatalogScorer:
    """The saved model, loaded to score queries of `data`."""
    scorer = registry.load_model(run.model_directory, data)
    assert isinstance(scorer, CatalogScorer)
    return scorer


def with_histories(queries: Queries, rows: list[list[int]], *, user: int = -1) -> Queries:
    """Queries of one `user` with these histories, one event a day, all asked when the first of `queries` is."""
    now = None if queries.time is None else int(queries.time[0])
    times = None if now is None else [[now - 86_400 * (len(row) - place) for place in range(len(row))] for row in rows]
    return Queries(
        user=np.full(len(rows), user, dtype=np.int32),
        history=Ragged.of(rows),
        history_times=None if times is None else Ragged.of(times, np.int64),
        time=None if now is None else np.full(len(rows), now, dtype=np.int64),
    )


def novel_scores(scorer: CatalogScorer, queries: Queries) -> NDArray[np.float32]:
    """The scores, -inf for items of the query's own history."""
    scores = scorer.score(queries).copy()
    scores[queries.history.rows, queries.history.values] = -np.inf
    return scores
