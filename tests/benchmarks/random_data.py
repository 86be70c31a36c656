"""Random data of a given size, which holds no signal: click logs in the shape of Criteo's, and
events of users."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.pipelines.data.schema import Feature
from tests.support.datasets import DAY, START, write_dataset, write_labels_dataset

N_NUMBERS = 13
SIZES = tuple(int(size) for size in np.geomspace(3, 200_000, 26))
"""How many values each of the 26 categories has; half a million in all."""


def click_logs(
    root: Path, *, n_rows: int, sizes: tuple[int, ...] = SIZES, seed: int = 0
) -> Dataset:
    """Write and open a dataset of labels with `n_rows` train rows; small ids are the frequent
    ones."""
    small = write_labels_dataset(root, n_rows=100, entities=False, has_time=False)
    for folds in ("pairs", "labels"):
        shutil.rmtree(root / folds)
    numbers = [f"I{number}" for number in range(1, N_NUMBERS + 1)]
    categories = {f"C{number}": size for number, size in enumerate(sizes, start=1)}
    random = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {"ordinal": np.arange(n_rows)}
    columns |= {name: random.normal(size=n_rows).astype(np.float32) for name in numbers}
    columns |= {
        name: (size * random.random(n_rows) ** 3).astype(np.int32)
        for name, size in categories.items()
    }
    columns["label"] = (random.random(n_rows) < 0.25).astype(np.float32)
    write_table(root, "train/part-00000.parquet", columns)
    features = [Feature(name=name, table="event", kind="continuous") for name in numbers]
    features += [
        Feature(name=name, table="event", kind="categorical", cardinality=size)
        for name, size in categories.items()
    ]
    update = {
        "features": tuple(features),
        "counts": {"train_events": n_rows},
        "content": checksums(root),
    }
    write_card(root, small.card.model_copy(update=update))
    return Dataset.open(root)


def event_logs(root: Path, *, n_rows: int, n_users: int, n_items: int, seed: int = 0) -> Dataset:
    """Write and open a dataset of train events in the order of time, users and items with a long
    tail."""
    small = write_dataset(root, train=[(0, 0, 0)], n_users=n_users, n_items=n_items, folds={})
    random = np.random.default_rng(seed)
    columns = {
        "user": (n_users * random.random(n_rows) ** 1.5).astype(np.int32),
        "item": (n_items * random.random(n_rows) ** 2).astype(np.int32),
        "ordinal": np.arange(n_rows),
        "time": START + np.sort(random.integers(0, 365 * DAY, n_rows)),
    }
    write_table(root, "train/part-00000.parquet", columns)
    update = {"counts": {"train_events": n_rows}, "content": checksums(root)}
    write_card(root, small.card.model_copy(update=update))
    return Dataset.open(root)
