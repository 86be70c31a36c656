"""Small dataset directories whose right answers are known, made in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import (
    Dataset,
    checksums,
    write_card,
    write_table,
)
from falconer.pipelines.data.fold_tables import write_queries
from falconer.pipelines.data.queries import Queries, Ragged, Truth
from falconer.pipelines.data.schema import (
    FORMAT_VERSION,
    DatasetCard,
    Feature,
    IdSpace,
    SplitCard,
)
from falconer.pipelines.files import identity_of

DAY = 86_400
START = 1_600_000_000

ENTITY_FEATURES = (
    Feature(name="segment", table="user", kind="categorical", cardinality=4),
    Feature(name="age", table="user", kind="continuous"),
    Feature(name="category", table="item", kind="categorical", cardinality=5),
    Feature(name="price", table="item", kind="continuous"),
)


def write_dataset(
    root: Path,
    *,
    train: Sequence[tuple[int, int, int]],
    n_users: int,
    n_items: int,
    folds: Mapping[str, Sequence[tuple[int, Sequence[int], Sequence[int]]]],
    has_time: bool = True,
    generations: tuple[str, ...] = ("first",),
    views: tuple[str, ...] = ("all", "repeat", "novel"),
    candidates: dict[str, Sequence[Sequence[int]]] | None = None,
    features: Sequence[Feature] = (),
) -> Dataset:
    """Write and open a dataset. `features` of users and items have random values, from which
    nothing follows.

    `train` holds (user, item, day) in event order. `folds` maps "valid" or "test" to queries
    (user or -1, history oldest first, truth). Keys are "u<id>" and "i<id>"; an unknown user's key
    is "new<row>". A query is asked one day after the last train day; history times are the days
    before it, one event a day.
    """
    root.mkdir(parents=True)
    user, item, day = (np.array(column, dtype=np.int64) for column in zip(*train, strict=True))
    columns: dict[str, Any] = {
        "user": user.astype(np.int32),
        "item": item.astype(np.int32),
        "ordinal": np.arange(len(user), dtype=np.int64),
    }
    if has_time:
        columns["time"] = START + day * DAY
    write_table(root, "train/part-00000.parquet", columns)
    last = len(generations) - 1
    for kind, n, ids in (("user", n_users, user), ("item", n_items, item)):
        told = random_features(features, kind, n)
        write_entities(root, kind, n, np.bincount(ids, minlength=n), last, told)
    now = START + (int(day.max()) + 1) * DAY if has_time else None
    for fold, rows in folds.items():
        _write_fold(root, fold, rows, now, candidates[fold] if candidates else None)
    card = DatasetCard(
        format_version=FORMAT_VERSION,
        name=root.name,
        task="top_n",
        dataset_id=identity_of([list(map(list, train)), generations, n_items]),
        id_space=IdSpace(generations=generations),
        n_users=n_users,
        n_items=n_items,
        has_time=has_time,
        features=tuple(features),
        split=SplitCard(
            protocol="made",
            parameters={},
            description="Made by a test.",
            views=views,  # type: ignore[arg-type]
            targets="all held-out events of a user",
        ),
        counts={"train_events": len(user)},
        sources={},
        config={},
        content=checksums(root),
    )
    write_card(root, card)
    return Dataset.open(root)


def _write_fold(
    root: Path,
    fold: str,
    rows: Sequence[tuple[int, Sequence[int], Sequence[int]]],
    now: int | None,
    candidates: Sequence[Sequence[int]] | None,
) -> None:
    """Queries asked at `now`, and their truth."""
    times = [[(now or 0) - DAY * ago for ago in range(len(row[1]), 0, -1)] for row in rows]
    queries = Queries(
        user=np.array([row[0] for row in rows], dtype=np.int32),
        history=Ragged.of([row[1] for row in rows]),
        history_times=None if now is None else Ragged.of(times, np.int64),
        time=None if now is None else np.full(len(rows), now, dtype=np.int64),
        candidates=Ragged.of(candidates) if candidates else None,
    )
    keys = pa.array([f"u{row[0]}" if row[0] >= 0 else f"new{at}" for at, row in enumerate(rows)])
    truth = Truth(Ragged.of([row[2] for row in rows]), np.zeros(len(rows), dtype=np.int64))
    write_queries(root, fold, queries, keys, truth)  # type: ignore[arg-type]


def write_entities(
    root: Path,
    kind: str,
    n: int,
    frequency: NDArray[Any],
    generation: int,
    features: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write the users' or items' table and vocabulary: keys "u0", "u1" and so on."""
    keys = pa.array([f"{kind[0]}{number}" for number in range(n)], pa.string())
    labels = pa.array([f"{kind} {number}" for number in range(n)], pa.string())
    ids = np.arange(n, dtype=np.int32)
    write_table(
        root, f"{kind}s.parquet", {"id": ids, "key": keys, "label": labels, **(features or {})}
    )
    vocabulary = {
        "id": ids,
        "value": keys,
        "generation": np.full(n, generation, np.int32),
        "frequency": frequency.astype(np.int64),
    }
    write_table(root, f"vocab/{kind}.parquet", vocabulary)


def random_features(features: Sequence[Feature], table: str, n: int) -> dict[str, NDArray[Any]]:
    """Values of the features of one table; those of a longer table begin alike."""
    random = {
        feature.name: np.random.default_rng(len(feature.name))
        for feature in features
        if feature.table == table
    }
    return {
        feature.name: categories(random[feature.name], n, feature.cardinality)
        if feature.cardinality
        else random[feature.name].normal(size=n).astype(np.float32)
        for feature in features
        if feature.table == table
    }


def checkerboard(root: Path, *, n: int = 24, repeats: int = 3, **options: Any) -> Dataset:
    """Two classes: user u likes item i where (u + i) is even; the diagonal i = u is withheld and
    asked for.

    Every personalised model must put the withheld item first among those that the user has not seen
    (view novel), since it is the only one of the user's class that is left. `n` users and items,
    each like seen `repeats` times by `repeats` copies of each user row, in an order from which
    nothing follows. The features of users and items say nothing about it either.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     board = checkerboard(pathlib.Path(folder) / "board")
    ...     board, board.train.num_rows, board.truth("test").items.values[:3]
    (Dataset board: 72 users, 24 items, for top_n, 792, array([0, 1, 2], dtype=int32))
    """
    users = [(copy * n + u, u) for copy in range(repeats) for u in range(n)]
    rng = np.random.default_rng(0)
    liked = {
        user: [item for item in range(n) if (u + item) % 2 == 0 and item != u] for user, u in users
    }
    train = [
        (user, int(item), day)
        for user in liked
        for day, item in enumerate(rng.permutation(liked[user]))
    ]
    train.sort(key=lambda event: event[2])
    history = {user: [item for seen, item, _ in train if seen == user] for user, _ in users}
    queries = [(user, history[user], [u]) for user, u in users]
    folds = {"valid": queries, "test": queries}
    options = {"features": ENTITY_FEATURES, **options}
    return write_dataset(root, train=train, n_users=len(users), n_items=n, folds=folds, **options)


def skewed(root: Path, *, n_users: int = 48, n_items: int = 14, **options: Any) -> Dataset:
    """Every item has three events fewer than the one before it: item i is what all but 3 i users
    have, who are other ones for each item."""
    train = [
        (user, item, item)
        for item in range(n_items)
        for user in range(n_users)
        if (7 * user + 5 * item) % n_users < n_users - 3 * item
    ]
    train.sort(key=lambda event: event[2])
    history = {user: [item for seen, item, _ in train if seen == user] for user in range(n_users)}
    queries = [(user, items, [0]) for user, items in history.items()]
    options = {"features": ENTITY_FEATURES, **options}
    return write_dataset(
        root,
        train=train,
        n_users=n_users,
        n_items=n_items,
        folds={"valid": queries, "test": queries},
        **options,
    )


def cycle(
    root: Path, *, n: int = 12, n_users: int = 60, length: int = 8, **options: Any
) -> Dataset:
    """Every user walks the items 0..n-1 in order from an own start; the next item follows from the
    last one only."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, n, n_users)
    train = [
        (user, int((starts[user] + step) % n), step)
        for step in range(length)
        for user in range(n_users)
    ]
    queries = [
        (
            user,
            [int((starts[user] + step) % n) for step in range(length)],
            [int((starts[user] + length) % n)],
        )
        for user in range(n_users)
    ]
    return write_dataset(
        root,
        train=train,
        n_users=n_users,
        n_items=n,
        folds={"valid": queries, "test": queries},
        **options,
    )


def categories(random: np.random.Generator, n: int, cardinality: int) -> NDArray[Any]:
    """int32[n], each category as likely as the others."""
    return random.integers(0, cardinality, n).astype(np.int32)
