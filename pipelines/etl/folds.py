"""Queries and truth of one fold, from the split events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Queries, Ragged, Truth
from falconer.pipelines.etl import dense
from falconer.pipelines.etl.chosen import taken
from falconer.pipelines.etl.split import FoldRule, Part

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


@dataclass(frozen=True)
class Asking:
    """What a fold asks: its rule, the lists to rank if they are given (`user` and the list
    `candidates`), and who is asked about besides those with an event (`user`, `user_id`)."""

    rule: FoldRule
    candidates: pl.DataFrame | None = None
    others: pl.DataFrame | None = None


def fold_of(
    events: pl.DataFrame,
    rule: FoldRule,
    *,
    candidates: pl.DataFrame | None = None,
    items: pl.Series,
) -> FoldTables:
    """One fold alone; see `folds_of`."""
    (fold,) = folds_of(events, [Asking(rule, candidates)], items=items)
    return fold


def folds_of(
    events: pl.DataFrame, askings: Sequence[Asking], *, items: pl.Series
) -> list[FoldTables]:
    """The folds that are asked for. Each has one query for each user with an event in its rule's
    truth part, in the catalogue or not, and for the others, of whom nothing is relevant.

    `events` are in order, with `user`, `item`, `part`, and the encoded `user_id`, `item_id` (-1 =
    outside the vocabulary); `items` holds the catalogue's values by id.
    """
    if not askings:
        return []
    relevant = [events.filter(pl.col("part") == one.rule.truth) for one in askings]
    asked = [_asked(rows, one.others) for rows, one in zip(relevant, askings, strict=True)]
    parts = {part for one in askings for part in one.rule.history}
    histories = _Histories.of(events, parts, asked)
    return [
        _fold(asking, rows, queries, histories, items)
        for asking, rows, queries in zip(askings, relevant, asked, strict=True)
    ]


def _asked(relevant: pl.DataFrame, others: pl.DataFrame | None) -> pl.DataFrame:
    """`user`, `user_id`, `row` and, with times, that of the first event, by ascending user."""
    first = [pl.col("time").min()] if "time" in relevant.columns else []
    asked = relevant.group_by("user").agg(pl.col("user_id").first(), *first)
    if others is not None:
        new = others.select("user", "user_id").unique("user").join(asked, on="user", how="anti")
        asked = pl.concat([asked, new], how="diagonal")
    return asked.sort("user").with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


def _fold(
    asking: Asking,
    relevant: pl.DataFrame,
    asked: pl.DataFrame,
    histories: _Histories,
    items: pl.Series,
) -> FoldTables:
    rule, candidates = asking.rule, asking.candidates
    rows = asked.select("user", "user_id", "row")
    history = histories.by_row(rows, rule)
    has_time = "time" in history.columns
    queries = Queries(
        user=asked["user_id"].to_numpy(),
        history=_ragged(history, "item_id", len(asked)),
        history_times=_ragged(history, "time", len(asked)) if has_time else None,
        time=_times(asked, rule),
        candidates=None if candidates is None else _candidates(candidates, rows, items),
    )
    row = _rows_of(relevant, rows)
    truth = relevant.select("item", "item_id", row=pl.Series(row)).sort("row", maintain_order=True)
    counts = _counts(relevant, queries)
    if candidates is not None and queries.candidates is not None:
        given = candidates.join(rows, on="user")["candidates"].list.n_unique().sum()
        counts["candidates_outside"] = int(given) - len(queries.candidates.values)
    return FoldTables(queries, asked["user"], _truth(truth, len(asked)), counts)


@dataclass(frozen=True)
class _Histories:
    """Events of items with an id, ordered once for all folds: by their users' places among `users`,
    which are by ascending key, and each user's as they came."""

    users: pl.DataFrame
    place: NDArray[np.int64]
    part: NDArray[np.int8]
    columns: dict[str, pl.Series]

    @classmethod
    def of(
        cls, events: pl.DataFrame, parts: Iterable[Part], asked: Sequence[pl.DataFrame]
    ) -> _Histories:
        """The events of these parts, of who is asked about in any fold."""
        every = pl.concat([one.select("user", "user_id") for one in asked]).unique("user")
        users = every.sort("user").with_row_index("row").cast({"row": pl.Int64})
        known = pl.col("part").is_in([int(part) for part in parts]) & (pl.col("item_id") != OUTSIDE)
        place = _rows_of(events, users)
        there = np.flatnonzero(events.select(known).to_series().to_numpy() & (place != NO_ROW))
        place = place[there]
        order = dense.stable_order(place)
        there = there[order]
        names = [name for name in events.columns if name in ("item_id", "time")]
        columns: dict[str, pl.Series] = {name: taken(events[name], there) for name in names}
        return cls(users, place[order], events["part"].to_numpy()[there], columns)

    def by_row(self, rows: pl.DataFrame, rule: FoldRule) -> pl.DataFrame:
        """What the rule's histories hold, by `row` and in order within it."""
        keys = self.users.select("user").join(
            rows.select("user", "row"), on="user", how="left", maintain_order="left"
        )
        row = keys["row"].fill_null(NO_ROW).to_numpy()[self.place]
        kept = pl.Series(np.isin(self.part, [int(part) for part in rule.history]) & (row != NO_ROW))
        columns = {"row": pl.Series(row), **self.columns}
        return pl.DataFrame({name: column.filter(kept) for name, column in columns.items()})


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
