"""JSON lines, and folders that tell the day, in memory and in buckets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.append import append
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources.tables import Table, read_table, table_pieces
from tests.unit.pipelines.etl.test_buckets import SEVEN, assert_equal

COLUMNS = {"user": "who", "item": "what", "price": "price"}


def write(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def read(path: Path, columns: dict[str, str] = COLUMNS) -> Table:
    return read_table(path, columns, separator=None, quote='"')


def test_values_stay_as_they_were_written(tmp_path: Path) -> None:
    lines = [
        '{"who": "007", "what": 12345678901234567890, "price": 1.50}',
        "",
        '  {"price": null, "what": true, "who": " a,b\\n\\u00e9"}  ',
        '{"what": "x", "who": "", "more": [1, {"deep": 2}]}',
    ]
    table = read(write(tmp_path / "events.jsonl", lines))
    assert table.rows.to_dict(as_series=False) == {
        "ordinal": [0, 1, 2],
        "user": ["007", " a,b\né", ""],
        "item": ["12345678901234567890", "true", "x"],
        "price": ["1.50", None, None],
    }
    assert table.malformed.is_empty()


FAULTS = {
    "cut": ('{"who": "a", "what": ', "the line is no JSON (Expecting value at character 22)"),
    "a list": ('["a", "b"]', "the line is no JSON object"),
    "a number": ("7", "the line is no JSON object"),
    "not a number": ('{"who": "a", "price": NaN}', "NaN is no number in JSON"),
    "nested": ('{"who": {"id": 1}}', "who is an object, where a number or text is wanted"),
    "many": ('{"who": ["a"]}', "who is a list, where a number or text is wanted"),
    "surrogate": ('{"who": "\\ud800"}', "who holds half a character (a lone surrogate)"),
    "deep": ("[" * 100_000, "the line is no JSON that can be read (too many levels)"),
}


@pytest.mark.parametrize(("line", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_line_that_is_no_row_is_set_apart_with_its_text_and_place(
    tmp_path: Path, line: str, reason: str
) -> None:
    sound = '{"who": "a", "what": "b", "price": 1}'
    table = read(write(tmp_path / "events.ndjson.gz", [sound, "", line, sound]))
    assert table.malformed.rows() == [(1, line, reason)]
    assert table.rows["ordinal"].to_list() == [0, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"who": "a", "what": "b", "cost": 1}\n', "no column 'price'.*It has: 'who', 'what'"),
        (b'{"who": "a"}\n{"who": "\xff"}', r"not UTF-8 at byte 22 \(line 2\)"),
        (b" " * (17 << 20), "line 1 is longer than 16 MB; JSON lines have an object a line"),
        (b'\xff\xfe{\x00"\x00', "is UTF-16"),
        (b"PAR1 and more \xff", "is a parquet file"),
    ],
    ids=["column", "bytes", "long", "utf-16", "parquet"],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(path)


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "events.jsonl.gz", ['{"who": 1}'] * 9)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"events\.jsonl\.gz: not a whole gzip file"):
        read(path)


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries({"who": VALUES, "what": VALUES, "price": VALUES}), max_size=20
    ),
    n_rows=st.sampled_from([1, 3, 100]),
)
def test_what_json_writes_comes_back_whole_and_in_pieces(
    rows: list[dict[str, Any]], n_rows: int
) -> None:
    lines = [json.dumps(row).replace("Infinity", "1e999") for row in rows]
    with TemporaryDirectory() as name:
        path = write(Path(name) / "e.jsonl", ['{"who": 0, "what": 0, "price": 0}', *lines])
        table = read(path)
        pieces = list(table_pieces(path, COLUMNS, n_rows, separator=None, quote='"'))
    for row, found in zip(rows, table.rows[1:].iter_rows(named=True), strict=True):
        for ours, theirs in COLUMNS.items():
            value = row[theirs]
            plain = value if isinstance(value, str) or value is None else json.dumps(value)
            assert found[ours] == (plain and plain.replace("Infinity", "1e999"))
    assert pl.concat(piece.rows for piece in pieces).equals(table.rows)
    assert pieces[0].rows.is_empty()


def days_recipe(folder: Path, **changes: Any) -> EtlRecipe:
    source = {
        "kind": "files",
        "events": str(folder / "*" / "*.jsonl*"),
        "partition": "day",
        "columns": {"user": "who", "item": "what", "time": "day"},
        "features": ["price", "day"],
        "time_unit": "iso",
    }
    values = {
        "name": "lines",
        "source": source,
        "contract": {"max_rejected_share": 0.2},
        "split": {"protocol": "temporal", "test_days": 2, "valid_days": 2},
        "features": {"engine": "polars", "event": {"price": {"kind": "continuous"}}},
    }
    return parse(EtlRecipe, values | changes, "a test's recipe")


def write_day(folder: Path, day: int, *, suffix: str = ".jsonl") -> Path:
    lines = [
        json.dumps({"who": f"u{(place * day) % 7}", "what": place % 5, "price": place / 4})
        for place in range(12)
    ]
    return write(folder / f"day=2024-05-{day:02}" / f"part{suffix}", [*lines, '{"who": ', "{}"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for day in range(1, 10):
        write_day(tmp_path / "in", day, suffix=".jsonl.gz" if day % 2 else ".jsonl")
    return tmp_path / "in"


def test_the_folder_tells_the_day_and_buckets_give_the_same(folder: Path, tmp_path: Path) -> None:
    one = build(days_recipe(folder), tmp_path / "1")
    assert_equal(build(days_recipe(folder), tmp_path / "n", buckets=SEVEN), one)
    data = Dataset.open(one)
    times = pl.from_epoch(pl.Series(data.train.column("time").to_pylist()).unique().sort())
    assert times.dt.to_string("%F").to_list() == [f"2024-05-{day:02}" for day in range(1, 6)]
    rejected = pl.DataFrame(data.table("rejected/events.parquet"))
    assert rejected["row"].to_list()[:2] == [12, 13]
    assert data.card.counts["rejected: user is null"] == 9


def test_a_day_is_appended_to_a_build_in_buckets(folder: Path, tmp_path: Path) -> None:
    roots = [
        build(days_recipe(folder), tmp_path / name, buckets=Buckets(n, 5, 300))
        for name, n in {"1": 1, "n": 7}.items()
    ]
    write_day(folder, 10)
    children = [append(days_recipe(folder), root, root.parent) for root in roots]
    assert_equal(*children)
    assert Dataset.open(children[0]).card.counts["train_events"] == 6 * 12


def test_a_file_in_no_folder_of_a_day_is_named(folder: Path, tmp_path: Path) -> None:
    write(folder / "loose" / "part.jsonl", ['{"who": 1, "what": 2, "price": 3}'])
    with pytest.raises(DataError, match=r"loose/part\.jsonl: is in no folder day=DAY"):
        build(days_recipe(folder), tmp_path / "out")


def test_days_without_times_are_refused(folder: Path) -> None:
    source = {"kind": "files", "events": "x.csv", "partition": "day", "columns": {"user": "who"}}
    with pytest.raises(ConfigError, match=r"columns\.time = 'day' takes the folder's day"):
        days_recipe(folder, source=source)
