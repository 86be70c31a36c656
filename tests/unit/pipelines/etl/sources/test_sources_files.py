"""Anybody's files: what is read is what was written, whatever the ids look like."""

from __future__ import annotations

import csv
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.contract import Checked, ContractConfig, check
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.sources.files import Files
from falconer.pipelines.etl.sources.tables import read_table
from tests.support.features import named

LENIENT = ContractConfig(max_rejected_share=1.0)
COLUMNS = {"user": "u", "item": "i"}


def source(**values: Any) -> Files:
    return Files.model_validate({"kind": "files", "columns": COLUMNS, **values})


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def read(path: Path, **values: Any) -> Raw:
    return source(events=str(path), **values).read()


def checked(path: Path, **values: Any) -> Checked:
    return check(read(path, **values), ContractConfig())


def test_columns_get_canonical_names_and_values_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "when,u,i,price\n2024-05-31,007,x y,1.50\n,,,\n")
    raw = read(path, columns={**COLUMNS, "time": "when"}, features=["price"], time_unit="iso")
    assert named(raw.events).columns == ["ordinal", "user", "item", "time", "price"]
    assert raw.events.rows() == [
        (0, "007", "x y", "2024-05-31", "1.50"),
        (1, None, None, None, None),
    ]


def test_a_file_without_an_ending_is_text_where_a_separator_is_set(tmp_path: Path) -> None:
    path = write(tmp_path / "day_0", "u|i\n1|2\n")
    assert read(path, separator="|").events.rows() == [(0, "1", "2")]
    with pytest.raises(DataError, match=r"unknown kind of file.*source.separator for one without"):
        read(path)


def test_separator_follows_the_suffix_or_the_recipe(tmp_path: Path) -> None:
    tabs = write(tmp_path / "a.tsv", "u\ti\n1\t2\n")
    semicolons = write(tmp_path / "a.csv", "u;i\n1;2\n")
    assert read(tabs).events.equals(read(semicolons, separator=";").events)


def test_quoted_values_keep_separators_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'u,i\n"a,b","say ""hi""\nthere"\n"",2\n')
    assert read(path).events.rows() == [(0, "a,b", 'say "hi"\nthere'), (1, "", "2")]


def test_without_a_quote_character_quotes_are_ordinary(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'u,i\n1,12" pipe\n2,"x\n')
    assert read(path, quote="").events["item"].to_list() == ['12" pipe', '"x']


def test_byte_order_mark_and_windows_line_ends_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfu,i\r\n1,2\r\n")
    assert read(tmp_path / "a.csv").events.rows() == [(0, "1", "2")]


def test_a_glob_reads_files_in_name_order_and_numbers_rows_on(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", "i,u\n9,3\n")
    write(tmp_path / "a.csv", "u,i\n1,7\n2,8\n")
    raw = source(events=str(tmp_path / "*.csv")).read()
    assert raw.events.rows() == [(0, "1", "7"), (1, "2", "8"), (2, "3", "9")]
    assert [(Path(name).name, rows) for name, rows in raw.files] == [("a.csv", 2), ("b.csv", 1)]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "u,i\n1,7\n")
    assert source(events=[str(path), str(tmp_path / "*.csv")]).read().events.height == 1


def test_a_path_with_glob_characters_that_exists_is_that_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a[1].csv", "u,i\n1,7\n")
    assert read(path).events.height == 1


def test_relative_paths_start_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.csv", "u,i\n1,7\n")
    monkeypatch.chdir(tmp_path)
    assert list(source(events="*.csv").files()) == ["a.csv"]
    assert source(events="a.csv").read().events.height == 1


def test_entity_tables_bring_labels_and_features(tmp_path: Path) -> None:
    events = write(tmp_path / "e.csv", "u,i\n1,7\n")
    items = write(tmp_path / "items.csv", "sku,name,dept\n7,Milk,Dairy\n8,Bread,Bakery\n")
    pl.DataFrame({"id": [1], "age": [30]}).write_parquet(tmp_path / "users.parquet")
    config = source(
        events=str(events),
        items={"path": str(items), "key": "sku", "label": "name", "features": ["dept"]},
        users={"path": str(tmp_path / "users.parquet"), "key": "id", "features": ["age"]},
    )
    assert {Path(name).name for name in config.files()} == {"e.csv", "items.csv", "users.parquet"}
    raw = check(config.read(), ContractConfig()).raw
    assert raw.items is not None
    assert raw.users is not None
    assert named(raw.items).to_dicts()[1] == {"item": 8, "label": "Bread", "dept": "Bakery"}
    assert named(raw.users).to_dicts() == [{"user": 1, "age": 30}]


def test_parquet_types_stay_and_date_times_need_no_unit(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    when = datetime(2024, 5, 31, 12)
    pl.DataFrame({"u": [1, 2], "i": ["a", "b"], "t": [when, when]}).write_parquet(path)
    events = checked(path, columns={**COLUMNS, "time": "t"}).raw.events
    assert events["time"].to_list() == [1717156800, 1717156800]
    assert events.schema["user"] == pl.Int64
    assert events.schema["item"] == pl.String


def test_one_column_may_serve_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "u,i,q\n1,7,3\n")
    raw = read(path, columns={**COLUMNS, "weight": "q"}, features=["q"])
    assert raw.events.rows() == [(0, "1", "7", "3", "3")]


def test_rows_of_another_width_are_set_apart_with_their_text_and_place(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "u,i\n" + "1,2\n" * 150 + "1,2,3\n\n" + "3,4\n" * 150 + "5\n" + "6,7\n"
    )
    result = checked(path)
    assert result.rejected["events"].select("row", "source_text", "reason").rows() == [
        (150, "1,2,3", "3 fields where the header has 2"),
        (301, "5", "1 fields where the header has 2"),
    ]
    assert result.raw.events["ordinal"].to_list() == [*range(150), *range(151, 301), 302]
    assert result.counts["rows_read"] == 303


def test_rows_are_numbered_right_after_values_of_many_lines_and_blank_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.pipelines.etl.sources.delimited.CHUNK_BYTES", 40)
    body = ['1,"a\nb\nc"', "", "2,x", "3,x,x", "", '4,"d\ne"', "5", "6,y"]
    result = check(read(write(tmp_path / "a.csv", "\n".join(["u,i", *body]))), LENIENT)
    assert result.rejected["events"].select("row", "source_text").rows() == [(2, "3,x,x"), (4, "5")]
    assert result.raw.events.select("ordinal", "user").rows() == [(0, 1), (1, 2), (3, 4), (5, 6)]


def test_event_files_of_two_types_are_named(tmp_path: Path) -> None:
    pl.DataFrame({"u": [1], "i": [1]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"u": [[1]], "i": [1]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(
        DataError, match=r"(?s)do not agree.*a\.parquet: user Int64.*b\.parquet: user List"
    ):
        source(events=str(tmp_path / "*.parquet")).read()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"time_unit": "minutes"}, "time_unit: .*must be one of s, ms, us, ns, iso"),
        ({"features": ["a", "a"]}, "features: .*named twice"),
        ({"separator": ",,,,,"}, "separator: "),
        ({"separator": "§"}, "separator: "),
        ({"quote": "\n"}, "quote: "),
        ({"separator": "'", "quote": "'"}, "separator and quote are both"),
        ({"coluns": {}}, "did you mean 'columns'"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything_is_read(
    values: dict[str, Any], message: str
) -> None:
    from falconer.pipelines.config import parse

    with pytest.raises(ConfigError, match=message):
        parse(
            Files, {"kind": "files", "events": "x.csv", "columns": COLUMNS, **values}, "recipe.toml"
        )


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=6)
fields = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    texts,
    st.sampled_from(["007", "0", "-0", "+1", '"', ","]),
)
tables = st.lists(st.tuples(fields, fields), min_size=1, max_size=20)


@settings(deadline=None)
@given(rows=tables)
def test_csv_values_come_back_as_they_were_written(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("u", "i"), *rows])
        table = read_table(path, COLUMNS, separator=None, quote='"')
    assert table.rows.select("user", "item").rows() == rows


lines = st.sampled_from(
    ["1,2", "a,b", ",5", "7,", "1", "1,2,3", "nan,4", '"x,y",2', '" ",2', "007,1"]
)


@settings(deadline=None)
@given(
    body=st.lists(lines, min_size=1, max_size=30).filter(
        lambda body: any(line in body for line in ("1,2", "a,b"))
    )
)
def test_every_row_read_is_either_kept_or_rejected(body: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.csv", "\n".join(["u,i", *body]))
        result = check(read(path), LENIENT)
    rejected = result.rejected.get("events", pl.DataFrame({"row": []}, schema={"row": pl.Int64}))
    assert sorted([*result.raw.events["ordinal"], *rejected["row"]]) == list(range(len(body)))
    assert result.counts["rows_read"] == len(body)
    assert (
        sum(count for name, count in result.counts.items() if "rejected" in name) == rejected.height
    )


@settings(deadline=None)
@given(
    ids=st.lists(
        st.one_of(st.integers(-(2**63), 2**63 - 1).map(str), st.just("007")),
        min_size=1,
        max_size=10,
    )
)
def test_ids_are_numbers_only_if_each_is_written_like_one(ids: list[str]) -> None:
    events = pl.DataFrame({"ordinal": range(len(ids)), "user": ids, "item": ["a"] * len(ids)})
    users = check(Raw(events), ContractConfig()).raw.events["user"]
    assert users.cast(pl.String).to_list() == ids
    assert (users.dtype == pl.String) == ("007" in ids)
