"""What people really bring: each bad file is one clear error, each bad row is set apart and
counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.clean import CleanConfig, clean
from falconer.pipelines.etl.contract import Checked, ContractConfig, check
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.sources.files import Files

COLUMNS = {"user": "user", "item": "item", "time": "time", "weight": "weight"}
SOUND = "user,item,time,weight\n" + "".join(
    f"u{n},i{n},{1_700_000_000 + n},1\n" for n in range(200)
)


def files(path: Path, **values: Any) -> Files:
    return Files.model_validate(
        {"kind": "files", "events": str(path), "columns": COLUMNS, **values}
    )


def write(folder: Path, content: str | bytes, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def ingest(path: Path, **values: Any) -> Checked:
    source = files(path, **values)
    source.files()
    return check(source.read(), ContractConfig())


def message_of(path: Path, **values: Any) -> str:
    with pytest.raises(DataError) as caught:
        ingest(path, **values)
    assert str(path.parent) in str(caught.value)
    return str(caught.value)


def test_missing_column_lists_what_there_is_and_the_nearest(tmp_path: Path) -> None:
    message = message_of(write(tmp_path, "User,items,time,weight\n1,2,3,4\n"))
    assert (
        "no column 'user' (did you mean 'User'?); no column 'item' (did you mean 'items'?)"
        in message
    )
    assert "It has: 'User', 'items', 'time', 'weight'" in message


def test_missing_column_of_a_parquet_file(tmp_path: Path) -> None:
    pl.DataFrame({"user": [1], "itm": [2]}).write_parquet(tmp_path / "events.parquet")
    message = message_of(tmp_path / "events.parquet", columns={"user": "user", "item": "item"})
    assert "no column 'item' (did you mean 'itm'?). It has: 'user', 'itm'" in message


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    assert "two columns are called 'user'" in message_of(
        write(tmp_path, "user,user,item,time,weight\n1,2,3,4,5\n")
    )


@pytest.mark.parametrize(
    ("column", "values"),
    [("user", [[1]]), ("item", [True]), ("time", [[1]]), ("weight", [{"kg": 1}])],
)
def test_wrong_type(tmp_path: Path, column: str, values: list[Any]) -> None:
    path = tmp_path / "events.parquet"
    pl.DataFrame(
        {"user": [1], "item": [1], "time": [1_700_000_000], "weight": [1], column: values}
    ).write_parquet(path)
    with pytest.raises(
        DataError, match=f"events: column '{column}' holds .*; choose another column"
    ):
        ingest(path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",i,1700000000,1", "user is null"),
        ('"",i,1700000000,1', "user is empty"),
        ("u,NaN,1700000000,1", "item is NaN"),
        ("u,i,1700000000,inf", "weight is not finite"),
        ("u,i,1700000000,two", "weight is not a number"),
        ("u,i,,1", "time is null"),
        ("u,i,yesterday,1", "time is not a time"),
        ("u,i,7700000000,1", "time is in the future"),
        ("u,i,1700000000000,1", "time looks like milliseconds"),
        ("u,i,-1,1", "time is before 1980-01-01"),
        ("u,i", "2 fields where the header has 4"),
        ("u,i,1700000000,1,1", "5 fields where the header has 4"),
    ],
)
def test_a_bad_row_is_set_apart_and_the_rest_goes_on(tmp_path: Path, row: str, reason: str) -> None:
    result = ingest(write(tmp_path, SOUND + row + "\n"))
    assert result.raw.events.height == 200
    assert result.rejected["events"].select("row", "reason").rows() == [(200, reason)]
    assert result.counts == {"rows_read": 201, f"rejected: {reason}": 1}


def test_times_in_milliseconds_say_what_to_set(tmp_path: Path) -> None:
    path = write(tmp_path, "user,item,time,weight\n" + "1,2,1700000000123,1\n" * 3)
    message = message_of(path)
    assert "3 x time looks like milliseconds" in message
    assert 'set time_unit = "ms" under [source]' in message
    assert ingest(path, time_unit="ms").raw.events["time"].to_list() == [1_700_000_000] * 3


def test_seconds_taken_for_milliseconds_are_noticed(tmp_path: Path) -> None:
    assert "in a coarser unit than source.time_unit says" in message_of(
        write(tmp_path, SOUND), time_unit="ms"
    )


def test_duplicate_events_are_dropped_and_counted(tmp_path: Path) -> None:
    events = ingest(write(tmp_path, SOUND + SOUND.splitlines()[1] + "\n")).raw.events
    assert clean(events, CleanConfig(deduplicate="events"))[1] == {"dropped: duplicate event": 1}
    assert clean(events, CleanConfig())[1] == {"duplicate events kept": 1}


@pytest.mark.parametrize("name", ["events.csv", "events.parquet"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    assert "the file is empty" in message_of(write(tmp_path, b"", name))


def test_file_of_blank_lines(tmp_path: Path) -> None:
    assert "the file is empty" in message_of(write(tmp_path, "\n \n"))


@pytest.mark.parametrize("end", ["", "\n"])
def test_header_alone(tmp_path: Path, end: str) -> None:
    with pytest.raises(DataError, match="events: no row is left"):
        ingest(write(tmp_path, "user,item,time,weight" + end))


def test_truncated_parquet(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pl.DataFrame(
        {"user": range(5000), "item": range(5000), "time": range(5000), "weight": range(5000)}
    ).write_parquet(whole)
    content = whole.read_bytes()
    for size in (1, 4, 11, 12, len(content) // 2, len(content) - 4, len(content) - 1):
        assert "not a whole parquet file" in message_of(
            write(tmp_path, content[:size], "events.parquet")
        )


def test_damaged_parquet(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pl.DataFrame(
        {"user": range(5000), "item": range(5000), "time": range(5000), "weight": range(5000)}
    ).write_parquet(whole)
    content = bytearray(whole.read_bytes())
    content[5:60] = bytes(55)
    assert "not a whole parquet file" in message_of(
        write(tmp_path, bytes(content), "events.parquet")
    )


def test_text_called_parquet(tmp_path: Path) -> None:
    assert "not a whole parquet file" in message_of(write(tmp_path, SOUND, "events.parquet"))


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"user,item,time,weight\n1,caf\xe9,3,4\n", "at byte 27 (line 2)"),
        (b"us\xe9r,item,time,weight\n1,2,3,4\n", "at byte 2 (line 1)"),
        (b"user,item,time,weight\n1,2,3,caf\xc3", "ends in the middle of a character"),
        (b"user,item,time,weight,note\n1,2,3,4,caf\xe9\n", "at byte 38 (line 2)"),
    ],
)
def test_invalid_utf8_names_byte_and_line(tmp_path: Path, content: bytes, where: str) -> None:
    message = message_of(write(tmp_path, content))
    assert "not UTF-8" in message
    assert where in message


def test_invalid_utf8_is_found_where_a_character_spans_two_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.pipelines.etl.sources.delimited.CHUNK_BYTES", 29)
    path = write(tmp_path, "user,item,time,weight\nuu,cafééé,1700000000,1\n")
    assert ingest(path).raw.events["item"].to_list() == ["cafééé"]
    content = path.read_bytes()
    assert content[28:30] == "é".encode()  # the first read ends inside this character
    assert "at byte 28 (line 2)" in message_of(write(tmp_path, content[:29] + b"!" + content[30:]))


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ('a,"b,1700000000,1', 202),
        *(('a,"b,1700000000,1\n' + "e,f,1,1\n" * n + 'c,"d,1700000000,1', 202) for n in range(3)),
    ],
    ids=["one", "two", "two with a line between", "two with two lines between"],
)
def test_a_quote_that_does_not_close_swallows_no_rows(tmp_path: Path, row: str, line: int) -> None:
    message = message_of(write(tmp_path, SOUND + row + "\n" + SOUND.partition("\n")[2]))
    assert f"line {line}: a quote" in message
    assert 'set quote = ""' in message


def test_quotes_inside_a_field_are_ordinary(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND + 'a,12" pipe,1700000000,1\n')
    assert ingest(path).raw.events["item"][-1] == '12" pipe'


@pytest.mark.parametrize(
    "kind", ["directory", "missing", "glob", "pattern", "nul", "user", "suffix", "none"]
)
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path, SOUND, "events.xlsx")
    path, message = {
        "directory": ("folder", "is a directory; name its files"),
        "missing": ("nowhere.csv", "no such file"),
        "glob": ("*.csv", "no file fits"),
        "pattern": ("**.csv", "not a usable pattern"),
        "nul": ("a\0b.csv", "cannot be read"),
        "user": ("~nobody-of-this-name/a.csv", "no such file"),
        "suffix": ("events.xlsx", "its name must end in .parquet, .pq, .csv"),
        "none": ("", ""),
    }[kind]
    if kind == "none":
        with pytest.raises(DataError, match="names no file"):
            Files.model_validate({"kind": "files", "events": [], "columns": COLUMNS}).files()
        return
    assert message in message_of(tmp_path / path)


@pytest.mark.parametrize(("user", "item"), [("u{n}", "only"), ("only", "i{n}"), ("only", "only")])
def test_one_user_or_one_item_is_sound(tmp_path: Path, user: str, item: str) -> None:
    rows = [f"{user.format(n=n)},{item.format(n=n)},{1_700_000_000 + n},1" for n in range(3)]
    events = ingest(write(tmp_path, "\n".join(["user,item,time,weight", *rows]))).raw.events
    assert clean(events, CleanConfig())[0].height == 3


def test_a_row_too_long_to_read_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.pipelines.etl.sources.delimited.CHUNK_BYTES", 1000)
    assert "cannot be read as text" in message_of(
        write(tmp_path, SOUND + "u," + "x" * 5000 + ",1700000000,1\n")
    )


@pytest.mark.parametrize(("rule", "label"), [("first", "old"), ("last", "new")])
def test_of_two_rows_for_one_item_the_one_counts_that_is_asked_for(rule: str, label: str) -> None:
    items = pl.DataFrame({"item": ["a", "b", "a"], "label": ["old", "other", "new"]})
    events = pl.DataFrame({"ordinal": [0], "user": ["u"], "item": ["a"], "time": [1_700_000_000]})
    config = ContractConfig.model_validate({"repeated_keys": rule})
    checked = check(Raw(events=events, items=items, time_unit="s"), config)
    assert checked.raw.items is not None
    assert dict(checked.raw.items.sort("item").iter_rows()) == {"a": label, "b": "other"}
    assert checked.rejected["items"].height == 1
    other = {"first": "an earlier", "last": "a later"}[rule]
    assert checked.counts[f"items rejected: item is a duplicate of {other} row"] == 1


def test_two_rows_for_one_item_can_be_refused() -> None:
    items = pl.DataFrame({"item": ["a", "b", "a"], "label": ["old", "other", "new"]})
    events = pl.DataFrame({"ordinal": [0], "user": ["u"], "item": ["a"], "time": [1_700_000_000]})
    config = ContractConfig.model_validate({"repeated_keys": "refuse"})
    with pytest.raises(
        DataError, match="items: 1 rows repeat the item of an earlier row, first 'a'"
    ):
        check(Raw(events=events, items=items, time_unit="s"), config)
