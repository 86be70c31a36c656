"""The checks of the protocol, graded: leaks that they were not written for, of many sizes, and
clean data made odd."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.pipelines.etl.build import build
from falconer.recsys.judging.lists import checks as protocol
from tests.support import shop

HOUR = 3600
Rows = dict[str, np.ndarray]
Plant = Callable[..., Rows]
SHARES = (0.0, 0.02, 0.5)
"""Of the rows that a leak touches; one row at least."""


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """One clean dataset a protocol; in "unrepeated" nobody buys a thing twice."""
    root = tmp_path_factory.mktemp("graded")
    found = {}
    for split in ("temporal", "rolling", "leave_last", "unrepeated"):
        events = shop.events(600, seed=5)
        if split == "unrepeated":
            events = events.unique(["customer", "sku"], keep="first", maintain_order=True)
        tables = shop.write(root / f"{split}-tables", events)
        recipe = shop.recipe(tables, split="random" if split == "unrepeated" else split)
        found[split] = Dataset.open(build(recipe, root / split))
    return found


def replanted(data: Dataset, folder: Path, make: Callable[[Rows], Rows]) -> Dataset:
    """A copy of the dataset with other train events, whole and ordered again."""
    shutil.copytree(data.path, folder)
    rows = make({name: data.train_column(name) for name in ("user", "item", "ordinal", "time")})
    order = np.lexsort((rows["ordinal"], rows["time"]))
    columns = {name: pa.array(values[order]) for name, values in rows.items()}
    write_table(folder, "train/part-00000.parquet", pa.table(columns).cast(_schema(data)))
    write_card(folder, data.card.model_copy(update={"content": checksums(folder)}))
    return Dataset.open(folder)


def _schema(data: Dataset) -> pa.Schema:
    return pa.schema(
        [data.train.schema.field(name) for name in ("user", "item", "ordinal", "time")]
    )


def alarms(data: Dataset) -> list[str]:
    return [
        text for text in protocol.warnings_of(data, "test", (1, 10)) if text.startswith("leakage")
    ]


def _some(n: int, rng: np.random.Generator, share: float) -> np.ndarray:
    return rng.choice(n, max(1, round(share * n)), replace=False)


def milliseconds_among_seconds(
    rows: Rows, data: Dataset, rng: np.random.Generator, share: float
) -> Rows:
    chosen = _some(len(rows["time"]), rng, share)
    rows["time"] = rows["time"].copy()
    rows["time"][chosen] *= 1000
    return rows


def a_clock_that_is_fast(rows: Rows, data: Dataset, rng: np.random.Generator, share: float) -> Rows:
    """Some rows come from a till whose clock is ahead by so much that the last of them passes the
    boundary."""
    chosen = _some(len(rows["time"]), rng, share)
    asked = data.queries("test").time
    assert asked is not None
    rows["time"] = rows["time"].copy()
    rows["time"][chosen] += int(asked.min()) - int(rows["time"][chosen].max()) + HOUR
    return rows


def _with_truth(rows: Rows, data: Dataset, chosen: np.ndarray, time: np.ndarray) -> Rows:
    queries, truth = data.queries("test"), data.truth("test").items
    known = np.flatnonzero(queries.user[truth.rows] >= 0)[chosen]
    more = {
        "user": queries.user[truth.rows[known]],
        "item": truth.values[known],
        "ordinal": np.arange(len(known)) + 10**6,
        "time": time,
    }
    return {name: np.concatenate([values, more[name]]) for name, values in rows.items()}


def _n_known(data: Dataset) -> int:
    return int((data.queries("test").user[data.truth("test").items.rows] >= 0).sum())


def days_after_the_test(rows: Rows, data: Dataset, rng: np.random.Generator, share: float) -> Rows:
    """Test events come in again later, as a late delivery of the same file would bring them."""
    chosen = _some(_n_known(data), rng, share)
    asked = data.queries("test").time
    assert asked is not None
    return _with_truth(
        rows, data, chosen, int(asked.max()) + rng.integers(HOUR, 90 * 24 * HOUR, len(chosen))
    )


def backdated(rows: Rows, data: Dataset, rng: np.random.Generator, share: float) -> Rows:
    """Test events stand in train at any time of the past: to be known where nobody buys a thing
    twice."""
    chosen = _some(_n_known(data), rng, share)
    low, high = int(rows["time"].min()), int(rows["time"].max())
    return _with_truth(rows, data, chosen, rng.integers(low, high + 1, len(chosen)))


LEAKS: list[tuple[str, Plant]] = [
    *((split, milliseconds_among_seconds) for split in ("temporal", "rolling", "leave_last")),
    *((split, a_clock_that_is_fast) for split in ("temporal", "rolling")),
    *(
        (split, days_after_the_test)
        for split in ("temporal", "rolling", "leave_last", "unrepeated")
    ),
    ("unrepeated", backdated),
]


@pytest.mark.parametrize(
    ("split", "plant"), LEAKS, ids=lambda value: getattr(value, "__name__", value)
)
def test_leaks_of_unseen_kinds_and_any_size_are_found(
    split: str, plant: Plant, shops: dict[str, Dataset], tmp_path: Path
) -> None:
    missed = []
    for seed, share in enumerate(SHARES):
        make = partial(plant, data=shops[split], rng=np.random.default_rng(seed), share=share)
        if not alarms(replanted(shops[split], tmp_path / str(seed), make)):
            missed.append(share)
    assert not missed, f"{len(missed)} of {len(SHARES)} leaks were missed: {missed}"


def the_same(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows


def fewer(rows: Rows, rng: np.random.Generator) -> Rows:
    kept = np.sort(_some(len(rows["time"]), rng, 0.3))
    return {name: values[kept] for name, values in rows.items()}


def older(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows | {"time": rows["time"] - rng.integers(0, 400 * 24 * HOUR, len(rows["time"]))}


def all_of_one_second(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows | {"time": np.full_like(rows["time"], rows["time"].min())}


def of_one_user(rows: Rows, rng: np.random.Generator) -> Rows:
    kept = rows["user"] == np.bincount(rows["user"]).argmax()
    return {name: values[kept] for name, values in rows.items()}


CLEAN = (the_same, fewer, older, all_of_one_second, of_one_user)


@pytest.mark.parametrize("split", ["temporal", "rolling", "leave_last", "unrepeated"])
def test_odd_but_clean_data_raises_no_alarm(
    split: str, shops: dict[str, Dataset], tmp_path: Path
) -> None:
    """20 datasets in all: the number of false alarms is asserted to be 0."""
    false = []
    for seed, make in enumerate(CLEAN):
        data = replanted(
            shops[split], tmp_path / make.__name__, partial(make, rng=np.random.default_rng(seed))
        )
        false += [(make.__name__, text) for text in alarms(data)]
    assert not false, f"{len(false)} false alarms: {false}"
