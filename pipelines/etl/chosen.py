"""Some rows of a table, a column at a time."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


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


Columns = pl.DataFrame | Chosen
"""What has columns by name."""
