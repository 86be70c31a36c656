"""Some rows of a table, a column at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from numpy.typing import NDArray

from falconer.pipelines import parquet


@dataclass(frozen=True)
class Chosen:
    """The rows of `table` for which `mask` holds. A column is copied when it is asked for, as all
    at once would take as much memory again, and not at all where the rows lie together."""

    table: pl.DataFrame
    mask: pl.Series | None

    @classmethod
    def of(cls, table: pl.DataFrame, mask: pl.Series) -> Chosen:
        """`mask`: one for each row, no nulls."""
        first, n = mask.arg_max() or 0, int(mask.sum())
        lie_together = bool(mask.slice(first, n).all())
        return cls(table.slice(first, n), None) if lie_together else cls(table, mask)

    def __len__(self) -> int:
        return len(self.table) if self.mask is None else int(self.mask.sum())

    @property
    def columns(self) -> list[str]:
        """The names of the table's columns."""
        return self.table.columns

    def __getitem__(self, name: str) -> pl.Series:
        column = self.table[name]
        return column if self.mask is None else column.filter(self.mask)


NUMBERS = frozenset(
    {pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64}
    | {pl.Float32, pl.Float64}
)
"""What Numpy and Arrow have too; decimals, say, are numbers of Polars' alone."""

Columns = pl.DataFrame | Chosen
"""What has columns by name."""


def taken(column: pl.Series, places: NDArray[Any]) -> pl.Series:
    """The values at these places, whole numbers from 0 to below the column's length. Numpy gathers
    numbers in half of the time that Polars takes."""
    if column.null_count() or column.dtype not in NUMBERS:
        return column.gather(pl.Series(places, dtype=pl.UInt32))
    found = parquet.column(column.to_numpy()[places])
    return pl.Series(column.name, pl.from_arrow(found), dtype=column.dtype)
