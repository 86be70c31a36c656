"""The same type for one kind of id in all tables of a source, so that they can be joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import polars as pl

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.raw import Raw


def with_common_ids(raw: Raw, wanted: Mapping[str, pl.DataType]) -> Raw:
    """The same type for one kind of id in all tables, so that they can be joined."""
    for kind in ("user", "item"):
        raw = _with_common_id(raw, kind, wanted.get(kind))
    return raw


def _with_common_id(raw: Raw, kind: str, wanted: pl.DataType | None) -> Raw:
    dtype = id_type(kind, wanted, all_whole=all(whole(column) for column in _ids(raw, kind)))
    tables = {
        name: frame.with_columns(pl.col(kind).cast(dtype))
        for name in ("events", "users", "items", "candidates")
        if (frame := getattr(raw, name)) is not None and kind in frame.columns
    }
    if kind == "item" and "candidates" in tables:
        tables["candidates"] = tables["candidates"].with_columns(
            pl.col("candidates").cast(pl.List(dtype))
        )
    return replace(raw, **tables)


def id_type(kind: str, wanted: pl.DataType | None, *, all_whole: bool) -> pl.DataType:
    """The type of one kind of id; `DataError` where whole numbers are wanted and some are text."""
    if wanted == pl.Int64 and not all_whole:
        raise DataError(
            f"{kind} ids are wanted as whole numbers, by source.types or the dataset that this one "
            "extends, and some are text; mend them, or open a new lineage with text ids"
        )
    return pl.Int64() if all_whole and wanted != pl.String else pl.String()


def _ids(raw: Raw, kind: str) -> Iterator[pl.Series]:
    frames = (raw.events, raw.users, raw.items, raw.candidates)
    yield from (frame[kind] for frame in frames if frame is not None and kind in frame.columns)
    if kind == "item" and raw.candidates is not None:
        yield raw.candidates["candidates"].explode(empty_as_null=False)


def whole(column: pl.Series) -> bool:
    """Whether each value is a whole number, or text that a whole number would be written as ("7",
    never "007")."""
    if column.dtype != pl.String:
        return True
    values = column.cast(pl.Int64, strict=False)
    return values.null_count() == 0 and bool((values.cast(pl.String) == column).all())
