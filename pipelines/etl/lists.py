"""Lists, of which features are made: from the source to here each is one text (`columns.joined`),
so that every step between reads them as it reads other values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from falconer.pipelines.etl.columns import UNIT, categories
from falconer.pipelines.etl.operators import Listed, OfLists


def parted(column: pl.Series, config: OfLists) -> pl.Series:
    """The lists that the texts of a column stand for, without values that are empty; of a text
    with a separator without the blanks around each too."""
    texts = categories(column).cast(pl.String)
    value = pl.element() if config.separator is None else pl.element().str.strip_chars()
    lists = texts.str.split(config.separator or UNIT)
    return lists.list.eval(value.filter(value != ""))


def sliced(lists: pl.Series, config: Listed) -> pl.Series:
    """The values that the feature keeps of each list; none of null."""
    kept = lists.list.head if config.take == "first" else lists.list.tail
    return kept(config.length).fill_null([])


def in_places(lists: pl.Series, ids: pl.Series, names: Sequence[str]) -> list[pl.Series]:
    """A column for each place: `ids` of all values in their order, -1 where a list has no more."""
    lengths = lists.list.len().to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(lists)), lengths)
    starts = np.cumsum(lengths) - lengths
    found = np.full((len(names), len(lists)), -1, np.int32)
    found[np.arange(len(rows)) - np.repeat(starts, lengths), rows] = ids.to_numpy()
    return [pl.Series(name, column) for name, column in zip(names, found, strict=True)]
