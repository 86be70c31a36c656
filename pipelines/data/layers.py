"""Tables that are told as changes of another dataset's, so that an appended day writes what it
changed and not everything.

layers/00000/<table>           the table as an earlier dataset has it, and then for each change
layers/<n>/<table>             the rows that came or changed, with the place of each in the result
layers/<n>/gone/<table>        `row`: the places, before, of those that went or changed
layers/<n>/lists/<table>       the ends of lists that changed there, see `Change`
layers/<n>/columns/<table>     whole columns that took the place of others, row by row of the result

A table is there by its own name, or in layers, and never both: no reader takes an old state for the
new one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.data.queries import offsets_of
from falconer.pipelines.data.schema import FEATURE
from falconer.pipelines.errors import ArtifactError

PLACE = f"{FEATURE} place"
"""Beside rows; no column of a dataset is called so (`schema.column_of`)."""
CHANGE = re.compile(r"layers/([0-9]{5})/")
Content = Mapping[str, str]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Change:
    """What makes one table of another: `gone` int64 places of rows that are not in it any more,
    `rows` that are new with their `PLACE` in the result, `lists` whose ends changed: for each list
    column the values that were appended, and the places of those dropped before (`dropped_of`),
    with the `PLACE` of the row in the result; and whole `columns` of the result."""

    gone: NDArray[np.int64]
    rows: pa.Table
    lists: pa.Table
    columns: pa.Table

    def applied(self, table: pa.Table) -> pa.Table:
        """The other table."""
        stays = np.ones(table.num_rows, bool)
        stays[self.gone] = False
        kept = table.take(parquet.column(np.flatnonzero(stays)))
        new = self.rows.column(PLACE).to_numpy()
        result = pa.concat_tables([kept, self.rows.select(table.column_names)])
        old = np.ones(result.num_rows, bool)
        old[new] = False
        order = np.empty(result.num_rows, np.int64)
        order[old] = np.arange(kept.num_rows)
        order[new] = kept.num_rows + np.arange(len(new))
        result = result.take(parquet.column(order))
        for name in table.column_names:
            if name in self.columns.column_names:
                result = _replaced(result, name, self.columns.column(name))
            elif name in self.lists.column_names:
                result = _replaced(result, name, self._lists(result, name))
        return result

    def _lists(self, table: pa.Table, name: str) -> pa.Array:
        return edited(
            table.column(name).combine_chunks(),
            self.lists.column(PLACE).to_numpy(),
            self.lists.column(dropped_of(name)).combine_chunks(),
            self.lists.column(name).combine_chunks(),
        )


def _replaced(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, table.schema.field(name), column)


def dropped_of(name: str) -> str:
    """Beside values appended to the lists of a column: the places of those that were dropped."""
    return f"{FEATURE} dropped {name}"


def edited(column: pa.Array, rows: Places, dropped: pa.Array, appended: pa.Array) -> pa.Array:
    """A column of lists, of which those in `rows` lost the values in the places `dropped`, and then
    got those of `appended`; there are no nulls."""
    offsets, values = _offsets(column), column.values.slice(column.offsets[0].as_py())
    stays = np.ones(offsets[-1], bool)
    lost = np.diff(_offsets(dropped))
    stays[np.repeat(offsets[rows], lost) + dropped.flatten().to_numpy()] = False
    lengths = np.diff(offsets)
    lengths[rows] -= lost
    got = np.diff(_offsets(appended))
    total = lengths.copy()
    total[rows] += got
    ends = offsets_of(total)
    order = np.empty(ends[-1], np.int64)
    n = int(stays.sum())
    order[_spread(ends[:-1], lengths)] = np.arange(n)
    order[_spread(ends[rows] + lengths[rows], got)] = n + np.arange(got.sum())
    kept = values.take(parquet.column(np.flatnonzero(stays)))
    both = pa.concat_arrays([kept, appended.flatten()]).take(parquet.column(order))
    large = pa.types.is_large_list(column.type)
    kind = pa.LargeListArray if large else pa.ListArray
    return kind.from_arrays(
        parquet.column(ends if large else ends.astype(np.int32)), both, type=column.type
    )


def _offsets(column: pa.Array) -> Places:
    offsets = column.offsets.to_numpy().astype(np.int64)
    from_zero: Places = offsets - offsets[0]
    return from_zero


def _spread(starts: Places, lengths: Places) -> Places:
    """The places of all values of lists that begin there, list after list."""
    ends = offsets_of(lengths)
    places: Places = np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])
    return places


KINDS = ("", "gone/", "lists/", "columns/")


def names_of(number: int, name: str) -> list[str]:
    """The files of one change of a table, by `KINDS`. Change 0 is the table itself."""
    return [f"layers/{number:05}/{kind}{name}" for kind in KINDS]


def base_of(name: str) -> str:
    """The file of a table that has changes, as it was before them."""
    return names_of(0, name)[0]


def holds(content: Content, name: str) -> bool:
    """Whether a dataset has a table, by its name or in layers."""
    return name in content or base_of(name) in content


def changes_of(content: Content, name: str) -> Iterator[list[str]]:
    """The files that are there of each change of a table, in their order. Raises `ArtifactError`
    where one between them is not named: without it the later ones mean nothing."""
    numbers = [int(found[1]) for found in map(CHANGE.match, content) if found]
    last = max(numbers, default=0)
    each = [
        [one for one in names_of(number, name) if one in content] for number in range(1, last + 1)
    ]
    while each and not each[-1]:
        each.pop()
    if [] in each:
        absent = names_of(each.index([]) + 1, name)[0]
        raise ArtifactError(
            f"dataset.json is damaged: it names no {absent}, and later changes of {name}; rebuild "
            "the dataset with `falconer etl`"
        )
    yield from each


def files_of(content: Content, name: str) -> dict[str, str]:
    """The files of a table that has changes, with their checksums."""
    changes = (one for change in changes_of(content, name) for one in change)
    return {one: content[one] for one in (base_of(name), *changes)}


def read(content: Content, name: str, table_of: Callable[[str], pa.Table]) -> pa.Table:
    """A table with all its changes; `table_of` reads a file."""
    table = table_of(base_of(name))
    for number, there in enumerate(changes_of(content, name), 1):
        rows, gone, lists, columns = (
            table_of(one) if one in there else None for one in names_of(number, name)
        )
        table = Change(
            np.zeros(0, np.int64) if gone is None else gone.column("row").to_numpy(),
            no_rows(table) if rows is None else rows,
            pa.table({}) if lists is None else lists,
            pa.table({}) if columns is None else columns,
        ).applied(table)
    return table


def no_rows(table: pa.Table) -> pa.Table:
    """No rows, as a change has them."""
    return table.schema.empty_table().append_column(PLACE, parquet.column(np.zeros(0, np.int64)))
