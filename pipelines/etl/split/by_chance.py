"""Splits by chance: of users, or of events."""

from __future__ import annotations

import polars as pl

from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.split.config import HeldOutUsers, Random
from falconer.pipelines.etl.split.facts import Facts, numbers_of
from falconer.pipelines.etl.split.hashes import HASH
from falconer.pipelines.etl.split.parts import (
    NO_VALIDATION,
    Assignment,
    FoldRule,
    Part,
    mixed,
    part_column,
)


def held_out_users(
    config: HeldOutUsers, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """Of the users with two events or more, in the order of a hash of their ids and `seed`, the
    first are test users, the next validation users: a user who comes or goes moves one other."""
    test, valid = _named(config, facts) if config.is_given else _drawn(config, facts)
    marked = events.select(
        in_test=pl.col("user").is_in(test.implode()),
        in_valid=pl.col("user").is_in(valid.implode()),
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
    if len(valid):
        folds["valid"] = FoldRule(Part.VALID, (Part.VALID_HISTORY,), asked_at)
    how = "chosen at random" if config.given_by == "random" else "the earliest"
    return Assignment(
        part_column(marked, part),
        folds,
        f"Held-out users{_who(config, len(test) + len(valid))}: {len(test)} test and {len(valid)} "
        f"validation users are not in train; {config.given_share:.0%} of each one's events, {how}, "
        f"are given as history (seed {config.seed}).",
        targets="all events of a held-out user that are not given",
        validation="other held-out users" if len(valid) else NO_VALIDATION,
    )


def _drawn(config: HeldOutUsers, facts: Facts) -> tuple[pl.Series, pl.Series]:
    """Test and validation users by chance."""
    n_test, n_valid = numbers_of(config, facts.n_users)
    wanted = n_test + n_valid
    if facts.users is None or wanted > facts.n_users:
        raise DataError(
            f"split held_out_users asks for {n_test} test and {n_valid} validation users, and "
            f"{facts.n_users} users have two events or more; lower test_users and valid_users"
        )
    return facts.users["user"][:n_test], facts.users["user"][n_test:wanted]


def _named(config: HeldOutUsers, facts: Facts) -> tuple[pl.Series, pl.Series]:
    """Test and validation users by the recipe's lists, as far as they can be held out."""
    there = pl.Series("user", [], pl.String) if facts.users is None else facts.users["user"]
    lists = {"test": config.test_user_ids, "valid": config.valid_user_ids}
    found = {
        fold: there.filter(there.cast(pl.String).is_in(list(ids or ())))
        for fold, ids in lists.items()
    }
    for fold, ids in lists.items():
        if ids and found[fold].is_empty():
            raise DataError(
                f"split held_out_users: of the {len(ids)} users of {fold}_user_ids none has two "
                f"events or more (the first is {ids[0]!r}); are these ids of users?"
            )
    return found["test"], found["valid"]


def _who(config: HeldOutUsers, n_found: int) -> str:
    if not config.is_given:
        return ""
    missing = len(config.test_user_ids or ()) + len(config.valid_user_ids or ()) - n_found
    left = f"; {missing:,} others have no two events and are not held out" if missing else ""
    return f" (given by the recipe{left})"


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
        part_column(events, part),
        folds,
        f"Random: {config.test_share:.0%} of the events are test and {config.valid_share:.0%} "
        "validation, whatever "
        f"their time (seed {config.seed}).",
        targets="all events of a user that were drawn",
        validation="events drawn by chance" if config.valid_share else NO_VALIDATION,
    )
