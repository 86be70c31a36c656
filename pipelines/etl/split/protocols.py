"""The split protocols: each assigns every event to one part. Adding a protocol = a config, a
function, a table row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.raw import order_of
from falconer.pipelines.etl.split.config import (
    GivenCandidates,
    HeldOutUsers,
    LeaveLast,
    Random,
    Rolling,
    Temporal,
    seconds,
)
from falconer.pipelines.etl.split.facts import Facts, from_share
from falconer.pipelines.etl.split.hashes import HASH
from falconer.pipelines.etl.split.parts import Assignment, FoldRule, Part, mixed, written

SECONDS_PER_DAY = 86_400

Protocol = Callable[[Any, pl.DataFrame, Facts, pl.DataFrame | None], Assignment]
"""(config, events in order, facts of all events, candidates that the source gave) -> assignment."""


def temporal(
    config: Temporal, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """Test from `test_from`, or the last `test_days` or `test_share`; validation just before it."""
    last = _last_time(facts, "temporal")
    if config.test_share is not None and config.valid_share is not None:
        test_from = from_share(facts, config.test_share)
        valid_from = from_share(facts, config.test_share + config.valid_share)
        valid_from = valid_from if config.valid_share else test_from
        if config.valid_share and valid_from >= test_from:
            raise DataError(
                f"split.valid_share = {config.valid_share}: no validation fold is left, since so "
                "many events have the same time that they cannot be parted; raise it, or take days "
                "(test_days, valid_days)"
            )
        return _by_time(events, valid_from, test_from, until=last + 1)
    test_from = (
        last + 1 - _days(config.test_days)
        if config.test_from is None
        else seconds(config.test_from)
    )
    valid_from = (
        test_from - _days(config.valid_days)
        if config.valid_from is None
        else seconds(config.valid_from)
    )
    until = last + 1 if config.until is None else seconds(config.until)
    return _by_time(events, valid_from, test_from, until=until)


def rolling(
    config: Rolling, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """The rule of `temporal`, `window` spans of `days` earlier."""
    until = _last_time(facts, "rolling") + 1 - config.window * _days(config.days)
    test_from = until - _days(config.days)
    valid_from = test_from - _days(config.days if config.valid_days is None else config.valid_days)
    return _by_time(events, valid_from, test_from, until=until)


def _by_time(events: pl.DataFrame, valid_from: int, test_from: int, *, until: int) -> Assignment:
    time = pl.col("time")
    part = (
        pl.when(time >= until).then(int(Part.DROPPED))
        .when(time >= test_from).then(int(Part.TEST))
        .when(time >= valid_from).then(int(Part.VALID))
        .otherwise(int(Part.TRAIN))
    )  # fmt: skip
    folds: dict[Fold, FoldRule] = {"test": FoldRule(Part.TEST, (Part.TRAIN, Part.VALID), test_from)}
    between = ""
    if valid_from < test_from:
        folds["valid"] = FoldRule(Part.VALID, (Part.TRAIN,), valid_from)
        between = f"validation from {written(valid_from)}, "
    return Assignment(
        _column(events, part),
        folds,
        f"Global time: train before {written(min(valid_from, test_from))}, {between}test from "
        f"{written(test_from)} "
        f"to before {written(until)}.",
    )


def leave_last(
    config: LeaveLast, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """Each user's last event is test, the last but one validation."""
    from_end = pl.len().over("user") - 1 - pl.int_range(pl.len()).over("user")
    enough = pl.len().over("user") >= 3
    part = (
        pl.when(enough & (from_end == 0)).then(int(Part.TEST))
        .when(enough & (from_end == 1)).then(int(Part.VALID))
        .otherwise(int(Part.TRAIN))
    )  # fmt: skip
    order = (
        "time, ties by place in the source" if "time" in events.columns else "place in the source"
    )
    return Assignment(
        _column(events, part),
        {
            "valid": FoldRule(Part.VALID, (Part.TRAIN,)),
            "test": FoldRule(Part.TEST, (Part.TRAIN, Part.VALID)),
        },
        "Leave one out: each user's last event is test, the last but one validation (order: "
        f"{order}); "
        "users with fewer than 3 events are in train only.",
    )


def held_out_users(
    config: HeldOutUsers, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """Of the users with two events or more, in the order of a hash of their ids and `seed`, the
    first are test users, the next validation users: a user who comes or goes moves one other."""
    wanted = config.test_users + config.valid_users
    if facts.users is None or wanted > facts.n_users:
        raise DataError(
            f"split held_out_users asks for {config.test_users} test and {config.valid_users} "
            "validation users, and "
            f"{facts.n_users} users have two events or more; lower test_users and valid_users"
        )
    permuted = facts.users["user"]
    marked = events.select(
        in_test=pl.col("user").is_in(permuted[: config.test_users].implode()),
        in_valid=pl.col("user").is_in(permuted[config.test_users : wanted].implode()),
        given=_given(config, events),
    )
    part = (
        pl.when(pl.col("in_test") & pl.col("given")).then(int(Part.TEST_HISTORY))
        .when("in_test").then(int(Part.TEST))
        .when(pl.col("in_valid") & pl.col("given")).then(int(Part.VALID_HISTORY))
        .when("in_valid").then(int(Part.VALID))
        .otherwise(int(Part.TRAIN))
    )  # fmt: skip
    asked_at = None if config.given_by == "time" else facts.last
    folds: dict[Fold, FoldRule] = {"test": FoldRule(Part.TEST, (Part.TEST_HISTORY,), asked_at)}
    if config.valid_users:
        folds["valid"] = FoldRule(Part.VALID, (Part.VALID_HISTORY,), asked_at)
    how = "chosen at random" if config.given_by == "random" else "the earliest"
    return Assignment(
        _column(marked, part),
        folds,
        f"Held-out users: {config.test_users} test and {config.valid_users} validation users are "
        "not in train; "
        f"{config.given_share:.0%} of each one's events, {how}, are given as history (seed "
        f"{config.seed}).",
    )


def _given(config: HeldOutUsers, events: pl.DataFrame) -> pl.Series:
    """Whether an event of a held-out user is given as history: at least one is, and at least one is
    not."""
    place = (
        pl.int_range(pl.len())
        if config.given_by == "time"
        else pl.col("chance").rank("ordinal").cast(pl.Int64) - 1
    )
    n = pl.len().cast(pl.Int64)
    placed = events.select(
        "user", chance=pl.Series(mixed(events[HASH].to_numpy(), config.seed))
    ).select(place=place.over("user"), n=n.over("user"))
    n_given = (pl.col("n") * config.given_share).round().cast(pl.Int64)
    return placed.select(given=pl.col("place") < n_given.clip(1, pl.col("n") - 1))["given"]


def random(
    config: Random, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """An event's number in [0, 1), from its content and the seed, decides."""
    number = pl.lit(pl.Series(mixed(events[HASH].to_numpy(), config.seed) / 2**64))
    part = (
        pl.when(number < config.test_share).then(int(Part.TEST))
        .when(number < config.test_share + config.valid_share).then(int(Part.VALID))
        .otherwise(int(Part.TRAIN))
    )  # fmt: skip
    folds: dict[Fold, FoldRule] = {
        "test": FoldRule(Part.TEST, (Part.TRAIN, Part.VALID), facts.last)
    }
    if config.valid_share:
        folds["valid"] = FoldRule(Part.VALID, (Part.TRAIN,), facts.last)
    return Assignment(
        _column(events, part),
        folds,
        f"Random: {config.test_share:.0%} of the events are test and {config.valid_share:.0%} "
        "validation, whatever "
        f"their time (seed {config.seed}).",
    )


def given_candidates(
    config: GivenCandidates, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """The event that the source names is test; what its user did later is dropped, what is at the
    same time stays."""
    if candidates is None:
        raise DataError(
            "split given_candidates: the source gives no candidates; choose another protocol or "
            "source"
        )
    if candidates["user"].is_duplicated().any():
        raise DataError(
            "split given_candidates: the source's candidates name a user more than once"
        )
    clock = pl.col(order_of(events)[0])
    assigned = (
        events.join(candidates.select("user", named="item"), on="user", how="left", maintain_order="left")
        .with_columns(row=pl.int_range(pl.len()))
        .with_columns(held_row=pl.when(pl.col("item") == pl.col("named")).then("row").max().over("user"))
        .with_columns(held_clock=pl.when(pl.col("row") == pl.col("held_row")).then(clock).max().over("user"))
        .with_columns(
            part=pl.when(pl.col("row") == pl.col("held_row")).then(int(Part.TEST))
            .when(clock > pl.col("held_clock")).then(int(Part.DROPPED))
            .otherwise(int(Part.TRAIN))
            .cast(pl.Int8)
        )
    )  # fmt: skip
    folds: dict[Fold, FoldRule] = {"test": FoldRule(Part.TEST, (Part.TRAIN, Part.VALID))}
    if config.valid_last:
        folds["valid"] = FoldRule(Part.VALID, (Part.TRAIN,))
        assigned = assigned.with_columns(part=_last_to_valid(assigned))
    return Assignment(
        assigned["part"],
        folds,
        "Given candidates: the source names each user's held-out item and the few items it is "
        "ranked among, so test "
        "metrics are sampled metrics, not comparable with those of the whole catalogue.",
        sampled=True,
    )


def _last_to_valid(assigned: pl.DataFrame) -> pl.Series:
    """The parts, with the last train event of each user who has two or more moved to validation."""
    in_train = pl.col("part") == int(Part.TRAIN)
    counted = assigned.select(
        "part",
        "row",
        last=pl.when(in_train).then("row").max().over("user"),
        n=in_train.sum().over("user"),
    )
    chosen = in_train & (pl.col("row") == pl.col("last")) & (pl.col("n") >= 2)
    return _column(counted, pl.when(chosen).then(int(Part.VALID)).otherwise("part"))


def _column(events: pl.DataFrame, part: pl.Expr) -> pl.Series:
    return events.select(part.cast(pl.Int8).alias("part"))["part"]


def _days(days: float) -> int:
    return round(days * SECONDS_PER_DAY)


def _last_time(facts: Facts, protocol: str) -> int:
    if facts.last is None:
        raise DataError(
            f"split {protocol} needs times, and the source has none; name its time column, or use "
            "leave_last, "
            "held_out_users or random"
        )
    return facts.last


PROTOCOLS: Mapping[type[Any], Protocol] = {
    Temporal: temporal,
    Rolling: rolling,
    LeaveLast: leave_last,
    HeldOutUsers: held_out_users,
    Random: random,
    GivenCandidates: given_candidates,
}
