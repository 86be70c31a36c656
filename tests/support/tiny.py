"""Every registered model in its tiny form: one fixed budget for all contract tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from falconer.pipelines import runs
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.training.config import Cosine
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.configs.pairs import PairsTraining
from falconer.recsys.configs.sequences import SequenceTraining
from falconer.recsys.contracts import CatalogScorer, PairScorer
from falconer.recsys.metrics.labels import auc
from falconer.recsys.models import registry, saved
from falconer.recsys.models.ncf.config import NcfTraining
from falconer.recsys.models.vae_cf.config import VaeCfTraining
from falconer.recsys.testing.checks import novel_scores, with_histories
from falconer.recsys.testing.datasets import write_dataset

__all__ = ["novel_scores", "with_histories"]

TINY_SEQUENCES: Mapping[str, Any] = {
    "dim": 32,
    "feed_forward": 32,
    "n_blocks": 1,
    "n_heads": 1,
    "max_length": 16,
    "dropout": 0.1,
    "batch_size": 8,
    "training": SequenceTraining(
        epochs=30, learning_rate=0.005, validate_every=30, threads=1, monitor=None, patience=None
    ),
}

TINY: Mapping[str, Mapping[str, Any]] = {
    "label_mean": {"by": "device"},
    "item_knn": {"decay": 0.7},
    "ease": {"decay": 0.7, "l2": 10.0},
    "als": {"dim": 8},
    "ncf": {
        "dim": 8,
        "mlp_dim": 8,
        "hidden": (16, 8),
        "batch_size": 128,
        "training": NcfTraining(
            epochs=8, learning_rate=0.02, threads=1, monitor=None, patience=None
        ),
    },
    "wide_deep": {
        "dim": 8,
        "hidden": (16, 8),
        "fields": None,
        "crosses": (("segment", "category"),),
        "batch_size": 128,
        "training": PairsTraining(
            epochs=12, learning_rate=0.01, weight_decay=1e-4, threads=1, monitor=None, patience=None
        ),
    },
    "dlrm": {
        "dim": 8,
        "bottom_hidden": (8,),
        "hidden": (16, 8),
        "fields": None,
        "batch_size": 128,
        "training": PairsTraining(
            epochs=12, learning_rate=0.01, weight_decay=1e-4, threads=1, monitor=None, patience=None
        ),
    },
    "bpr": {"dim": 8, "epochs": 100, "learning_rate": 0.05},
    "vae_cf": {
        "hidden": (32,),
        "decay": 0.7,
        "dim": 8,
        "batch_size": 24,
        "training": VaeCfTraining(
            epochs=40, learning_rate=0.01, threads=1, monitor=None, patience=None
        ),
    },
    "sasrec": {
        **TINY_SEQUENCES,
        "dropout": 0.3,
        "training": SequenceTraining(
            epochs=20,
            learning_rate=0.005,
            validate_every=20,
            threads=1,
            monitor=None,
            patience=None,
        ),
    },
    "bert4rec": {
        **TINY_SEQUENCES,
        "n_heads": 2,
        "max_length": 8,  # a longer query would have a place that no row of the cycle trains
        "training": SequenceTraining(
            epochs=45,
            learning_rate=0.005,
            schedule=Cosine(),
            validate_every=45,
            threads=1,
            monitor=None,
            patience=None,
        ),
    },
}
"""Knobs of the tiny form, where the defaults are too large or leave a capability unused."""

BUDGET = {"batch_size", "epochs", "learning_rate", "training", "fields", "crosses", "by"}
"""Knobs of the tiny form that replace a recipe's own: what it may cost, and the names of a
dataset's features."""

EVERY = [(name, backend) for name, model in registry.MODELS.items() for backend in model.backends]
ALL = [pair for pair in EVERY if "top_n" in registry.MODELS[pair[0]].config.tasks]
"""Models that make lists."""
LABELS = [pair for pair in EVERY if "labels" in registry.MODELS[pair[0]].config.tasks]
"""Models that give a label to each row of a dataset of the task `labels`."""


def tiny_config(name: str) -> ModelConfig:
    """The model's tiny configuration."""
    return registry.MODELS[name].config(**TINY.get(name, {}))


def tiny_form(name: str, config: ModelConfig) -> ModelConfig:
    """A recipe's configuration with the budget of the tiny form, where the recipe's own is for
    large data."""
    budget = {knob: value for knob, value in TINY.get(name, {}).items() if knob in BUDGET}
    return config.model_copy(update=budget)


def train(
    name: str, backend: str, data: Dataset, root: Path, config: ModelConfig | None = None
) -> runs.Run:
    """Train and save; the run's `model_directory` holds the model."""
    chosen = registry.resolve(name, backend)
    config = config or tiny_config(name)
    with runs.start(root, model=name, backend=backend, config=config.model_dump()) as run:
        scorer = chosen.train(config, data, run)
        saved.save_model(
            run.model_directory, scorer, implementation=chosen, config=config, data=data
        )
    return run


def scorer_of(run: runs.Run, data: Dataset) -> CatalogScorer:
    """The saved model, loaded to score queries of `data`."""
    scorer = saved.load_model(run.model_directory, data)
    assert isinstance(scorer, CatalogScorer)
    return scorer


def ranker_of(run: runs.Run, data: Dataset) -> PairScorer:
    """The saved model, loaded to score rows of `data`."""
    scorer = saved.load_model(run.model_directory, data)
    assert isinstance(scorer, PairScorer)
    return scorer


def auc_of(run: runs.Run, data: Dataset) -> float:
    """AUC of the saved model on the rows of `test`."""
    scores = ranker_of(run, data).score_pairs(data.pairs("test"))
    return auc(data.labels("test"), scores.astype(np.float64))


def random_dataset(
    root: Path, *, seed: int = 0, n_users: int = 15, n_items: int = 9, **options: Any
) -> Dataset:
    """Random events with repeats; test queries with long, short and empty histories and unknown
    users."""
    rng = np.random.default_rng(seed)
    n = 6 * n_users
    events = zip(
        rng.integers(0, n_users, n),
        rng.integers(0, n_items, n),
        np.sort(rng.integers(0, 40, n)),
        strict=True,
    )
    lengths = [0, 1, 2, 3, 5, 8, 20]
    rows = [
        (int(rng.integers(-1, n_users)), rng.integers(0, n_items, length).tolist(), [0])
        for length in lengths
    ]
    train_events = [(int(user), int(item), int(day)) for user, item, day in events]
    return write_dataset(
        root,
        train=train_events,
        n_users=n_users,
        n_items=n_items,
        folds={"test": rows, "valid": rows},
        **options,
    )


def model(name: str, data: Dataset, root: Path, **knobs: Any) -> CatalogScorer:
    """A model trained with these knobs, saved and loaded."""
    backend = next(iter(registry.MODELS[name].backends))
    return scorer_of(train(name, backend, data, root, registry.MODELS[name].config(**knobs)), data)
