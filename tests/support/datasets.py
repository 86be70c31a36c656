"""Small datasets of labels made in memory, for tests that need no ETL. Those of lists ship with the
test kit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from falconer.pipelines.data.dataset import (
    Dataset,
    checksums,
    write_card,
    write_table,
)
from falconer.pipelines.data.fold_tables import write_pairs
from falconer.pipelines.data.schema import (
    FORMAT_VERSION,
    DatasetCard,
    Feature,
    IdSpace,
    SplitCard,
    Target,
)
from falconer.pipelines.files import identity_of
from falconer.recsys.testing.datasets import (
    DAY,
    ENTITY_FEATURES,
    START,
    categories,
    checkerboard,
    cycle,
    skewed,
    write_dataset,
    write_entities,
)

__all__ = [
    "DAY",
    "checkerboard",
    "cycle",
    "label_signal",
    "skewed",
    "write_dataset",
    "write_labels_dataset",
]

LABELS_FEATURES = (
    *ENTITY_FEATURES,
    Feature(name="device", table="event", kind="categorical", cardinality=3),
    Feature(name="hour", table="event", kind="continuous"),
)


def write_labels_dataset(
    root: Path,
    *,
    target: Target = "binary",
    n_users: int = 40,
    n_items: int = 30,
    n_rows: int = 3000,
    seed: int = 0,
    draw: int = 0,
    entities: bool = True,
    has_time: bool = True,
    generations: tuple[str, ...] = ("first",),
) -> Dataset:
    """Write and open a dataset of the task `labels`, with one row in ten in each fold, whose label
    follows from `label_signal`: a binary label is drawn with the signal's probability, a rating
    is 3 + signal with a little noise.

    One pair row in twenty has an unknown user, one an unknown item, and one an unknown device (-1),
    which adds nothing to the signal. Users and items follow from `seed`, rows and labels from
    `draw` too. With `entities` False there are no users and items, and all six features are the
    event's.
    """
    root.mkdir(parents=True)
    random = np.random.default_rng(seed)
    users = {
        "segment": categories(random, n_users, 4),
        "age": random.normal(size=n_users).astype(np.float32),
    }
    items = {
        "category": categories(random, n_items, 5),
        "price": random.normal(size=n_items).astype(np.float32),
    }
    if draw:
        random = np.random.default_rng((seed, draw))
    rows = _labels_rows(random, n_rows, n_users, n_items)
    fold = rows.pop("fold")
    signal = label_signal(users, items, rows)
    label = random.random(n_rows) < 1 / (1 + np.exp(-signal)) if target == "binary" else 3 + signal
    if target == "rating":
        label = label + random.normal(scale=0.1, size=n_rows)
    if not entities:
        user, item = rows.pop("user"), rows.pop("item")
        rows |= {name: _looked_up(values, user) for name, values in users.items()}
        rows |= {name: _looked_up(values, item) for name, values in items.items()}
        users, items, n_users, n_items = {}, {}, 0, 0
    if not has_time:
        rows.pop("time")
    _write_rows(root, rows, label.astype(np.float32), fold)
    for kind, n, features in (("user", n_users, users), ("item", n_items, items)):
        seen = rows[kind][(fold == 0)] if kind in rows else np.empty(0, np.int32)
        write_entities(
            root, kind, n, np.bincount(seen, minlength=n)[:n], len(generations) - 1, features
        )
    features = (
        LABELS_FEATURES
        if entities
        else [f.model_copy(update={"table": "event"}) for f in LABELS_FEATURES]
    )
    card = DatasetCard(
        format_version=FORMAT_VERSION,
        name=root.name,
        task="labels",
        target=target,
        dataset_id=identity_of(
            [root.name, target, n_users, n_items, n_rows, seed, draw, has_time, generations]
        ),
        id_space=IdSpace(generations=generations),
        n_users=n_users,
        n_items=n_items,
        has_time=has_time,
        features=tuple(features),
        split=SplitCard(protocol="made", parameters={}, description="Made by a test.", views=()),
        counts={"train_events": int((fold == 0).sum())},
        sources={},
        config={},
        content=checksums(root),
    )
    write_card(root, card)
    return Dataset.open(root)


def label_signal(
    users: Mapping[str, np.ndarray], items: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]
) -> np.ndarray:
    """float64[n]: what a row's label follows from: whether segment and category are of one kind (+2
    or -2), price (-0.7 each) and device (0.6 for the first, -0.6 for the last).
    """
    segment, category = (
        _looked_up(users["segment"], rows["user"]),
        _looked_up(items["category"], rows["item"]),
    )
    known = (segment >= 0) & (category >= 0)
    together = np.where(known, np.where(segment % 2 == category % 2, 2.0, -2.0), 0.0)
    price = np.nan_to_num(_looked_up(items["price"], rows["item"]))
    return together - 0.7 * price + np.array([0.6, 0.0, -0.6, 0.0])[rows["device"]]


def _labels_rows(
    random: np.random.Generator, n: int, n_users: int, n_items: int
) -> dict[str, np.ndarray]:
    """Columns of n rows: ids, time, event features, and `fold` (0 train, 1 valid, 2 test)."""
    fold = np.where(random.random(n) < 0.2, random.integers(1, 3, n), 0)
    columns = {
        "user": categories(random, n, n_users),
        "item": categories(random, n, n_items),
        "device": categories(random, n, 3),
    }
    for values in columns.values():
        values[(fold > 0) & (random.random(n) < 0.05)] = -1
    columns |= {
        "ordinal": np.arange(n, dtype=np.int64),
        "time": START + np.arange(n, dtype=np.int64),
        "hour": random.normal(size=n).astype(np.float32),
    }
    return columns | {"fold": fold}


def _looked_up(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The values of these ids; -1 or NaN for an unknown one."""
    unknown = -1 if np.issubdtype(values.dtype, np.integer) else np.nan
    return np.where(ids >= 0, values[ids], values.dtype.type(unknown))


def _write_rows(
    root: Path, rows: Mapping[str, np.ndarray], label: np.ndarray, fold: np.ndarray
) -> None:
    train = {name: column[fold == 0] for name, column in rows.items()}
    write_table(root, "train/part-00000.parquet", train | {"label": label[fold == 0]})
    for number, name in ((1, "valid"), (2, "test")):
        pairs: dict[str, Any] = {column: values[fold == number] for column, values in rows.items()}
        if "user" in rows:
            keys = [
                f"u{user}" if user >= 0 else f"new{row}" for row, user in enumerate(pairs["user"])
            ]
            pairs["user_key"] = pa.array(keys)
        write_pairs(root, name, pairs, label[fold == number])  # type: ignore[arg-type]
