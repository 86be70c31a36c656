"""Checks of the protocol behind the figures: what a reader must know before believing them.

Each check looks at the dataset as it was written, not at the code that is meant to have written it.
A check that finds nothing says nothing; one that cannot be made (no times, say) says nothing
either. What was looked at on the test fold is counted in `test-reads.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged, Truth
from falconer.pipelines.data.schema import Fold
from falconer.recsys.judging.lists.leaky_features import tell_tale_features

Int64 = NDArray[np.int64]

GLOBAL_TIME = ("temporal", "rolling")
"""Protocols that claim: nothing in train is from the time of a query or later."""
PER_USER = ("leave_last", "user_share", "last_sessions")
"""Protocols that claim so of the user's own events, unless these are drawn by chance; those of one
second are ordered by their place in the source."""
QUERIES_AT_ONCE = 2**14
PAIRS_AT_ONCE = 2**24
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Checked:
    """What the checks look at."""

    data: Dataset
    fold: Fold
    k: Sequence[int]

    @property
    def protocol(self) -> str:
        """The split's name."""
        return self.data.card.split.protocol

    @property
    def by_global_time(self) -> bool:
        """Whether no train event may be from the time of a query of the fold, or later."""
        own_last = self.data.card.split.parameters.get("valid_by") == "last_event"
        return self.protocol in GLOBAL_TIME and not (own_last and self.fold == "valid")

    @property
    def by_own_time(self) -> bool:
        """Whether no train event of the user may be later than the query."""
        by_chance = self.data.card.split.parameters.get("by") == "random"
        own_last = self.protocol in GLOBAL_TIME and not self.by_global_time
        return own_last or (self.protocol in PER_USER and not by_chance)

    def blocks(self) -> Iterator[tuple[Queries, Truth]]:
        """The fold's queries and truths, some at a time."""
        queries = (queries for _, queries in self.data.query_blocks(self.fold, QUERIES_AT_ONCE))
        return zip(queries, self.data.truth_blocks(self.fold, QUERIES_AT_ONCE), strict=True)

    @cached_property
    def user(self) -> NDArray[np.int32]:
        """int32[Q]: the queries' users."""
        return np.concatenate(
            [np.empty(0, np.int32), *(queries.user for queries, _ in self.blocks())]
        )

    @cached_property
    def time(self) -> Int64 | None:
        """int64[Q]: when the queries are asked; None without times, and without queries."""
        parts = [queries.time for queries, _ in self.blocks() if queries.time is not None]
        return np.concatenate(parts) if parts else None

    @property
    def has_time(self) -> bool:
        """Whether train events and queries have times."""
        return self.data.card.has_time and self.time is not None

    @cached_property
    def asked(self) -> Int64:
        """int64[n_users]: when the user's first query is asked, `NEVER` for a user without one."""
        asked = np.full(self.data.n_users, NEVER)
        known = self.user >= 0
        if self.time is not None:
            np.minimum.at(asked, self.user[known], self.time[known])
        return asked

    def train(self, *names: str) -> Iterator[list[NDArray[Any]]]:
        """Columns of the train events, a file at a time."""
        for path in self.data.train_files():
            table = parquet.read(path, names)
            yield [table[name].to_numpy() for name in names]

    @cached_property
    def truth_pairs(self) -> Int64:
        """int64[n]: user * n_items + item of each relevant item of a known user."""
        parts = [np.empty(0, np.int64)]
        for queries, truth in self.blocks():
            user = queries.user[truth.items.rows].astype(np.int64)
            pairs = user * self.data.n_items + truth.items.values.astype(np.int64)
            parts.append(pairs[user >= 0])
        return np.asarray(np.unique(np.concatenate(parts)), np.int64)

    @cached_property
    def repeats(self) -> bool:
        """Whether a user may meet an item twice: the split shows repeats, or train holds any.

        The users are parted so that the pairs of some of them fit in memory.
        """
        if "repeat" in self.data.card.split.views:
            return True
        n_parts = max(1, -(-sum(len(user) for (user,) in self.train("user")) // PAIRS_AT_ONCE))
        return any(self._repeats(part, n_parts) for part in range(n_parts))

    def _repeats(self, part: int, n_parts: int) -> bool:
        """Whether train holds a pair twice, of users whose number leaves `part` when divided by
        `n_parts`."""
        pairs = [
            user[own] * np.int64(self.data.n_items) + item[own]
            for user, item in self.train("user", "item")
            for own in [user % n_parts == part]
        ]
        together = np.sort(np.concatenate([np.empty(0, np.int64), *pairs]))
        return bool((together[1:] == together[:-1]).any())


def warnings_of(data: Dataset, fold: Fold, k: Sequence[int]) -> tuple[str, ...]:
    """What every check finds on the fold's queries, in words; empty where nothing speaks against
    the figures."""
    checked = Checked(data, fold, k)
    return tuple(text for check in CHECKS for text in check(checked))


def train_after_queries(checked: Checked) -> Iterator[str]:
    """Global time: train events of the time at which the first query is asked, or later."""
    if not checked.by_global_time or not checked.has_time or checked.time is None:
        return
    first = int(checked.time.min())
    late = sum(int((time >= first).sum()) for (time,) in checked.train("time"))
    if late:
        yield (
            f"leakage: {late:,} train events are not earlier than {_moment(first)}, when the first "
            f"{checked.fold} "
            f"query is asked, though the split {checked.protocol} promises it; rebuild the dataset"
        )


def own_future_in_train(checked: Checked) -> Iterator[str]:
    """Train events of a user from after that user's query."""
    if not checked.by_own_time or not checked.has_time:
        return
    late = sum(
        int((time > checked.asked[user]).sum()) for user, time in checked.train("user", "time")
    )
    if late:
        yield (
            f"leakage: {late:,} train events are later than their user's {checked.fold} "
            "query; rebuild the dataset"
        )


def future_in_history(checked: Checked) -> Iterator[str]:
    """Events in a query's history from after it was asked."""
    if checked.protocol == "given_candidates":
        return
    asked_at_boundary = (
        checked.by_global_time and checked.data.card.split.parameters.get("targets") != "last"
    )
    late = sum(_late(queries, at_boundary=asked_at_boundary) for queries, _ in checked.blocks())
    if late:
        yield (
            f"leakage: {late:,} events in the histories of {checked.fold} queries are "
            "later than the query"
        )


def _late(queries: Queries, *, at_boundary: bool) -> int:
    """Number of events in the histories from after the query, or from its time where it is asked at
    a boundary between times."""
    if queries.time is None or queries.history_times is None:
        return 0
    asked = queries.time[queries.history_times.rows]
    given = queries.history_times.values.astype(np.int64)
    return int((given >= asked if at_boundary else given > asked).sum())


def same_event_in_train(checked: Checked) -> Iterator[str]:
    """Relevant items that the same user has in train: from the query's time or later, or where
    nobody repeats."""
    both = 0
    if not checked.repeats:
        both = _shared(
            checked, lambda columns: np.ones(len(columns[0]), np.bool_), ("user", "item")
        )
    elif checked.has_time and (checked.by_global_time or checked.by_own_time):
        asked = checked.asked
        both = _shared(
            checked, lambda columns: columns[2] >= asked[columns[0]], ("user", "item", "time")
        )
    if both:
        yield (
            f"leakage: {both:,} events are both in train and among the relevant items of "
            f"the fold {checked.fold}"
        )


def _shared(
    checked: Checked,
    chosen: Callable[[list[NDArray[Any]]], NDArray[np.bool_]],
    names: tuple[str, ...],
) -> int:
    """The number of chosen train events whose item is relevant to their user."""
    count = 0
    for columns in checked.train(*names):
        rows = chosen(columns)
        pairs = columns[0][rows] * np.int64(checked.data.n_items) + columns[1][rows]
        count += int(np.isin(pairs, checked.truth_pairs).sum())
    return count


def truth_in_history(checked: Checked) -> Iterator[str]:
    """Relevant items that the query's own history holds, where nobody meets an item twice."""
    if checked.repeats:
        return
    both = sum(
        _shared_pairs(queries.history, truth.items, checked.data.n_items)
        for queries, truth in checked.blocks()
    )
    if both:
        yield (
            f"leakage: {both:,} relevant items of {checked.fold} queries stand in the "
            "query's own history"
        )


def _shared_pairs(seen: Ragged, wanted: Ragged, n_items: int) -> int:
    """Entries of `wanted` that are in the same row of `seen`."""
    asked, known = (rows.rows * n_items + rows.values.astype(np.int64) for rows in (wanted, seen))
    return int(np.isin(asked, known).sum())


def held_out_users_in_train(checked: Checked) -> Iterator[str]:
    """Users that the split keeps out of train, and that have events there."""
    if checked.protocol != "held_out_users":
        return
    users = np.zeros(checked.data.n_users, np.bool_)
    users[checked.user[checked.user >= 0]] = True
    events = sum(int(users[user].sum()) for (user,) in checked.train("user"))
    if events:
        yield (
            f"leakage: {events:,} train events are of users that the split held_out_users "
            "says are not in train"
        )


def others_future_in_train(checked: Checked) -> Iterator[str]:
    """Without a global boundary train knows the future of other users (Ji et al. 2023): true by
    design, and said."""
    if not checked.has_time or checked.by_global_time or checked.time is None:
        return
    last = max((int(time.max()) for (time,) in checked.train("time") if len(time)), default=0)
    share = float((checked.time < last).mean())
    if checked.protocol == "random" or share > 0:
        which = (
            f"{share:.0%} of the queries were"
            if share
            else "events were drawn for the test by chance, some"
        )
        yield (
            f"no global time in this protocol: {which} asked before the last train event, so "
            "models have seen other "
            "users' future; a split by global time (temporal, rolling) shows what to expect in use"
        )


def target_in_features(checked: Checked) -> Iterator[str]:
    """Event features from which the item or the rating can be read."""
    for name, target, share in tell_tale_features(checked.data, checked.fold):
        yield (
            f"leakage: event feature {name} tells the {target} in {share:.1%} of the "
            "rows; is it known beforehand?"
        )


def sampled_metrics(checked: Checked) -> Iterator[str]:
    """Candidates given instead of the catalogue (Krichene and Rendle 2020)."""
    if not checked.data.card.split.sampled:
        return
    blocks = [
        queries.candidates.lengths
        for queries, _ in checked.blocks()
        if queries.candidates is not None
    ]
    if blocks:
        n = int(np.median(np.concatenate(blocks)))
        yield (
            f"sampled metrics: each query ranks {n} given candidates, not the catalogue of "
            f"{checked.data.n_items:,}; "
            "such figures may order models otherwise than a full ranking, and must not be set "
            "beside one"
        )


def cut_offs_beyond_catalogue(checked: Checked) -> Iterator[str]:
    """Cut-offs at which every list holds everything."""
    beyond = [k for k in checked.k if k > checked.data.n_items]
    if beyond:
        names = ", ".join(map(str, beyond))
        yield (
            f"k = {names} is greater than the catalogue of {checked.data.n_items} items: "
            "use a smaller k"
        )


CHECKS: tuple[Callable[[Checked], Iterator[str]], ...] = (
    train_after_queries,
    own_future_in_train,
    future_in_history,
    same_event_in_train,
    truth_in_history,
    held_out_users_in_train,
    target_in_features,
    others_future_in_train,
    sampled_metrics,
    cut_offs_beyond_catalogue,
)


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
