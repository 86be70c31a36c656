"""Ids are what the source means by them, in whatever type they come."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from falconer.pipelines.config import parse
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.contract import Checked, ContractConfig, check
from falconer.pipelines.etl.sources.files import Files
from falconer.pipelines.etl.split import split
from falconer.pipelines.etl.split.config import LeaveLast

LENIENT = ContractConfig(max_rejected_share=1.0)


def source(path: Path | str, **values: Any) -> Files:
    columns = values.pop("columns", {"user": "u", "item": "i"})
    return parse(
        Files, {"kind": "files", "events": str(path), "columns": columns, **values}, "test"
    )


def checked(folder: Path, users: pa.Array, **values: Any) -> Checked:
    table = pa.table({"u": users, "i": [f"i{row % 2}" for row in range(len(users))]})
    pq.write_table(table, folder / "e.parquet")
    return check(source(folder / "e.parquet", **values).read(), LENIENT)


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        (pa.array([Decimal(7), Decimal(8)], pa.decimal128(38, 0)), [7, 8]),
        (pa.array([Decimal(2**70)], pa.decimal128(38, 0)), [str(2**70)]),
        (pa.array([Decimal(7)], pa.decimal256(60, 0)), [7]),
        (pa.array([2**63 + 5, 1], pa.uint64()), [str(2**63 + 5), "1"]),
        (pa.array([5, 1], pa.uint64()), [5, 1]),
        (pa.array([5.0, 1.0], pa.float32()), [5, 1]),
        (pa.array([b"a", b"b"]), ["a", "b"]),
    ],
)
def test_whole_numbers_of_any_width_are_ids(
    tmp_path: Path, users: pa.Array, expected: list[Any]
) -> None:
    assert checked(tmp_path, users).raw.events["user"].to_list() == expected


@pytest.mark.parametrize(("bits", "digits"), [(16, 11), (32, 24), (64, 53)])
def test_a_float_beyond_its_digits_is_rejected(tmp_path: Path, bits: int, digits: int) -> None:
    users = pa.array(np.array([2**digits, 2**digits + 2, 3]).astype(f"float{bits}"))
    result = checked(tmp_path, users)
    assert result.raw.events["user"].to_list() == [2**digits, 3]
    assert result.counts[f"rejected: user is too large to be exact in {bits} bits"] == 1


@pytest.mark.parametrize(
    ("users", "advice"),
    [
        (pa.array([[1], [2]]), "joined by"),
        (pa.array([{"a": 1}]), "joined by"),
        (pa.array([b"\xff"]), "hexadecimal"),
        (pa.array([timedelta(1)]), "number of seconds"),
        (pa.array([True]), "whole numbers or text"),
        (pa.array([Decimal("1.5")], pa.decimal128(5, 2)), "whole numbers or text"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "joined by"),
    ],
)
def test_other_types_are_refused_with_the_cast_that_helps(
    tmp_path: Path, users: pa.Array, advice: str
) -> None:
    with pytest.raises(DataError, match=rf"column 'user' holds .*{advice}"):
        checked(tmp_path, users)


@pytest.mark.parametrize(
    "null", [r"\N", "None", "NULL", "<NA>", "(null)", " null ", "none", "#N/A", "undefined"]
)
def test_a_null_written_as_text_is_rejected_and_counted(tmp_path: Path, null: str) -> None:
    result = checked(tmp_path, pa.array(["a", null, "Nonesuch"]))
    assert result.raw.events["user"].to_list() == ["a", "Nonesuch"]
    assert result.counts["rejected: user is a null written as text"] == 1


def test_floats_beside_text_are_the_same_ids(tmp_path: Path) -> None:
    pl.DataFrame({"u": [1.0, 2.0], "i": ["a", "b"]}).write_parquet(tmp_path / "e-1.parquet")
    pl.DataFrame({"u": ["2", "x"], "i": ["a", "b"]}).write_parquet(tmp_path / "e-2.parquet")
    events = check(source(tmp_path / "e-*.parquet").read(), LENIENT).raw.events
    assert events["user"].to_list() == ["1", "2", "2", "x"]


@pytest.mark.parametrize("pair", [("a", " a"), ("7", "7.0"), ("7", "007"), ("é", "e\u0301")])
def test_ids_that_look_alike_are_noted_with_their_number(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    notes = checked(tmp_path, pa.array([*pair, "x", "y"])).raw.notes
    assert any(note.startswith("2 user ids differ from another only by") for note in notes)
    assert checked(tmp_path, pa.array(["a", "b"])).raw.notes == ()


def test_an_id_type_can_be_forced(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("u,i\n1,2\n3,4\n")
    raw = source(path, types={"user": "text"})
    assert raw.types == {"user": "text"}
    events = check(raw.read(), LENIENT, id_types={"user": pl.String()}).raw.events
    assert (events["user"].to_list(), events["item"].to_list()) == (["1", "3"], [2, 4])
    path.write_text("u,i\nx,2\n")
    with pytest.raises(DataError, match="wanted as whole numbers"):
        check(raw.read(), LENIENT, id_types={"user": pl.Int64()})


@pytest.mark.parametrize(
    "zone", ["+05:30", "-03:30", "+05:45", "Z", "UTC", "Asia/Kolkata", "local"]
)
def test_instants_count_whatever_their_zone_is_called(tmp_path: Path, zone: str) -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2024, 5, 31, 12, tzinfo=kolkata)
    times = pa.array([moment.astimezone(UTC).replace(tzinfo=None)], pa.timestamp("us")).cast(
        pa.int64()
    )
    times = times.cast(pa.timestamp("us", tz=zone))
    pq.write_table(pa.table({"u": [1], "i": [2], "t": times}), tmp_path / "e.parquet")
    raw = source(tmp_path / "e.parquet", columns={"user": "u", "item": "i", "time": "t"}).read()
    assert check(raw, LENIENT).raw.events["time"].to_list() == [int(moment.timestamp())]


def test_names_of_zones_are_refused() -> None:
    with pytest.raises(ConfigError, match="names of zones are not read"):
        source("e.csv", time_unit="%Y-%m-%d %Z")


@pytest.mark.parametrize("name", ["e.csv.gz", "e.csv"])
@pytest.mark.parametrize("text", ["u,i\n1,a\n2,b\n", "u, i\n1, a\n2, b\n"])
def test_text_may_be_compressed_and_have_blanks(tmp_path: Path, name: str, text: str) -> None:
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    events = check(source(tmp_path / name).read(), LENIENT).raw.events
    assert (events["user"].to_list(), events["item"].to_list()) == ([1, 2], ["a", "b"])


def test_a_cut_gzip_file_is_one_clear_error(tmp_path: Path) -> None:
    whole = gzip.compress(b"u,i\n" + b"1,a\n" * 1000)
    (tmp_path / "e.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a whole gzip file"):
        source(tmp_path / "e.csv.gz").read()


def test_files_without_a_header_have_numbered_columns(tmp_path: Path) -> None:
    (tmp_path / "e.dat").write_text("1\ta\n2\tb\n3\n")
    raw = source(tmp_path / "e.dat", header=False, columns={"user": "1", "item": "2"}).read()
    result = check(raw, LENIENT)
    assert result.raw.events["user"].to_list() == [1, 2]
    assert result.raw.events["ordinal"].to_list() == [0, 1]
    assert result.rejected["events"]["row"].to_list() == [2]


def test_recboles_atomic_files_are_read_by_their_plain_names(tmp_path: Path) -> None:
    (tmp_path / "e.inter").write_text("user_id:token\titem_id:token\n1\ta\n")
    columns = {"user": "user_id", "item": "item_id"}
    assert source(tmp_path / "e.inter", columns=columns).read().events["item"].to_list() == ["a"]


@pytest.mark.parametrize("order", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named(tmp_path: Path, order: str) -> None:
    mark = "" if order == "utf-16" else "\ufeff"
    (tmp_path / "e.csv").write_bytes(f"{mark}u,i\n1,é\n".encode(order))
    with pytest.raises(DataError, match=r"is UTF-16 .*iconv -f utf-16"):
        source(tmp_path / "e.csv").read()


def test_one_repeated_row_does_not_change_the_views() -> None:
    rows = [(user, item, 10 * user + item) for user in range(20) for item in range(10)]

    def views(extra: list[tuple[int, int, int]]) -> tuple[str, ...]:
        events = pl.DataFrame(rows + extra, schema=["user", "item", "time"], orient="row")
        events = events.with_row_index("ordinal").with_columns(pl.col("ordinal").cast(pl.Int64))
        return split(events, LeaveLast(protocol="leave_last")).card.views

    assert views([]) == views([(0, 0, 900)]) == ("novel",)
    assert views([(user, 0, 900 + user) for user in range(10)]) == ("all", "repeat", "novel")


def test_numbers_that_a_dataset_cannot_hold_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("u,i,w\n1,2,3\n2,2,1e300\n3,2,-4e38\n")
    columns = {"user": "u", "item": "i", "weight": "w"}
    result = check(source(tmp_path / "e.csv", columns=columns).read(), LENIENT)
    assert result.raw.events["weight"].to_list() == [3.0]
    assert result.counts["rejected: weight is beyond float32"] == 2
