"""Rows of anybody's tables as a person reads them."""

from __future__ import annotations

from typing import Any

import polars as pl
from polars import selectors


def shown_rows(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows as Python values; dates that Python's calendar has not (years 1 to 9999) are
    text."""
    try:
        return rows.to_dicts()
    except (ValueError, OverflowError):
        return rows.with_columns(selectors.temporal().cast(pl.String)).to_dicts()
