"""Columns of other tables beside the events: the row of the key, as it was known then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.append import append
from falconer.pipelines.etl.build import build
from tests.support import shop
from tests.unit.pipelines.etl import test_append
from tests.unit.pipelines.etl.test_buckets import SEVEN, assert_equal

PRICES = {"on": {"sku": "product"}, "columns": ["list_price"], "time": "since"}
TOWNS = {"on": {"store": "shop"}, "columns": ["town"]}
FEATURES = {
    "list_price": {"kind": "continuous", "fill": -1, "normalize": False},
    "town": {"kind": "categorical"},
}


def prices() -> pl.DataFrame:
    """Of each product a price a week, not in order, and none of the first five days."""
    weeks = [
        (f"i{number}", shop.START + (5 + 7 * week) * shop.DAY, number + week / 10)
        for week in (2, 0, 3, 1)
        for number in range(1, 25)
    ]
    return pl.DataFrame(weeks, schema=["product", "since", "list_price"], orient="row")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = shop.write(tmp_path / "shop", shop.events())
    prices().write_parquet(folder / "prices.parquet")
    (folder / "towns.csv").write_text("shop,town\ns0,Bonn\ns1,Ulm\ns3,Bonn\n")
    return folder


def recipe(folder: Path, **external: Any) -> Any:
    plain = shop.recipe(folder, features={"engine": "polars"}).model_dump(mode="json")
    tables = external or {"prices.parquet": PRICES, "towns.csv": TOWNS}
    plain["source"] |= {
        "features": [],
        "external": [{"path": str(folder / name), **one} for name, one in tables.items()],
    }
    plain["features"] = {"engine": "polars", "event": FEATURES if not external else {}}
    return type(shop.recipe(folder)).model_validate(plain)


def test_an_event_gets_what_was_known_at_its_time(folder: Path, tmp_path: Path) -> None:
    data = Dataset.open(build(recipe(folder), tmp_path / "out"))
    train = pl.DataFrame(data.train)
    source = pl.read_parquet(folder / "events.parquet").with_row_index("ordinal")
    rows = train.select("ordinal").join(source, on="ordinal", how="left", maintain_order="left")
    known = prices().sort("since").rows()

    def at_the_time(sku: str, at: int) -> float:
        fit = [price for product, since, price in known if product == sku and since <= at]
        return fit[-1] if fit else -1.0

    wanted = [at_the_time(sku, at) for sku, at in rows.select("sku", "at").rows()]
    assert train["list_price"].to_list() == pytest.approx(wanted)
    assert -1.0 in wanted
    assert len(set(wanted)) > 20
    towns = {"s0": "Bonn", "s1": "Ulm", "s3": "Bonn"}
    values = pl.DataFrame(data.table("encoder/vocab-town.parquet"))["value"].to_list()
    found = [None if one < 0 else values[one] for one in train["town"]]
    assert found == [towns.get(store) for store in rows["store"]]


REGIONS = {"on": {"town": "place"}, "columns": ["region"]}


def test_a_table_is_looked_up_by_what_another_one_gave(folder: Path, tmp_path: Path) -> None:
    (folder / "regions.csv").write_text("place,region\nBonn,west\nUlm,south\n")
    chained = recipe(folder, **{"towns.csv": TOWNS, "regions.csv": REGIONS}).model_dump(mode="json")
    chained["features"]["event"] = {"region": {"kind": "categorical"}}
    chosen = type(recipe(folder)).model_validate(chained)
    data = Dataset.open(build(chosen, tmp_path / "out"))
    values = pl.DataFrame(data.table("encoder/vocab-region.parquet"))["value"]
    train = pl.DataFrame(data.train)
    source = pl.read_parquet(folder / "events.parquet")["store"].gather(train["ordinal"])
    region = {"s0": "west", "s1": "south", "s3": "west"}
    wanted = [region.get(store or "") for store in source]
    assert [None if one < 0 else values[one] for one in train["region"]] == wanted
    assert_equal(build(chosen, tmp_path / "buckets", buckets=SEVEN), data.path)
    chained["source"]["external"].reverse()
    chained["source"]["features"] = []
    with pytest.raises(ConfigError, match="town is a key of a table before the one that has it"):
        parse(type(chosen), chained, "a recipe")


def test_buckets_give_it_too_and_a_changed_table_is_another_dataset(
    folder: Path, tmp_path: Path
) -> None:
    whole = build(recipe(folder), tmp_path / "out")
    assert_equal(build(recipe(folder), tmp_path / "n", buckets=SEVEN), whole)
    (folder / "towns.csv").write_text("shop,town\ns0,Ulm\n")
    assert build(recipe(folder), tmp_path / "out").name != whole.name


def test_events_that_no_row_fits_are_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys that are written otherwise, as S0 and s0 are, would else be a column of nulls."""
    source = pl.read_parquet(folder / "events.parquet")
    missing = source.height - source.filter(pl.col("store").is_in(["s0", "s1", "s3"])).height
    (folder / "odd.csv").write_text("shop,street\nS0,Main\n")
    tables = {"towns.csv": TOWNS, "odd.csv": {"on": {"store": "shop"}, "columns": ["street"]}}
    whole, parts = recipe(folder, **tables), recipe(folder, **tables)
    notes = [Dataset.open(build(whole, tmp_path / "a")).card.notes]
    notes += [Dataset.open(build(parts, tmp_path / "b", buckets=SEVEN)).card.notes]
    share = f"{missing / source.height:.1%} of the events ({missing:,} of {source.height:,})"
    for found in notes:
        assert any(f"{share} have no town: no row of towns.csv fits" in one for one in found)
        assert any("100.0%" in one and "no street: no row of odd.csv" in one for one in found)
    assert capsys.readouterr().out.count("no row of odd.csv fits") == 2


@pytest.mark.parametrize(("since", "expected"), [(0, 2.0), (1, 1.0)], ids=["then", "later"])
def test_a_row_holds_from_its_own_moment_on(folder: Path, since: int, expected: float) -> None:
    last = shop.START + 30 * shop.DAY
    sku = shop.events().filter(pl.col("at") == last)["sku"][0]
    rows = {"product": [sku, sku], "since": [0, last + since], "list_price": [1.0, 2.0]}
    pl.DataFrame(rows).write_parquet(folder / "prices.parquet")
    events = recipe(folder).source.read().events
    assert events.filter(pl.col("time") == last)["feature:list_price"].to_list() == [expected]


def test_a_day_that_is_appended_gets_its_own(folder: Path, tmp_path: Path) -> None:
    test_append.write_days(folder, 0, 25)

    def by_days() -> Any:
        plain = recipe(folder)
        source = {"events": str(folder / "date=*" / "*.parquet"), "partition": "date"}
        return plain.model_copy(update={"source": plain.source.model_copy(update=source)})

    first = build(by_days(), tmp_path / "out")
    test_append.write_days(folder, 25, 26)
    ours = Dataset.open(append(by_days(), first, tmp_path / "out"))
    full = build(by_days().model_copy(update={"extends": first}), tmp_path / "full")
    assert pl.DataFrame(ours.train).equals(pl.DataFrame(Dataset.open(full).train))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"product": ["i1", "i1"], "list_price": [1, 2]}, r"several rows for 'i1'"),
        (
            {"product": ["i1", "i1"], "list_price": [1, 2], "since": [5, 5]},
            r"several rows of one since for 'i1'",
        ),
        ({"product": ["i1"], "list_price": [1], "since": [None]}, r"row 0.*since: time is null"),
        ({"product": ["i1"], "price": [1]}, r"no column 'list_price'|list_price"),
    ],
    ids=["key", "moment", "no moment", "no column"],
)
def test_a_table_that_does_not_say_which_row_counts_is_refused(
    folder: Path, tmp_path: Path, table: dict[str, Any], message: str
) -> None:
    pl.DataFrame(table).write_parquet(folder / "prices.parquet")
    config = PRICES if "since" in table else {k: v for k, v in PRICES.items() if k != "time"}
    with pytest.raises(DataError, match=message):
        build(recipe(folder, **{"prices.parquet": config}), tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ["list_price", "list_price"]}, "list_price is a column of events or named"),
        ({"on": {}}, "at least 1 item"),
    ],
    ids=["twice", "no key"],
)
def test_a_wrong_external_table_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        recipe(folder, **{"prices.parquet": PRICES | changes})


def test_a_table_looked_up_by_the_label_would_tell_it(folder: Path) -> None:
    plain = recipe(folder).model_dump(mode="json")
    columns = plain["source"]["columns"] | {"label": "sku"}
    plain["source"] |= {"columns": columns}
    changes = {"task": "labels", "target": {"kind": "binary"}}
    with pytest.raises(ValueError, match="a table looked up by it would tell it"):
        type(recipe(folder)).model_validate(plain | changes)
