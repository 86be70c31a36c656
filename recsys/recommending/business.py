"""Business rules as data: which items no list may hold, and how many of a kind one list may
hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.recsys.configs.business import BusinessRules
from falconer.recsys.lists.ranked import TopK

Int32 = NDArray[np.int32]
Flags = NDArray[np.bool_]
UNKNOWN = -1


@dataclass(frozen=True)
class ItemRules:
    """The rules for the items of one dataset.

    `barred`: name of a rule -> bool[n_items]. `at_most`: name of a rule -> category int32[n_items]
    (-1 = unknown) and its number.
    """

    barred: Mapping[str, Flags] = field(default_factory=dict)
    at_most: Mapping[str, tuple[Int32, int]] = field(default_factory=dict)


def item_rules(
    rules: BusinessRules, data: Dataset, *, last_event: NDArray[np.int64], now: int
) -> ItemRules:
    """The rules for `data`; `last_event` int64[n_items] and `now` are seconds since 1970 UTC.

    Raises `ConfigError` where a feature is no categorical one of the items, `DataError` where the
    deny list cannot be read.
    """
    barred: dict[str, Flags] = {}
    if rules.deny is not None:
        barred["deny list"] = _denied(rules.deny, data)
    if rules.fresh_days is not None:
        barred["freshness"] = last_event < now - rules.fresh_days * 86_400
    at_most = {
        f"at most {n} of one {name}": (_categories(name, data), n)
        for name, n in sorted(rules.at_most.items())
    }
    return ItemRules(barred, at_most)


def _denied(path: Path, data: Dataset) -> Flags:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: this deny list cannot be read: {error}") from error
    wanted = pa.array([line.strip() for line in lines if line.strip()], pa.string())
    keys = data.items.column("key").cast(pa.string())
    return np.asarray(pa.compute.is_in(keys, wanted).to_numpy(), np.bool_)


def _categories(name: str, data: Dataset) -> Int32:
    found = [one for one in data.card.features if one.name == name and one.table == "item"]
    if not found or found[0].kind != "categorical":
        known = [one.name for one in data.card.features if one.table == "item"]
        raise ConfigError(
            f"at_most: {name!r} is no categorical feature of the items; there are "
            f"{', '.join(known) or 'none'}"
        )
    codes: Int32 = data.items.column(found[0].column).to_numpy().astype(np.int32)
    return codes


def choose(candidates: TopK, rules: ItemRules, k: int) -> tuple[Int32, dict[str, int]]:
    """The places int32[Q, k] of the first k candidates of each query that keep to the rules (-1
    where there are not so many), and how many candidates each rule took away before that.

    `candidates.items` int32[Q, D] holds -1 where a query has fewer; of an item that stands there
    twice the first place counts.
    """
    items = candidates.items
    allowed = (items >= 0) & ~_too_many(items, 1)
    taken: dict[str, Flags] = {}
    for name, flags in rules.barred.items():
        taken[name] = allowed & flags[items.clip(0)]
        allowed = allowed & ~taken[name]
    for name, (categories, most) in rules.at_most.items():
        codes = np.where(allowed, categories[items.clip(0)], UNKNOWN)
        taken[name] = _too_many(codes, most)
        allowed = allowed & ~taken[name]
    number = np.cumsum(allowed, axis=1)
    chosen = allowed & (number <= k)
    places = np.full((len(items), k), UNKNOWN, np.int32)
    row, place = np.nonzero(chosen)
    places[row, number[row, place] - 1] = place
    looked_at = number - allowed < k  # up to the candidate that fills the list
    counts = {name: int(np.count_nonzero(flags & looked_at)) for name, flags in taken.items()}
    return places, counts


def _too_many(codes: Int32, most: int) -> Flags:
    """bool[Q, D]: whether `most` earlier ones of the row have the same code; never for -1."""
    n_rows, width = codes.shape
    row = np.repeat(np.arange(n_rows), width)
    flat = codes.ravel()
    order = np.lexsort((np.arange(len(flat)), flat, row))
    new = np.ones(len(flat), np.bool_)
    new[1:] = (flat[order][1:] != flat[order][:-1]) | (row[order][1:] != row[order][:-1])
    starts = np.maximum.accumulate(np.where(new, np.arange(len(flat)), 0))
    rank = np.empty(len(flat), np.int64)
    rank[order] = np.arange(len(flat)) - starts
    found: Flags = ((rank >= most) & (flat != UNKNOWN)).reshape(codes.shape)
    return found
