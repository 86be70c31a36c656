"""What makes one table of another: rows that came or went, ends of lists, and whole columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl
import pyarrow as pa

from falconer.pipelines import parquet
from falconer.pipelines.data.layers import PLACE, Change, dropped_of

PARTLY = 0.5
"""Share of rows that change above which a column is told as a whole."""
MOST_VALUES = 5_000_000
"""Values of lists that are compared one by one; where there are more, rows are told as a whole."""


def change_of(
    old: pa.Table, new: pa.Table, old_keys: pl.Series, new_keys: pl.Series
) -> Change | None:
    """The change that makes `new` of `old`, whose rows are told by keys that do not repeat; None
    where it cannot be told."""
    before, after = pl.DataFrame(old), pl.DataFrame(new)
    pairs = _pairs(old_keys, new_keys)
    if PLACE in after.columns or old.schema != new.schema or not pairs["old"].is_sorted():
        return None
    same = {
        name: before[name].gather(pairs["old"]).eq_missing(after[name].gather(pairs["new"]))
        for name in after.columns
    }
    nested = [name for name, dtype in after.schema.items() if dtype.is_nested()]
    flat = [name for name in after.columns if name not in nested]
    whole = [name for name in flat if len(pairs) and _share(same[name]) < 1 - PARTLY]
    pairs = pairs.with_columns(
        flat=_all(same, [name for name in flat if name not in whole], len(pairs)),
        lists=_all(same, nested, len(pairs)),
    )
    differ = pairs.filter("flat", ~pl.col("lists"))
    if not _comparable(before, after, differ, nested):
        pairs, differ = pairs.filter("lists"), differ.clear()
    kept = pairs.filter("flat")
    change = Change(
        _others(kept["old"], old.num_rows).to_numpy(),
        _rows(new, _others(kept["new"], new.num_rows)),
        _lists(before, after, differ, nested),
        new.select(whole),
    )
    made = pl.DataFrame(change.applied(old))
    return change if made.equals(after, null_equal=True) else None


def _pairs(old: pl.Series, new: pl.Series) -> pl.DataFrame:
    """The places of the rows with one key, by `new`."""
    keys = [
        series.alias("key").to_frame().with_row_index(name)
        for name, series in (("old", old), ("new", new))
    ]
    return keys[1].join(keys[0], on="key", maintain_order="left").select("old", "new")


def _share(same: pl.Series) -> float:
    return float(same.to_numpy().mean())


def _all(same: Mapping[str, pl.Series], names: Iterable[str], n: int) -> pl.Series:
    """Whether a row is the same in all of these columns."""
    found = pl.repeat(value=True, n=n, eager=True)
    for name in names:
        found = found & same[name]
    return found


def _comparable(
    before: pl.DataFrame, after: pl.DataFrame, pairs: pl.DataFrame, names: Iterable[str]
) -> bool:
    """Whether the lists of these rows can be told by their ends."""
    columns = [
        frame[name].gather(pairs[place])
        for name in names
        for frame, place in ((before, "old"), (after, "new"))
    ]
    frames = [frame[name] for name in names for frame in (before, after)]
    return (
        all(column.dtype == pl.List and not column.null_count() for column in frames)
        and sum(int(column.list.len().sum()) for column in columns) <= MOST_VALUES
    )


def _others(places: pl.Series, n: int) -> pl.Series:
    """The places below `n` that are not among these."""
    every = pl.int_range(n, eager=True, dtype=pl.Int64).alias("place")
    return every.filter(~every.is_in(places.cast(pl.Int64).implode()))


def _rows(new: pa.Table, places: pl.Series) -> pa.Table:
    column = parquet.column(places.to_numpy())
    return new.take(column).append_column(PLACE, column)


def _lists(
    before: pl.DataFrame, after: pl.DataFrame, pairs: pl.DataFrame, names: Iterable[str]
) -> pa.Table:
    """What happened to the ends of the lists of these rows."""
    columns: dict[str, pl.Series] = {PLACE: pairs["new"].cast(pl.Int64)}
    for name in names:
        old, new = before[name].gather(pairs["old"]), after[name].gather(pairs["new"])
        edits = [_edit(*both) for both in zip(old, new, strict=True)]
        columns[dropped_of(name)] = pl.Series([drop for drop, _ in edits], dtype=pl.List(pl.Int32))
        columns[name] = pl.Series([tail for _, tail in edits], dtype=after.schema[name])
    if pairs.is_empty():
        return pa.table({})
    return pl.DataFrame(columns).to_arrow(compat_level=pl.CompatLevel.oldest())


def _edit(old: pl.Series, new: pl.Series) -> tuple[list[int], pl.Series]:
    """The places of values to drop from `old`, and those to append then, which make `new`."""
    n = len(old)
    if len(new) >= n and new[:n].equals(old):
        return [], new[n:]
    wanted = new.to_list()
    dropped, place = [], 0
    for number, value in enumerate(old.to_list()):
        if place < len(wanted) and value == wanted[place]:
            place += 1
        else:
            dropped.append(number)
    return dropped, new[place:]
