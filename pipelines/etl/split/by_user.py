"""Splits of each user's own events: the last ones, a share of them, or whole sessions."""

from __future__ import annotations

import polars as pl

from falconer.pipelines.data.schema import Fold
from falconer.pipelines.etl.split.config import LastSessions, LeaveLast, UserShare
from falconer.pipelines.etl.split.facts import Facts, last_time
from falconer.pipelines.etl.split.hashes import HASH
from falconer.pipelines.etl.split.parts import (
    NO_VALIDATION,
    Assignment,
    FoldRule,
    Part,
    mixed,
    part_column,
)

SECONDS_PER_MINUTE = 60


def leave_last(
    config: LeaveLast, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """Each user's last `test_events` are test, the `valid_events` before them validation."""
    from_end = pl.len().over("user") - 1 - pl.int_range(pl.len()).over("user")
    held_out = config.test_events + config.valid_events
    part = _from_the_end(from_end, pl.len().over("user"), config.test_events, config.valid_events)
    order = (
        "time, ties by place in the source" if "time" in events.columns else "place in the source"
    )
    test, valid = _last(config.test_events), ""
    if config.valid_events:
        valid = ", the last but one validation" if held_out == 2 else ", those before validation"
    return Assignment(
        part_column(events, part),
        _folds(config.valid_events),
        f"Leave {'one' if config.test_events == 1 else config.test_events} out: each user's {test} "
        f"{'is' if config.test_events == 1 else 'are'} test{valid} (order: {order}); users with "
        f"fewer than {held_out + 1} events are in train only.",
        targets=f"a user's {test}",
        validation=f"each user's {_last(config.valid_events)} before test"
        if config.valid_events
        else NO_VALIDATION,
    )


def _last(number: int) -> str:
    return "last event" if number == 1 else f"last {number} events"


def user_share(
    config: UserShare, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """Of each user with three events or more (two without validation) the last `test_share`, or as
    many drawn by `seed`; at least one event is in each part."""
    n, n_parts = pl.len().over("user").cast(pl.Int64), 3 if config.valid_share else 2
    place = pl.int_range(pl.len())
    if config.by == "random":
        place = pl.col("chance").rank("ordinal").cast(pl.Int64) - 1
    placed = events.select(
        "user", chance=pl.Series(mixed(events[HASH].to_numpy(), config.seed))
    ).select(from_end=n - 1 - place.over("user"), n=n)
    counted = placed.with_columns(
        n_test=(pl.col("n") * config.test_share).round().cast(pl.Int64).clip(1)
    ).with_columns(
        n_test=pl.min_horizontal("n_test", pl.col("n") - n_parts + 1),
        n_valid=(pl.col("n") * config.valid_share).round().cast(pl.Int64).clip(n_parts - 2),
    )
    n_held_out = pl.min_horizontal(pl.col("n_test") + pl.col("n_valid"), pl.col("n") - 1)
    part = (
        pl.when(pl.col("n") < n_parts).then(int(Part.TRAIN))
        .when(pl.col("from_end") < pl.col("n_test")).then(int(Part.TEST))
        .when(pl.col("from_end") < n_held_out).then(int(Part.VALID))
        .otherwise(int(Part.TRAIN))
    )  # fmt: skip
    which = "the last" if config.by == "time" else f"drawn by chance (seed {config.seed}),"
    valid = f", {config.valid_share:.0%} validation" if config.valid_share else ""
    return Assignment(
        part_column(counted, part),
        _folds(config.valid_share, None if config.by == "time" else facts.last),
        f"A share of each user's events, {which} {config.test_share:.0%}, is test{valid}; users "
        f"with fewer than {n_parts} events are in train only.",
        targets=f"{config.test_share:.0%} of a user's events",
        validation=f"{config.valid_share:.0%} of each user's events, "
        + ("just before test" if config.by == "time" else "drawn by chance")
        if config.valid_share
        else NO_VALIDATION,
    )


def last_sessions(
    config: LastSessions, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """Each user's last `test_sessions` are test, the `valid_sessions` before them validation."""
    last_time(facts, "last_sessions")
    gap = pl.col("time").diff().over("user").fill_null(0)
    begins = gap > round(config.gap_minutes * SECONDS_PER_MINUTE)
    placed = events.select("user", begins=begins).select(
        session=pl.col("begins").cast(pl.Int64).cum_sum().over("user"), user="user"
    )
    last = pl.col("session").max().over("user")
    part = _from_the_end(
        last - pl.col("session"), last + 1, config.test_sessions, config.valid_sessions
    )
    held_out = config.test_sessions + config.valid_sessions
    return Assignment(
        part_column(placed, part),
        _folds(config.valid_sessions),
        f"Sessions, parted where a user does nothing for {config.gap_minutes:g} minutes: each "
        f"user's last {config.test_sessions} test, the {config.valid_sessions} before validation; "
        f"users with fewer than {held_out + 1} sessions are in train only.",
        targets=f"all events of a user's last {config.test_sessions} session(s)",
        validation=f"each user's last {config.valid_sessions} session(s) before test"
        if config.valid_sessions
        else NO_VALIDATION,
    )


def _from_the_end(from_end: pl.Expr, number: pl.Expr, n_test: int, n_valid: int) -> pl.Expr:
    """The part of what is `from_end` places from a user's last, of users who have enough."""
    enough = number > n_test + n_valid
    return (
        pl.when(enough & (from_end < n_test)).then(int(Part.TEST))
        .when(enough & (from_end < n_test + n_valid)).then(int(Part.VALID))
        .otherwise(int(Part.TRAIN))
    )  # fmt: skip


def _folds(valid: float, asked_at: int | None = None) -> dict[Fold, FoldRule]:
    folds: dict[Fold, FoldRule] = {"test": FoldRule(Part.TEST, (Part.TRAIN, Part.VALID), asked_at)}
    if valid:
        folds["valid"] = FoldRule(Part.VALID, (Part.TRAIN,), asked_at)
    return folds
