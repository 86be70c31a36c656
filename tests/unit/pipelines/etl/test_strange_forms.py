"""Files and dates of forms that nobody asked for: each is named with what helps."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.data.card import card_of, render
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.shown_rows import shown_rows
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.contract import ContractConfig, check
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.sources.files import Files
from tests.support import shop

TEXT = "u,i\n1,a\n2,b\n"


def source(path: Path, **values: Any) -> Files:
    columns = {"user": "u", "item": "i"}
    return Files.model_validate(
        {"kind": "files", "events": str(path), "columns": columns, **values}
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode("utf-32"), r"is UTF-32 .*iconv -f utf-32"),
        (TEXT.encode("utf-16-le"), r"as in UTF-16; .*iconv -f utf-16le"),
        (TEXT.encode("utf-16-be"), r"as in UTF-16; .*iconv -f utf-16be"),
        (TEXT.replace("u", "ü").encode("utf-16-le"), r"as in UTF-16; .*iconv -f utf-16le"),
        (TEXT.replace(",", ";").encode(), r"set source\.separator = ';'"),
        (TEXT.replace(",", "::").encode(), r"set source\.separator = '::'"),
        (b"1,a\n2,b\n", r"set source\.header = false"),
    ],
    ids=[
        "utf-32",
        "utf-16 le",
        "utf-16 be",
        "utf-16 of umlauts",
        "semicolons",
        "colons",
        "no header",
    ],
)
def test_the_form_of_a_text_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "e.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        source(tmp_path / "e.csv").read()


def far(n: int) -> pl.DataFrame:
    """Events, the last of them in the year -1146."""
    seconds = [1_700_000_000 + 60 * place for place in range(n - 1)] + [-98_300_000_000]
    times = (pl.Series(seconds) * 1000).cast(pl.Datetime("ms"))
    ids = [place % 7 for place in range(n)]
    return pl.DataFrame({"user": ids, "item": [place % 5 for place in range(n)], "time": times})


def test_a_date_that_no_calendar_has_is_shown_as_text() -> None:
    rows = far(3)
    assert shown_rows(rows.head(1).to_arrow())[0]["time"] == datetime(2023, 11, 14, 22, 13, 20)
    assert shown_rows(rows.to_arrow())[2]["time"].startswith("-1146-")
    events = rows.with_row_index("ordinal").cast({"ordinal": pl.Int64})
    with pytest.raises(DataError, match=r"time is before 1980.*time='-1146-"):
        check(Raw(events=events), ContractConfig())


def test_such_a_date_stands_on_the_card_of_its_dataset(tmp_path: Path) -> None:
    far(400).rename({"user": "customer", "item": "sku", "time": "at"}).write_parquet(
        tmp_path / "events.parquet"
    )
    columns = {"user": "customer", "item": "sku", "time": "at"}
    files = {"kind": "files", "events": str(tmp_path / "events.parquet"), "columns": columns}
    bare = {"source": files, "features": {"engine": "polars"}, "split": "leave_last"}
    data = Dataset.open(build(shop.recipe(tmp_path, **bare), tmp_path / "out"))
    assert "-1146-" in render(data, card_of(data))
