"""Published datasets, whose figures are known."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.recipe import load_recipe


def dataset(name: str, mirror: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("FALCONER_DATA_MIRROR", str(mirror))
    return Dataset.open(build(load_recipe(name, ["features.engine=polars"]), out))


def test_sequences_have_the_printed_size_and_the_last_item_in_the_file_is_each_users_test_item(
    data_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset("ml-1m-sequences", data_mirror, tmp_path, monkeypatch)
    assert (data.n_users, data.n_items, data.card.counts["events_kept"]) == (6040, 3416, 999_611)
    text = zipfile.ZipFile(data_mirror / "ml-1m-sequences.zip").read("ml-1m-sequences/ml-1m.txt")
    lines = pl.read_csv(
        io.BytesIO(text), separator=" ", has_header=False, new_columns=["user", "item"]
    )
    keys = np.array(data.items.column("key").to_pylist())
    for fold, place in (("test", -1), ("valid", -2)):
        expected = lines.group_by("user").agg(pl.col("item").get(place)).sort("user")
        truth = data.truth(fold)  # type: ignore[arg-type]
        assert data.query_keys(fold).to_pylist() == expected["user"].to_list()  # type: ignore[arg-type]
        assert truth.items.lengths.tolist() == [1] * 6040
        assert keys[truth.items.values].tolist() == expected["item"].to_list()
    assert data.card.split.views == ("novel",)
    assert not data.card.has_time
    histories = data.queries("test").history
    assert int(histories.lengths.sum()) == 999_611 - 6040


def test_ncf_ranks_each_published_test_item_among_its_hundred_candidates(
    data_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset("ml-1m-ncf", data_mirror, tmp_path, monkeypatch)
    queries, truth = data.queries("test"), data.truth("test")
    assert data.card.split.sampled
    assert queries.candidates is not None
    assert int(truth.items.lengths.sum() + truth.n_outside.sum()) == 6040
    assert data.query_keys("test").to_pylist() == list(range(1, 6041))
    given = load_recipe("ml-1m-ncf").source.read().candidates
    assert given is not None
    keys = np.array(data.items.column("key").to_pylist())
    in_catalogue = set(keys.tolist())
    by_user = {
        user: set(items) & in_catalogue for user, items in given.select("user", "candidates").rows()
    }
    for row in range(len(queries)):
        candidates = queries.candidates[row]
        assert (np.diff(candidates) > 0).all()
        assert set(keys[candidates].tolist()) == by_user[row + 1]
        assert set(truth.items[row].tolist()) <= set(candidates.tolist())
        assert not set(candidates.tolist()) & set(queries.history[row].tolist())
    assert data.queries("valid").candidates is None


def test_click_through_keeps_the_printed_number_of_rows(
    data_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset("ml-1m-ctr", data_mirror, tmp_path, monkeypatch)
    parts = [len(data.labels(fold)) for fold in ("valid", "test")]  # type: ignore[arg-type]
    assert data.train.num_rows + sum(parts) == 739_012
    assert all(part / 739_012 == pytest.approx(0.1, abs=0.002) for part in parts)
    labels = [data.train_column("label"), data.labels("valid"), data.labels("test")]
    assert sum(int(part.sum()) for part in labels) == 575_281
