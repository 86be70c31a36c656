"""From a database to a parquet file, and from there to a dataset."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from falconer.pipelines.errors import ConfigError, DataError, MissingExtraError
from falconer.pipelines.etl.extract import extract
from tests.support import postgres


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = tmp_path / "a shop.db"
    with sqlite3.connect(path) as database:
        database.execute("create table sales (customer text, sku integer, price real)")
        rows = [
            (f"c{place % 7}", place, None if place % 5 == 0 else place / 4) for place in range(3000)
        ]
        database.executemany("insert into sales values (?, ?, ?)", rows)
    database.close()
    return f"sqlite:{path}"


def test_every_row_and_type_comes_over(shop: str, tmp_path: Path) -> None:
    out = tmp_path / "day" / "sales.parquet"
    assert extract(shop, "select * from sales where sku < 2500 order by sku", out) == 2500
    table = pq.ParquetFile(out).read()
    assert [str(field.type) for field in table.schema] == ["string", "int64", "double"]
    assert table.column("sku").to_pylist() == list(range(2500))
    assert table.column("price").to_pylist()[4:6] == [1.0, None]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select * from sails", "no such table: sails"),
        ("select * from sales where sku < 0", "the query gives no row"),
        ("delete from sales", "readonly database"),
        ("", "a shop.db: "),
    ],
    ids=["table", "rows", "write", "nothing"],
)
def test_what_cannot_be_read_is_said_and_what_was_there_stays(
    shop: str, tmp_path: Path, query: str, message: str
) -> None:
    out = tmp_path / "sales.parquet"
    out.write_bytes(b"yesterday")
    with pytest.raises(DataError, match=message):
        extract(shop, query, out)
    assert out.read_bytes() == b"yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a shop.db", "sales.parquet"]


def test_a_column_without_a_value_at_first_has_the_type_of_the_later_ones(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "select case when sku > 2000 then price end as late from sales order by sku"
    extract(shop, query, tmp_path / "late.parquet")
    assert str(pq.ParquetFile(tmp_path / "late.parquet").schema_arrow.field(0).type) == "double"
    monkeypatch.setattr("falconer.pipelines.etl.extract.TOLD_BY", 1000)
    with pytest.raises(DataError, match="the first 1,000 rows tell a column's type: cast it"):
        extract(shop, query, tmp_path / "late.parquet")


def test_an_absent_database_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such database"):
        extract(f"sqlite:{tmp_path / 'none.db'}", "select 1", tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["oracle://me:secret@there/shop", "shop.db"])
def test_another_kind_is_refused_and_no_password_is_shown(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a database is sqlite:PATH or") as refused:
        extract(uri, "select 1", tmp_path / "out.parquet")
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_named_without_a_password(tmp_path: Path) -> None:
    uri = "postgresql://me:secret@127.0.0.1:1/shop"
    with pytest.raises(DataError, match=r"me@127\.0\.0\.1:1/shop") as refused:
        extract(uri, "select 1", tmp_path / "out.parquet")
    assert "secret" not in str(refused.value)


def test_postgresql_gives_the_same_rows(shop: str, tmp_path: Path) -> None:
    query = "select customer, sku, price from sales order by sku"
    extract(shop, query, tmp_path / "sqlite.parquet")
    with postgres.server() as server:
        server.start()
        uri = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
        with psycopg.connect(uri, autocommit=True) as database:
            database.execute(
                "create table sales as select 'c' || n % 7 as customer, n::bigint as sku, "
                "case when n % 5 > 0 then n / 4.0::float8 end as price "
                "from generate_series(0, 2999) as n"
            )
        assert extract(uri, query, tmp_path / "postgresql.parquet") == 3000
        with pytest.raises(DataError, match='relation "sails" does not exist'):
            extract(uri, "select * from sails", tmp_path / "other.parquet")
    one, other = (
        pq.ParquetFile(tmp_path / f"{n}.parquet").read() for n in ("sqlite", "postgresql")
    )
    assert one.equals(other)


def test_a_driver_that_is_not_installed_is_named(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite", None)
    monkeypatch.delitem(sys.modules, "adbc_driver_sqlite.dbapi", raising=False)
    with pytest.raises(MissingExtraError, match=r"falconer\[sql\]"):
        extract(shop, "select 1", tmp_path / "out.parquet")
