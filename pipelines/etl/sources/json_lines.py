"""JSON lines as text: an object a line, of which chosen keys are columns; a line that is none is
set apart."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.columns import ESCAPES, UNIT
from falconer.pipelines.etl.sources.delimited import CHUNK_BYTES, MALFORMED, not_utf8, unpacked

JSON_LINES = (".jsonl", ".ndjson")
MOST_ROWS = 2**16
"""In one piece: Python's own objects take many times the memory of a column's."""


class JsonLines:
    """The lines of one file, compressed (.gz) or not, of which `columns` (our name -> key) are
    read, and of these `lists` as `columns.joined` has them. `pieces` reads them once, and `keys`
    and `malformed` (`delimited.MALFORMED`) are whole after that."""

    def __init__(self, path: Path, columns: Mapping[str, str], lists: Collection[str] = ()) -> None:
        self.path, self._columns = path, dict(columns)
        self._texts = {ours: _list_text if ours in lists else _text for ours in columns}
        self.keys: dict[str, None] = {}
        self._misfits: list[tuple[int, str, str]] = []

    @property
    def malformed(self) -> pl.DataFrame:
        """The lines that are no rows."""
        return pl.DataFrame(self._misfits, schema=MALFORMED, orient="row")

    def pieces(self, n_rows: int = MOST_ROWS) -> Iterator[pl.DataFrame]:
        """At most `n_rows` rows at a time, as `delimited.read_delimited` has them: every value is
        the text that was written, and an absent one or `null` is null. The first piece has no row.

        Raises `DataError` where a line is not UTF-8, or longer than can be read.
        """
        yield self._frame([])
        rows: list[list[Any]] = []
        for number, line in self._lines():
            if (values := self._values(number, line)) is not None:
                rows.append([number, *values])
            if len(rows) >= min(n_rows, MOST_ROWS):
                yield self._frame(rows)
                rows = []
        yield self._frame(rows)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of each line that is not blank."""
        number = position = lines = 0
        with unpacked(self.path) as stream:
            while line := stream.readline(CHUNK_BYTES):
                if len(line) == CHUNK_BYTES:
                    raise DataError(
                        f"{self.path}: line {lines + 1} is longer than {CHUNK_BYTES >> 20} MB; "
                        "JSON lines have an object a line, and are not one array"
                    )
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    place = position + error.start
                    raise not_utf8(self.path, line, place, lines, position) from error
                text = text.removeprefix("\ufeff" if position == 0 else "").rstrip("\r\n")
                position, lines = position + len(line), lines + 1
                if text.strip(" \t"):
                    yield number, text
                    number += 1

    def _values(self, number: int, line: str) -> list[str | None] | None:
        """The chosen values; None, and a note of the line, where it has none that can be read."""
        try:
            found = json.loads(line, parse_int=str, parse_float=str, parse_constant=_refused)
            if not isinstance(found, dict):
                raise ValueError("the line is no JSON object")
            self.keys.update(dict.fromkeys(found))
            return [self._texts[ours](key, found.get(key)) for ours, key in self._columns.items()]
        except json.JSONDecodeError as error:
            reason = f"the line is no JSON ({error.msg} at character {error.pos + 1})"
        except RecursionError:
            reason = "the line is no JSON that can be read (too many levels)"
        except ValueError as error:
            reason = str(error)
        self._misfits.append((number, line, reason))
        return None

    def _frame(self, rows: list[list[Any]]) -> pl.DataFrame:
        schema = {"ordinal": pl.Int64, **dict.fromkeys(self._columns, pl.String)}
        return pl.DataFrame(rows, schema=schema, orient="row")


def _text(key: str, value: Any) -> str | None:
    """A value as it was written; `ValueError` where it is a list, an object or no Unicode."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        kind = "a list" if isinstance(value, list) else "an object"
        raise ValueError(f"{key} is {kind}, where a number or text is wanted")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{key} holds half a character (a lone surrogate)") from error
    return value


def _list_text(key: str, value: Any) -> str | None:
    """A list as one text; `ValueError` where the value is none, or holds one."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError(f"{key} is no list, where one is wanted")
    texts = [text for one in value if (text := _text(f"a value of {key}", one)) is not None]
    for character, other in ESCAPES:
        texts = [text.replace(character, other) for text in texts]
    return UNIT.join(texts)


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")
