"""A build in buckets gives the tables of a build in memory, whatever the number of buckets."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines import parquet
from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.files import read_json
from tests.support import shop

SEVEN = Buckets(n=7, rows=11, size=900)
"""So small that every loop turns several times."""


def assert_equal(one: Path, other: Path) -> None:
    """The same files with the same rows: integers and text equal, floats to 1e-6."""
    found, wanted = Dataset.open(one), Dataset.open(other)
    found.verify()
    assert set(found.card.content) == set(wanted.card.content)
    left_out = {"content", "features"}
    assert found.card.model_dump(exclude=left_out) == wanted.card.model_dump(exclude=left_out)
    assert [f.cardinality for f in found.card.features] == [
        f.cardinality for f in wanted.card.features
    ]
    for name in found.card.content:
        if name.endswith(".parquet"):
            here, there = (parquet.read(root / name) for root in (one, other))
            types = [pq.read_schema(root / name) for root in (one, other)]
            assert types[0] == types[1], name
            assert_same_columns(pl.DataFrame(here), pl.DataFrame(there), name)
        else:
            assert_close(read_json(one / name), read_json(other / name), name)


def assert_same_columns(here: pl.DataFrame, there: pl.DataFrame, name: str) -> None:
    for column in here:
        if column.dtype.is_float():
            close = {"rtol": 1e-6, "atol": 1e-6}
            np.testing.assert_allclose(column, there[column.name], err_msg=name, **close)
        else:
            assert column.equals(there[column.name], null_equal=True), (name, column.name)


def assert_close(here: Any, there: Any, name: str) -> None:
    if isinstance(here, float) and isinstance(there, float):
        assert math.isclose(here, there, rel_tol=1e-6, abs_tol=1e-9), name
    elif isinstance(here, dict):
        assert list(here) == list(there)
        for key in here:
            assert_close(here[key], there[key], f"{name}: {key}")
    elif isinstance(here, list):
        assert len(here) == len(there)
        for a, b in zip(here, there, strict=True):
            assert_close(a, b, name)
    else:
        assert here == there, name


def both(recipe: EtlRecipe, out: Path, buckets: Buckets = SEVEN) -> tuple[Path, Path]:
    """The dataset built in buckets, and the one built in memory."""
    return build(recipe, out / "n", buckets=buckets), build(recipe, out / "1")


@pytest.mark.parametrize("protocol", shop.SPLITS)
def test_every_protocol_gives_equal_tables(tables: Path, tmp_path: Path, protocol: str) -> None:
    assert_equal(*both(shop.recipe(tables, split=protocol), tmp_path))


OTHERS: dict[str, dict[str, Any]] = {
    "share of users": {
        "protocol": "held_out_users", "valid_users_share": 0.2, "test_users_share": 0.2,
    },
    "users by name": {
        "protocol": "held_out_users", "test_user_ids": [0, 1], "valid_user_ids": [2],
    },
    "share of each user": {"protocol": "user_share"},
    "share by chance": {"protocol": "user_share", "by": "random", "seed": 3},
    "sessions": {"protocol": "last_sessions", "gap_minutes": 1440},
    "last three": {"protocol": "leave_last", "test_events": 2},
    "first in the span": {"protocol": "rolling", "days": 3, "targets": "first"},
    "last in the span": {"protocol": "rolling", "days": 3, "targets": "last"},
    "last before test": {"protocol": "temporal", "test_days": 4, "valid_by": "last_event"},
}  # fmt: skip


@pytest.mark.parametrize("split", OTHERS.values(), ids=OTHERS)
def test_every_kind_of_a_protocol_gives_equal_tables(
    tables: Path, tmp_path: Path, split: dict[str, Any]
) -> None:
    assert_equal(*both(shop.recipe(tables, split=split), tmp_path))


def test_the_other_engine_gives_them_too(tables: Path, tmp_path: Path) -> None:
    recipe = shop.recipe(tables, split="leave_last", engine="nvtabular")
    assert_equal(*both(recipe, tmp_path, Buckets(n=2, rows=300, size=4000)))


CATALOGUES = [
    {"min_item_users": 4, "min_user_items": 6},
    {"min_user_items": 9},
    {"min_item_users": 6},
    {"min_item_users": 4, "min_user_items": 3, "counted_on": "all"},
]


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=["both", "users", "items", "on all"])
def test_rounds_of_minimum_counts_end_at_the_same_catalogue(
    tables: Path, tmp_path: Path, catalogue: dict[str, Any]
) -> None:
    assert_equal(*both(shop.recipe(tables, catalogue=catalogue, split="random"), tmp_path))


LABELS: dict[str, dict[str, Any]] = {
    "rows of users": {"user": "customer", "item": "sku", "time": "at", "rating": "stars"},
    "rows of items": {"item": "sku", "time": "at", "rating": "stars"},
    "rows of nobody": {"rating": "stars"},
    "rows with a time": {"time": "at", "rating": "stars"},
}


@pytest.mark.parametrize("columns", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("protocol", ["random", "temporal"])
def test_labels_are_equal(tmp_path: Path, columns: dict[str, Any], protocol: str) -> None:
    if protocol == "temporal" and "time" not in columns:
        protocol = "random"
    random = np.random.default_rng(7)
    events = shop.events(300).with_columns(stars=random.integers(1, 6, 300))
    events = pl.concat([events, events[:40]])
    folder = shop.write(tmp_path / "tables", events)
    values = shop.recipe(folder).model_dump(mode="json")
    values["source"] |= {"columns": columns, "users": None, "items": None}
    values["features"] |= {"user": {}, "item": {}}
    liked = {"kind": "binary", "column": "rating", "above": 3, "drop": [3]}
    values |= {"task": "labels", "target": liked, "split": shop.SPLITS[protocol]}
    values |= {"clean": {"deduplicate": "events"}}
    assert_equal(*both(parse(EtlRecipe, values, "a test's recipe"), tmp_path))


def text_recipe(folder: Path, **changes: Any) -> EtlRecipe:
    values: dict[str, Any] = {
        "name": "text",
        "source": {
            "kind": "files",
            "events": str(folder / "*.csv"),
            "columns": {"user": "customer", "item": "sku", "time": "at", "weight": "n"},
            "features": ["shop"],
        },
        "contract": {"max_rejected_share": 0.6},
        "split": {"protocol": "leave_last"},
        "features": {"engine": "polars", "event": {"shop": {"kind": "categorical"}}},
    }
    return parse(EtlRecipe, values | changes, "a test's recipe")


USERS = st.sampled_from(["7", "07", " 7", "7.0", "ada", "Ada", "b", "c", "", "nan", "8", "9"])
ROWS = st.tuples(
    USERS,
    st.sampled_from(["x", "y", "z", "x ", "é", "e\u0301"]),
    st.sampled_from(
        ["1600000000", "1600000001", "1600000001.25", "1600086400", "soon", "99999999999"]
    ),
    st.sampled_from(["1", "2", "0", "-1", "many"]),
    st.sampled_from(["north", "south", '"a, b"', "", "one,too,many"]),
)
DEDUPLICATE = ["none", "events", "pairs_first", "pairs_last"]


@settings(max_examples=40, deadline=None)
@given(
    files=st.lists(st.lists(ROWS, max_size=25), min_size=1, max_size=3),
    n=st.sampled_from([2, 7]),
    protocol=st.sampled_from(["leave_last", "random", "shares"]),
    deduplicate=st.sampled_from(DEDUPLICATE),
)
def test_random_text_gives_equal_tables_or_the_same_refusal(
    files: list[list[tuple[str, ...]]], n: int, protocol: str, deduplicate: str
) -> None:
    shares = {"protocol": "temporal", "test_share": 0.2, "valid_share": 0.2}
    split = shares if protocol == "shares" else shop.SPLITS[protocol]
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number, rows in enumerate(files):
            lines = ["customer,sku,at,n,shop", *(",".join(row) for row in rows)]
            text = "\n".join(lines) + "\n"
            (folder / f"{number}.csv").write_text(text, encoding="utf-8")
        changes = {"split": split, "clean": {"deduplicate": deduplicate, "min_weight": 0}}
        recipe = text_recipe(folder, **changes)
        wanted = refusal_or_dataset(recipe, folder / "1", Buckets(1, 0, 0))
        found = refusal_or_dataset(recipe, folder / "n", Buckets(n, 5, 300))
        if isinstance(wanted, str) or isinstance(found, str):
            assert found == wanted
        else:
            assert_equal(found, wanted)


def test_a_fraction_of_a_rejected_row_alone_is_none(tmp_path: Path) -> None:
    rows = ["7,x,1600000000,1,north"] * 5 + ["7,x,1600000001.25,many,north"]
    (tmp_path / "0.csv").write_text("\n".join(["customer,sku,at,n,shop", *rows]) + "\n")
    assert_equal(*both(text_recipe(tmp_path), tmp_path / "out"))


def refusal_or_dataset(recipe: EtlRecipe, out: Path, buckets: Buckets) -> Path | str:
    """The dataset's directory, or the first line of why there is none."""
    try:
        return build(recipe, out, buckets=buckets)
    except DataError as error:
        return str(error).splitlines()[0]


def test_train_is_cut_into_files_as_in_memory(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("in_memory", "buckets.write"):
        monkeypatch.setattr(f"falconer.pipelines.etl.{module}.ROWS_PER_FILE", 70)
    found, wanted = both(shop.recipe(tables, split="leave_last"), tmp_path)
    assert len(list((wanted / "train").iterdir())) > 3
    assert_equal(found, wanted)


def test_the_same_counts_are_said(
    tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for out, buckets in ((tmp_path / "n", SEVEN), (tmp_path / "1", None)):
        build(shop.recipe(tables), out, buckets=buckets)
        lines = capsys.readouterr().out.splitlines()
        said.append([one for one in lines if one.startswith(("read", "check", "clean", "split"))])
    assert said[0] == said[1]
    assert {line.split()[0] for line in said[0]} == {"read", "check", "clean", "split"}


KILLED_AFTER = {
    "scatter": "buckets.build.scatter",
    "clean": "buckets.build.clean_buckets",
    "fit": "buckets.build.vocabularies.fit",
    "encode": "buckets.build.encode_bucket",
}
KILL = """
import os, signal, sys
from pathlib import Path
from unittest.mock import patch
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import Buckets
from tests.support import shop

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

with patch("falconer.pipelines.etl." + sys.argv[3], killed):
    build(shop.recipe(Path(sys.argv[1])), Path(sys.argv[2]), buckets=Buckets(7, 11, 900))
"""


@pytest.mark.parametrize("step", KILLED_AFTER)
def test_a_kill_in_between_leaves_nothing_behind(
    tables: Path, tmp_path: Path, data: Dataset, step: str
) -> None:
    command = [sys.executable, "-c", KILL, str(tables), str(tmp_path), KILLED_AFTER[step]]
    killed = subprocess.run(command, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = build(shop.recipe(tables), tmp_path, buckets=SEVEN)
    assert_equal(again, data.path)
    assert [path.name for path in again.parent.iterdir()] == [again.name]
