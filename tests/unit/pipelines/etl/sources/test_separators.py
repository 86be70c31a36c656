"""Separators of several characters, and files that are no text at all."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.sources.files import Files
from falconer.pipelines.etl.sources.separators import UNIT, OneSeparator

COLUMNS = {"user": "user", "item": "item", "time": "time"}
TEXT = b"user::item::time\nu1::a:b::1\nu2:::c::2\nu3::d\nu4::e::4\n"


def files(path: Path, separator: str, *, header: bool = True) -> Files:
    columns = COLUMNS if header else {"user": "1", "item": "2", "time": "3"}
    return Files.model_validate(
        {
            "kind": "files", "events": str(path), "columns": columns, "separator": separator,
            "header": header,
        }
    )  # fmt: skip


@given(
    st.text("ab:|", max_size=60), st.sampled_from(["::", ":|", "||:", "::::"]), st.integers(1, 9)
)
def test_it_is_what_replacing_in_the_whole_gives(text: str, separator: str, size: int) -> None:
    made = OneSeparator(io.BytesIO(text.encode()), separator, size).readall()
    assert made is not None
    assert made.decode() == text.replace(separator, UNIT)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_fields_between_two_characters_are_read(tmp_path: Path, *, packed: bool) -> None:
    path = tmp_path / ("e.dat.gz" if packed else "e.dat")
    path.write_bytes(gzip.compress(TEXT, mtime=0) if packed else TEXT)
    raw = files(path, "::").read()
    assert raw.events.select("user", "item", "time").rows() == [
        ("u1", "a:b", "1"),
        ("u2", ":c", "2"),
        ("u4", "e", "4"),
    ]
    assert raw.malformed["events"]["source_text"].to_list() == ["u3::d"]


def test_a_file_of_movielens_kind_has_no_header(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(b"1::1193::978300760\n2::661::978302109\n")
    assert files(tmp_path / "r.dat", "::", header=False).read().events["item"].to_list() == [
        "1193",
        "661",
    ]


def test_the_character_that_stands_for_the_separator_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.dat").write_bytes(TEXT + b"u5::\x1f::5\n")
    with pytest.raises(DataError, match=r"e\.dat: cannot be parted at '::'.*'\\x1f' stands in it"):
        files(tmp_path / "e.dat", "::").read()


@pytest.mark.parametrize(
    ("start", "advice"),
    [(b"PAR1\xff", r"\.parquet"), (b"\x1f\x8b\xff", r"\.gz"), (b"PK\x03\x04\xff", "zip archive")],
    ids=["parquet", "gzip", "zip"],
)
def test_a_file_under_a_wrong_name_is_told_what_it_is(
    tmp_path: Path, start: bytes, advice: str
) -> None:
    (tmp_path / "e.csv").write_bytes(start + b"\xfe" * 40)
    with pytest.raises(DataError, match=rf"e\.csv: is .*{advice}"):
        files(tmp_path / "e.csv", ",").read()
