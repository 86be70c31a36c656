"""Queries and truth of one fold, from the split events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Queries, Ragged, Truth
from falconer.pipelines.etl import dense
from falconer.pipelines.etl.split import FoldRule

OUTSIDE = -1
NO_ROW = -1


@dataclass(frozen=True)
class FoldTables:
    """One fold: queries by ascending user key, the keys, and the truth, row by row; counts for the
    card; features beside the queries, where their users' ids do not tell them."""

    queries: Queries
    keys: pl.Series
    truth: Truth
    counts: dict[str, int]
    context: pl.DataFrame | None = None


def fold_of(
    events: pl.DataFrame,
    rule: FoldRule,
    *,
    candidates: pl.DataFrame | None = None,
    items: pl.Series,
    others: pl.DataFrame | None = None,
) -> FoldTables:
    """One query for each user with an event in the rule's truth part, in the catalogue or not, and
    for the `others` (`user`, `user_id`), of whom nothing is relevant.

    `events` are in order, with `user`, `item`, `part`, and the encoded `user_id`, `item_id` (-1 =
    outside the vocabulary). `candidates` holds `user` and the list `candidates`; `items` the
    catalogue's values by id.
    """
    relevant = events.filter(pl.col("part") == rule.truth)
    asked = relevant.group_by("user").agg(pl.col("user_id").first(), *_first_time(events))
    if others is not None:
        new = others.select("user", "user_id").unique("user").join(asked, on="user", how="anti")
        asked = pl.concat([asked, new], how="diagonal")
    asked = asked.sort("user").with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    rows = asked.select("user", "user_id", "row")
    history = events.filter(
        pl.col("part").is_in([int(part) for part in rule.history]), pl.col("item_id") != OUTSIDE
    )
    columns = [name for name in ("item_id", "time") if name in events.columns]
    history = _by_row(history, rows, columns)
    queries = Queries(
        user=asked["user_id"].to_numpy(),
        history=_ragged(history, "item_id", len(asked)),
        history_times=_ragged(history, "time", len(asked)) if "time" in events.columns else None,
        time=_times(asked, rule),
        candidates=None if candidates is None else _candidates(candidates, rows, items),
    )
    truth = _truth(_by_row(relevant, rows, ["item", "item_id"]), len(asked))
    counts = _counts(relevant, queries)
    if candidates is not None and queries.candidates is not None:
        given = candidates.join(rows, on="user")["candidates"].list.n_unique().sum()
        counts["candidates_outside"] = int(given) - len(queries.candidates.values)
    return FoldTables(queries, asked["user"], truth, counts)


def _by_row(events: pl.DataFrame, rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Of the events of the users in `rows` these columns, by their `row` and in order within it."""
    row = _rows_of(events, rows)
    there = np.flatnonzero(row != NO_ROW)
    row = row[there]
    order = dense.stable_order(row)
    places = pl.Series(there[order], dtype=pl.UInt32)
    found = events.select(pl.col(columns).gather(places))
    return found.with_columns(row=pl.Series(row[order], dtype=pl.Int64))


def _rows_of(events: pl.DataFrame, rows: pl.DataFrame) -> NDArray[np.int64]:
    """int64[n]: the row of each event's user; `NO_ROW` where there is none."""
    known = rows.filter(pl.col("user_id") != OUTSIDE)
    places = dense.places(events["user_id"], known["user_id"])
    if places is None:
        return _rows_by_key(events["user"], rows)
    found: NDArray[np.int64] = np.append(known["row"].to_numpy(), NO_ROW)[places.to_numpy()]
    if len(known) < len(rows):  # users without an id are told by their keys
        strangers = events["user_id"] == OUTSIDE
        found[strangers.to_numpy()] = _rows_by_key(events["user"].filter(strangers), rows)
    return found


def _rows_by_key(users: pl.Series, rows: pl.DataFrame) -> NDArray[np.int64]:
    keys = rows.select("user", "row")
    joined = users.to_frame().join(keys, on="user", how="left", maintain_order="left")
    found: NDArray[np.int64] = joined["row"].fill_null(NO_ROW).to_numpy()
    return found


def _first_time(events: pl.DataFrame) -> list[pl.Expr]:
    return [pl.col("time").min()] if "time" in events.columns else []


def _times(asked: pl.DataFrame, rule: FoldRule) -> NDArray[np.int64] | None:
    if "time" not in asked.columns:
        return None
    if rule.asked_at is None:
        return asked["time"].to_numpy()
    return np.full(len(asked), rule.asked_at, dtype=np.int64)


def _truth(relevant: pl.DataFrame, n: int) -> Truth:
    """Distinct items in order of first occurrence; those outside the catalogue are counted only."""
    distinct = relevant.unique(["row", "item"], keep="first", maintain_order=True)
    outside = distinct.filter(pl.col("item_id") == OUTSIDE)["row"].to_numpy()
    inside = distinct.filter(pl.col("item_id") != OUTSIDE)
    return Truth(_ragged(inside, "item_id", n), np.bincount(outside, minlength=n).astype(np.int64))


def _candidates(candidates: pl.DataFrame, rows: pl.DataFrame, items: pl.Series) -> Ragged:
    """Ascending ids, so that the position tells nothing; candidates outside the catalogue cannot be
    ranked."""
    ids = pl.DataFrame({"item": items}).with_row_index("item_id").cast({"item_id": pl.Int32})
    given = (
        candidates.join(rows, on="user")
        .select("row", item="candidates")
        .explode("item", empty_as_null=False)
        .join(ids, on="item")
        .unique(["row", "item_id"])
        .sort("row", "item_id")
    )
    return _ragged(given, "item_id", len(rows))


def _ragged(frame: pl.DataFrame, column: str, n: int) -> Ragged:
    """The column's values by `row`; the frame is sorted by it."""
    lengths = np.bincount(frame["row"].to_numpy(), minlength=n)
    return Ragged.from_lengths(lengths, frame[column].to_numpy())


def _counts(relevant: pl.DataFrame, queries: Queries) -> dict[str, int]:
    return {
        "events": len(relevant),
        "events_outside": int((relevant["item_id"] == OUTSIDE).sum()),
        "queries": len(queries),
        "queries_of_unknown_users": int((queries.user == OUTSIDE).sum()),
        "queries_without_history": int((queries.history.lengths == 0).sum()),
    }
