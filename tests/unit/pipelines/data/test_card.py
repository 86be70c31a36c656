"""The data card says what was read and left out, under keys that stay."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from falconer.pipelines.data.card import write_page
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.etl.build import build
from tests.support import shop

KEYS = [
    *("name", "dataset_id", "split", "columns", "counts", "drops", "id_spaces"),
    *("features", "quarantine", "sources", "notes"),
]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    events = shop.events().with_columns(
        store=pl.when(pl.col("price") > 20).then(pl.lit("<b>&")).otherwise("store")
    )
    tables = shop.write(folder / "shop", events)
    expect = {"price": {"most": 20}}
    recipe = shop.recipe(tables, expect=expect, contract={"max_rejected_share": 0.5})
    return write_page(build(recipe, folder / "out"), folder / "card").parent


def test_the_card_has_its_keys_and_figures(card: Path) -> None:
    found = json.loads((card / "card.json").read_text())
    assert sorted(found) == sorted(KEYS)
    columns = {one["name"]: one for one in found["columns"]}
    kept = shop.events().filter(~(pl.col("price") > 20).fill_null(value=False))
    assert columns["price"]["nulls"] == kept["price"].null_count()
    assert columns["price"]["most"] == kept["price"].max()
    assert columns["user"]["distinct"] == kept["customer"].n_unique()
    assert columns["store"]["least"] is None
    n = 400 - len(kept)
    assert found["quarantine"] == {"events": n}
    assert found["drops"]["rejected: expected price of at most 20"] == n > 0
    assert found["id_spaces"]["generations"]


def test_the_page_shows_the_quarantine_and_escapes_it(card: Path) -> None:
    html = (card / "card.html").read_text()
    assert "expected price of at most 20" in html
    assert "<b>&" not in html
    assert "&lt;b&gt;&amp;" in html


def test_another_parquet_reader_needs_nothing_of_ours(card: Path) -> None:
    folder = next(card.parent.glob("out/shop/*"))
    part = folder / "train" / "part-00000.parquet"
    assert pl.read_parquet(part).height == Dataset.open(folder).card.counts["train_events"]
