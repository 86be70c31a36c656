"""A dataset with as many queries as wanted, and lists for all of them: each in a process of its
own, to see its memory.

python -m tests.benchmarks.many_users make ROOT USERS ITEMS
python -m tests.benchmarks.many_users recommend ROOT OUT ITEMS      prints seconds and peak MB as
                                                                    JSON
python -m tests.benchmarks.many_users evaluate ROOT OUT             the same, of the lists that are
                                                                    in OUT
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import (
    Dataset,
    checksums,
    write_card,
    write_table,
)
from falconer.pipelines.data.fold_tables import ragged_column
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.recsys import stages
from falconer.recsys.lists.parquet import FILE
from falconer.recsys.recommending.job import Job, write_lists
from tests.support.datasets import write_dataset

DIM = 64
HISTORY = 20
TABLE = 4096
AT_ONCE = 100_000


class ByTable:
    """A factor scorer whose users share 4,096 random vectors, so that the model does not grow with
    the users."""

    def __init__(self, n_items: int) -> None:
        rng = np.random.default_rng(0)
        self._users = rng.standard_normal((TABLE, DIM), dtype=np.float32)
        self._items = rng.standard_normal((n_items, DIM), dtype=np.float32)
        self.items_known = np.ones(n_items, np.bool_)

    def factors(
        self, queries: Queries
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        return (
            self._users[queries.user % TABLE],
            self._items,
            np.zeros(len(self._items), np.float32),
        )

    def score(self, queries: Queries) -> NDArray[np.float32]:
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        raise NotImplementedError


def make(root: Path, n_users: int, n_items: int) -> None:
    """Queries with histories of twenty items, and the source's own ids as text; written in
    parts."""
    data = write_dataset(
        root,
        train=[(0, 0, 0)],
        n_users=1,
        n_items=n_items,
        folds={"test": [(0, [0], [0])]},
        has_time=False,
    )
    rng = np.random.default_rng(1)
    schema = pq.read_schema(root / "queries/test.parquet")
    truth = pq.read_schema(root / "truth/test.parquet")
    with (
        pq.ParquetWriter(root / "queries/test.parquet", schema, compression="zstd") as queries,
        pq.ParquetWriter(root / "truth/test.parquet", truth, compression="zstd") as truths,
    ):
        for start in range(0, n_users, AT_ONCE):
            user = np.arange(start, min(start + AT_ONCE, n_users), dtype=np.int32)
            keys = pa.array([f"customer-{number:08d}" for number in user.tolist()])
            history = _random_items(rng, len(user), HISTORY, n_items)
            queries.write_table(
                pa.table(
                    {"user": user, "user_key": keys, "history": ragged_column(history)},
                    schema=schema,
                )
            )
            items = _random_items(rng, len(user), 3, n_items)
            truths.write_table(
                pa.table(
                    {"items": ragged_column(items), "n_outside": np.zeros(len(user), np.int64)},
                    schema=truth,
                )
            )
    write_table(
        root,
        "users.parquet",
        {"id": np.arange(1, dtype=np.int32), "key": ["u0"], "label": ["the only one in train"]},
    )
    write_card(root, data.card.model_copy(update={"content": checksums(root)}))


def _random_items(rng: np.random.Generator, n: int, size: int, n_items: int) -> Ragged:
    return Ragged(
        np.arange(n + 1, dtype=np.int64) * size, rng.integers(0, n_items, n * size, dtype=np.int32)
    )


def recommend(root: Path, out: Path, n_items: int) -> dict[str, float]:
    """Top 100 of the items outside each history."""
    started = time.perf_counter()
    written = write_lists(
        ByTable(n_items), Dataset.open(root), out, Job("test", ("novel",), 100, {})
    )
    return _measured(written.n_queries, started)


def evaluate(root: Path, out: Path) -> dict[str, float]:
    """Every usual metric at the usual cut-offs, with intervals, slices and the checks of the
    protocol."""
    started = time.perf_counter()
    stages.evaluate(out / "novel" / FILE, root, views=("novel",), out=out / "report")
    return _measured(Dataset.open(root).n_queries("test"), started)


def _measured(n_users: int, started: float) -> dict[str, float]:
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "users": n_users,
        "seconds": seconds,
        "cpu_seconds": time.process_time(),
        "peak_mb": peak,
    }


if __name__ == "__main__":
    command, root, out = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if command == "make":
        make(root, int(out), int(sys.argv[4]))
    elif command == "recommend":
        print(json.dumps(recommend(root, Path(out), int(sys.argv[4]))))
    else:
        print(json.dumps(evaluate(root, Path(out))))
