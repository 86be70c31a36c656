"""Splits that the source itself tells: files for each part, or held-out items with candidates."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.raw import FRACTION, order_of
from falconer.pipelines.etl.split.config import Given, GivenCandidates
from falconer.pipelines.etl.split.facts import Facts
from falconer.pipelines.etl.split.parts import (
    NO_VALIDATION,
    Assignment,
    FoldRule,
    Part,
    last_to_valid,
)

GIVEN = "given_part"
"""Column beside the events, where the source tells their parts: a `Part`."""
EVENT = ("user", "item", "time", FRACTION)
HISTORIES: dict[Fold, tuple[Part, ...]] = {
    "valid": (Part.TRAIN, Part.VALID_HISTORY),
    "test": (Part.TRAIN, Part.VALID_HISTORY, Part.VALID, Part.TEST_HISTORY),
}
TRUTHS: dict[Fold, Part] = {"valid": Part.VALID, "test": Part.TEST}
HISTORY_FILES = (Part.VALID_HISTORY, Part.TEST_HISTORY)


def given(
    config: Given, events: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None
) -> Assignment:
    """Each event's part is that of its file."""
    if GIVEN not in events.columns:
        raise DataError(
            "split given: the source does not tell the parts; name the files of test, and of "
            "validation if there are any, under [source.parts]"
        )
    part = events[GIVEN].alias("part")
    if config.shared_events == "refuse" and {"user", "item"} <= set(events.columns):
        _refuse_shared(events)
    there = {Part(number) for number in part.unique()}
    folds: dict[Fold, FoldRule] = {
        fold: FoldRule(truth, HISTORIES[fold], _asked_at(events, facts, fold))
        for fold, truth in TRUTHS.items()
        if truth in there
    }
    own = [other.name.lower() for other in HISTORY_FILES if other in there]
    return Assignment(
        part,
        folds,
        "Given: the source has files of its own for each part"
        + (f"; {' and '.join(own)} stand in files too" if own else "")
        + _strangers(events, folds)
        + ". Nothing was drawn or cut.",
        targets="all events of the test file",
        validation="a file of its own" if "valid" in folds else NO_VALIDATION,
    )


def _refuse_shared(events: pl.DataFrame) -> None:
    """Raise `DataError` where an event of a fold's truth is in another part too."""
    names = [name for name in EVENT if name in events.columns]
    parts = pl.col(GIVEN)
    shared = events.filter(
        parts.n_unique().over(names) > 1,
        parts.is_in([int(truth) for truth in TRUTHS.values()]).any().over(names),
    )
    if shared.is_empty():
        return
    first = shared.row(0, named=True)
    same = shared.filter(*(pl.col(name).eq_missing(first[name]) for name in names))
    where = " and ".join(Part(number).name.lower() for number in same[GIVEN].unique().sort())
    told = ", ".join(f"{name} {first[name]}" for name in names if name != FRACTION)
    raise DataError(
        f"split given: {shared.select(names).n_unique():,} events of test or validation are in "
        f"another part too, the first ({told}) in {where}: a model could learn the answers; take "
        'them out of the files, or set split.shared_events = "keep" where these are repeats'
    )


def _asked_at(events: pl.DataFrame, facts: Facts, fold: Fold) -> int | None:
    """None, the time of the user's first event in the fold, where no history goes beyond that; else
    the end of everything."""
    if "time" not in events.columns or "user" not in events.columns:
        return None
    part = pl.col(GIVEN)
    known = part.is_in([int(one) for one in HISTORIES[fold]])
    first = pl.when(part == int(TRUTHS[fold])).then("time").min().over("user")
    late = events.select((known & (pl.col("time") > first)).any()).item()
    return facts.last if late else None


def _strangers(events: pl.DataFrame, folds: Mapping[Fold, FoldRule]) -> str:
    """How many of the asked users are in train."""
    if "user" not in events.columns:
        return ""
    users = {part: events.filter(pl.col(GIVEN) == int(part))["user"].unique() for part in Part}
    told = []
    for fold in folds:
        asked = users[TRUTHS[fold]]
        n_known = int(asked.is_in(users[Part.TRAIN].implode()).sum())
        told.append(f"{n_known:,} of the {len(asked):,} {fold} users are in train")
    return "".join(f"; {text}" for text in told)


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
    named = candidates.select("user", named="item")
    is_named = pl.col("item") == pl.col("named")
    is_held = pl.col("row") == pl.col("held_row")
    assigned = (
        events.join(named, on="user", how="left", maintain_order="left")
        .with_columns(row=pl.int_range(pl.len()))
        .with_columns(held_row=pl.when(is_named).then("row").max().over("user"))
        .with_columns(held_clock=pl.when(is_held).then(clock).max().over("user"))
        .with_columns(
            part=pl.when(is_held).then(int(Part.TEST))
            .when(clock > pl.col("held_clock")).then(int(Part.DROPPED))
            .otherwise(int(Part.TRAIN))
            .cast(pl.Int8)
        )
    )  # fmt: skip
    folds: dict[Fold, FoldRule] = {"test": FoldRule(Part.TEST, (Part.TRAIN, Part.VALID))}
    if config.valid_last:
        folds["valid"] = FoldRule(Part.VALID, (Part.TRAIN,))
        assigned = assigned.with_columns(part=last_to_valid(assigned))
    return Assignment(
        assigned["part"],
        folds,
        "Given candidates: the source names each user's held-out item and the few items it is "
        "ranked among, so test "
        "metrics are sampled metrics, not comparable with those of the whole catalogue.",
        sampled=True,
        targets="the one event that the source names for each user",
        validation="each user's last event that is left" if config.valid_last else NO_VALIDATION,
    )
