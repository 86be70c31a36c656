"""Splits by global time: test is what happened last."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.split.config import ByTime, Rolling, Temporal, in_seconds, seconds
from falconer.pipelines.etl.split.facts import Facts, from_share, last_time
from falconer.pipelines.etl.split.lonely import refuse_lonely
from falconer.pipelines.etl.split.parts import (
    NO_VALIDATION,
    Assignment,
    FoldRule,
    Part,
    last_to_valid,
    part_column,
    written,
)


def temporal(
    config: Temporal, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """Test from `test_from`, or the last `test_days` or `test_share`; validation just before it."""
    last = last_time(facts, "temporal")
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
        return _by_time(config, events, valid_from, test_from, last + 1)
    test_from = (
        last + 1 - in_seconds(config.test_days)
        if config.test_from is None
        else seconds(config.test_from)
    )
    valid_from = (
        test_from - in_seconds(config.valid_days)
        if config.valid_from is None
        else seconds(config.valid_from)
    )
    until = last + 1 if config.until is None else seconds(config.until)
    if config.test_from is None:
        refuse_lonely(facts, test_from, until)
    if config.valid_from is not None and valid_from >= test_from:
        raise DataError(
            f"split.valid_from = {config.valid_from}: no validation fold is left, since test "
            f"begins on {written(test_from)}; take an earlier one, or valid_days = 0 for none"
        )
    return _by_time(config, events, valid_from, test_from, until)


def rolling(
    config: Rolling, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """The rule of `temporal`, `window` spans of `days` earlier."""
    until = last_time(facts, "rolling") + 1 - config.window * in_seconds(config.days)
    test_from = until - in_seconds(config.days)
    refuse_lonely(facts, test_from, until)
    valid_from = test_from - in_seconds(
        config.days if config.valid_days is None else config.valid_days
    )
    return _by_time(config, events, valid_from, test_from, until)


def _by_time(
    config: ByTime, events: pl.DataFrame, valid_from: int, test_from: int, until: int
) -> Assignment:
    """The parts of three spans, with the events of each user that the folds ask for."""
    of_users = config.valid_by == "last_event"
    valid_from = test_from if of_users else valid_from
    time = pl.col("time")
    span = (
        pl.when(time >= until).then(int(Part.DROPPED))
        .when(time >= test_from).then(int(Part.TEST))
        .when(time >= valid_from).then(int(Part.VALID))
        .otherwise(int(Part.TRAIN))
    )  # fmt: skip
    part = part_column(events, span)
    if config.targets != "all":
        part = _one_each(part, events, config)
    if of_users:
        part = last_to_valid(events.select("user", part=part))
    histories = _histories(config)
    asked_at = None if config.targets != "all" else test_from
    test = FoldRule(Part.TEST, histories["test"], asked_at, until)
    folds: dict[Fold, FoldRule] = {"test": test}
    if of_users:
        folds["valid"] = FoldRule(Part.VALID, (Part.TRAIN,))
    elif valid_from < test_from:
        asked_at = None if config.targets != "all" else valid_from
        folds["valid"] = FoldRule(Part.VALID, histories["valid"], asked_at)
    first, between = min(valid_from, test_from), ""
    if "valid" in folds and not of_users:
        between = f"validation from {written(valid_from)}, "
    return Assignment(
        part,
        folds,
        f"Global time: train before {written(first)}, {between}test from {written(test_from)} "
        f"to before {written(until)}.",
        targets=TARGETS[config.targets],
        validation=_validation(config, folds),
    )


TARGETS = {
    "all": "all events of a user in the span",
    "first": "a user's first event in the span; what follows is not asked for",
    "last": "a user's last event in the span; what precedes it is known",
}


def _validation(config: ByTime, folds: Mapping[Fold, FoldRule]) -> str:
    if "valid" not in folds:
        return NO_VALIDATION
    if config.valid_by == "last_event":
        return "the last event before test of each user who has two or more"
    return "by time: the span just before test"


def _histories(config: ByTime) -> dict[str, tuple[Part, ...]]:
    """What the queries of each fold know: earlier spans whole, and of their own what precedes."""
    if config.targets == "all":
        return {"valid": (Part.TRAIN,), "test": (Part.TRAIN, Part.VALID)}
    before = (Part.TRAIN, Part.VALID, Part.VALID_HISTORY)
    if config.targets == "first":
        return {"valid": (Part.TRAIN,), "test": before}
    return {"valid": (Part.TRAIN, Part.VALID_HISTORY), "test": (*before, Part.TEST_HISTORY)}


def _one_each(part: pl.Series, events: pl.DataFrame, config: ByTime) -> pl.Series:
    """The parts, with all but one event of a user in a fold's span moved to what stands beside."""
    row = pl.int_range(pl.len())
    last = config.targets == "last"
    chosen = row.over("user", "part") == (pl.len().over("user", "part") - 1 if last else 0)
    beside = (
        pl.when(pl.col("part") == int(Part.VALID)).then(int(Part.VALID_HISTORY))
        .when(pl.col("part") == int(Part.TEST))
        .then(int(Part.TEST_HISTORY if last else Part.DROPPED))
        .otherwise("part")
    )  # fmt: skip
    placed = events.select("user", part=part)
    return part_column(placed, pl.when(chosen).then("part").otherwise(beside))
