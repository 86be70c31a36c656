"""Draws follow the content of events: rows that come or go redraw nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.split.hashes import event_hashes
from falconer.recsys import stages
from tests.support import shop

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.integers(0, 3)), max_size=30
)
HASHES = ["267c5d71abea2278", "4b46cd5f3b1ea7dd", "23f451aaf2dff3f6"]
SMALL: dict[str, Any] = {"features": {"engine": "polars"}}


def frame(rows: list[tuple[int, str, int]]) -> pl.DataFrame:
    schema = {"user": pl.Int64, "item": pl.String, "time": pl.Int64}
    ordered = pl.DataFrame(rows, schema=schema, orient="row").with_row_index("ordinal")
    return ordered.sort("time", "ordinal")


@given(ROWS, ROWS)
def test_a_late_file_changes_no_hash_of_the_others(
    rows: list[tuple[int, str, int]], others: list[tuple[int, str, int]]
) -> None:
    alone, together = frame(rows), frame(others + rows)
    found, among = event_hashes(alone), event_hashes(together)
    assert len(set(found.tolist())) == len(rows)
    assert set(found.tolist()) <= set(among.tolist())


def test_the_hash_is_the_same_on_every_machine() -> None:
    rows = pl.DataFrame(
        {"ordinal": [0, 1, 2], "user": [1, 1, 2], "item": ["a", "a", None], "time": [5, 5, 5]}
    )
    assert [f"{one:016x}" for one in event_hashes(rows).tolist()] == HASHES
    floats = pl.DataFrame({"ordinal": [0, 1], "x": [0.0, -0.0]})
    assert event_hashes(floats[:1]).tolist() == event_hashes(floats[1:]).tolist()


def test_chances_are_even() -> None:
    events = shop.events(20_000, n_users=400).rename(
        {"customer": "user", "sku": "item", "at": "time"}
    )
    share = event_hashes(events.select("user", "item", "time")) / 2**64
    counts = np.histogram(share, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 2000).max() < 200


@pytest.mark.parametrize("split", ["random", "held_out_users"])
def test_a_late_file_redraws_nothing(tmp_path: Path, split: str) -> None:
    events = shop.events()
    early = pl.concat([events[:3].with_columns(pl.col("at") - 40 * shop.DAY), events])
    parts = []
    for name, table in (("one", events), ("two", early)):
        folder = shop.write(tmp_path / name, table)
        data = Dataset.open(build(shop.recipe(folder, split=split), tmp_path / "out"))
        sketches = [
            data.table(overlap.part_file(part))["hash"].to_numpy() for part in ("train", "test")
        ]
        parts.append(sketches)
    assert overlap.shared(parts[0][0], parts[1][1])[0] == 0
    assert overlap.shared(parts[0][1], parts[1][0])[0] == 0
    both, _ = overlap.shared(parts[0][0], parts[1][0])
    assert both == len(parts[0][0])


def test_sketches_of_large_parts_hold_the_same_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "SIZE", 100)
    rng = np.random.default_rng(0)
    train = rng.integers(0, 2**64, 5000, dtype=np.uint64)
    fold = np.concatenate([train[:200], rng.integers(0, 2**64, 1800, dtype=np.uint64)])
    both, compared = overlap.shared(overlap.sketch(train), overlap.sketch(fold))
    assert 0 < both <= compared < 100
    assert overlap.shared(overlap.sketch(train), overlap.sketch(fold[200:]))[0] == 0


def test_a_run_is_not_judged_on_what_it_was_trained_on(tmp_path: Path) -> None:
    tables = shop.write(tmp_path / "shop", shop.events())
    old = build(shop.recipe(tables, split="random", **SMALL), tmp_path / "out")
    other = {"protocol": "random", "seed": 2}
    new = build(shop.recipe(tables, split=other, extends=str(old), **SMALL), tmp_path / "out")
    run = stages.train("popularity", old, tmp_path / "runs")
    with pytest.raises(ArtifactError, match=r"was trained on \d+\.\d% of the events"):
        stages.recommend(run, data_path=new)
    stages.recommend(run)
    with pytest.raises(ArtifactError, match="made for dataset"):
        stages.evaluate(run, new)
    stages.evaluate(run)


def test_labels_are_not_judged_on_what_the_run_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither predicted, nor evaluated where predictions are there all the same."""
    events = shop.events().with_columns(label=pl.col("customer") % 2)
    tables = shop.write(tmp_path / "shop", events)
    columns = {"user": "customer", "item": "sku", "time": "at", "label": "label"}
    source = {"kind": "files", "events": str(tables / "events.parquet"), "columns": columns}
    labels = {"task": "labels", "target": {"kind": "binary"}, "source": source, **SMALL}
    old = build(shop.recipe(tables, split="random", **labels), tmp_path / "out")
    other = {"protocol": "random", "seed": 2}
    new = build(shop.recipe(tables, split=other, extends=str(old), **labels), tmp_path / "out")
    run = stages.train("label_mean", old, tmp_path / "runs")
    refused = r"was trained on \d+\.\d% of the events"
    with pytest.raises(ArtifactError, match=refused):
        stages.predict(run, data_path=new)
    with monkeypatch.context() as patched:
        patched.setattr(overlap, "refuse_overlap", lambda *_: None)
        stages.predict(run, data_path=new)
    with pytest.raises(ArtifactError, match=refused):
        stages.evaluate(run, new)
    stages.predict(run)
    stages.evaluate(run)


SKETCHES = st.sets(st.integers(0, 40), max_size=12)


@given(one=SKETCHES, other=SKETCHES, n=st.integers(1, 12))
def test_the_smallest_of_two_sketches_are_those_of_all_hashes(
    one: set[int], other: set[int], n: int
) -> None:
    parts = [np.array(sorted(part)[:n], np.uint64) for part in (one, other)]
    found = overlap.smallest_of_both(*parts, n)
    assert found.tolist() == sorted(one | other)[:n]
