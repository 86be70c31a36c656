"""Telling train, validation and test apart, before any statistic is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from falconer.pipelines.data.schema import Fold, SplitCard, TaskName, View
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl import raw
from falconer.pipelines.etl.split.config import SplitBase, SplitConfig, SplitPlugin
from falconer.pipelines.etl.split.facts import Facts, facts_of
from falconer.pipelines.etl.split.given import GIVEN
from falconer.pipelines.etl.split.hashes import HASH, event_hashes
from falconer.pipelines.etl.split.parts import Assignment, FoldRule, Part
from falconer.pipelines.etl.split.plugin import by_plugin
from falconer.pipelines.etl.split.protocols import PROTOCOLS

REPEATS_MATTER = 0.01
"""From this share of repeats on, a report shows all views, and models are selected on `all`."""
FOLDS: tuple[Fold, Fold] = ("valid", "test")

__all__ = ["FoldRule", "Part", "Split", "SplitConfig", "split"]


@dataclass(frozen=True)
class Split:
    """The events in order, with columns `part` and `event_hash`; how the folds' queries are made;
    the card; events by part."""

    events: pl.DataFrame
    folds: Mapping[Fold, FoldRule]
    card: SplitCard
    counts: Mapping[str, int]


def split(
    events: pl.DataFrame,
    config: SplitBase,
    candidates: pl.DataFrame | None = None,
    *,
    parts: Sequence[tuple[str, int]] = (),
    task: TaskName = "top_n",
) -> Split:
    """Assign every event to one part by the configured protocol; the order of the rows does not
    matter.

    `parts` are names of `Part` and numbers of rows in the source, in order, where the source tells
    them. The task `labels` has no views.

    Raises `DataError` where the events lack what the protocol needs, or where a part that it
    promises is empty.
    """
    if events.is_empty():
        raise nothing_left()
    ordered = hashed(events)
    facts = facts_of(config, ordered)
    assigned = assign(config, _with_given(ordered, parts), facts, candidates)
    counts = counts_of(assigned)
    refuse_empty(counts, assigned.folds, [name for name, _ in parts if name in FOLDS])
    repeats = 0.0 if task == "labels" or config.views else repeat_share(events)
    card = card_of(config, assigned, task, repeats)
    return Split(ordered.with_columns(assigned.part), in_order(assigned.folds), card, counts)


def nothing_left() -> DataError:
    """The refusal where there is no event."""
    return DataError(
        "no events are left to split; see the counts above, and loosen the contract or the cleaning"
    )


def hashed(events: pl.DataFrame) -> pl.DataFrame:
    """The events in order, with `event_hash`."""
    ordered = raw.in_order(events)
    return ordered.with_columns(pl.Series(HASH, event_hashes(ordered)))


def assign(
    config: SplitBase, ordered: pl.DataFrame, facts: Facts, candidates: pl.DataFrame | None = None
) -> Assignment:
    """The protocol's assignment of these events, or of all of some users' events."""
    if isinstance(config, SplitPlugin):
        return by_plugin(config, ordered, candidates)
    return PROTOCOLS[type(config)](config, ordered, facts, candidates)


def counts_of(assigned: Assignment) -> dict[str, int]:
    """Part -> events."""
    return {part.name.lower(): int((assigned.part == part).sum()) for part in Part}


def in_order(folds: Mapping[Fold, FoldRule]) -> dict[Fold, FoldRule]:
    """Validation before test."""
    return {fold: folds[fold] for fold in FOLDS if fold in folds}


def sketched(folds: Mapping[Fold, FoldRule]) -> dict[str, Part]:
    """The parts whose events a dataset keeps sketches of, by the sketches' names."""
    return {"train": Part.TRAIN, **{fold: rule.truth for fold, rule in folds.items()}}


def card_of(config: SplitBase, assigned: Assignment, task: TaskName, repeats: float) -> SplitCard:
    """The split's card; `repeats`: the share of events whose user had the item before."""
    parameters = _briefly(config.model_dump(mode="json", exclude={"views"}))
    views: tuple[View, ...] = (
        ("all", "repeat", "novel") if repeats >= REPEATS_MATTER else ("novel",)
    )
    return SplitCard(
        protocol=parameters.pop("protocol"),
        parameters=parameters,
        description=assigned.description,
        views=() if task == "labels" else config.views or views,
        sampled=assigned.sampled,
        targets=assigned.targets,
        validation=assigned.validation,
    )


def _briefly(parameters: dict[str, Any]) -> dict[str, Any]:
    """Lists of ids as their lengths: a card is read by people, and users are nobody's business."""
    return {
        name: f"{len(value)} ids" if name.endswith("_ids") and value else value
        for name, value in parameters.items()
    }


def _with_given(events: pl.DataFrame, parts: Sequence[tuple[str, int]]) -> pl.DataFrame:
    """The events with the part that their place in the source tells."""
    if not parts:
        return events
    ends = np.cumsum([height for _, height in parts])
    codes = np.array([Part[name.upper()] for name, _ in parts], np.int8)
    place = np.searchsorted(ends, events["ordinal"].to_numpy(), side="right")
    return events.with_columns(pl.Series(GIVEN, codes[place]))


def refuse_empty(
    counts: Mapping[str, int], folds: Mapping[Fold, FoldRule], named: Sequence[str] = ()
) -> None:
    """Raise `DataError` where train, a fold's truth or one of the `named` parts has no event."""
    truths = [rule.truth.name.lower() for rule in folds.values()]
    empty = [part for part in dict.fromkeys(["train", *truths, *named]) if not counts[part]]
    if empty:
        found = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise DataError(
            f"the split leaves {' and '.join(empty)} without events ({found}); change [split]"
        )


def repeat_share(events: pl.DataFrame) -> float:
    """The share of events whose user had the item before; where an eighth of all pairs shows that
    it matters, what these alone make of it."""
    # By hashes of 64 bits, in a third of the time.
    pairs = events.select("user", "item").hash_rows()
    for some in (pairs.filter(pairs % 8 == 0), pairs):
        share = (len(some) - some.n_unique()) / len(events)
        if share >= REPEATS_MATTER:
            break
    return share
