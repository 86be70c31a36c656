"""Rows of anybody's tables as a person reads them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def shown_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """The rows as Python values; where a date is not of Python's calendar (years 1 to 9999), or a
    span is too long for it, all dates and spans are text."""
    try:
        return list(rows.to_pylist())
    except (ValueError, OverflowError):
        columns = {name: _text_of_times(rows[name]) for name in rows.column_names}
        return list(pa.table(columns).to_pylist())


def _text_of_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_temporal(column.type) else column
