"""Telling train, validation and test apart, before any statistic is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from falconer.pipelines.data.schema import Fold, SplitCard, TaskName, View
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.raw import order_of
from falconer.pipelines.etl.split.config import SplitBase, SplitConfig, SplitPlugin
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
        raise DataError(
            "no events are left to split; see the counts above, and loosen the contract or the "
            "cleaning"
        )
    ordered = events.sort(order_of(events))
    ordered = ordered.with_columns(pl.Series(HASH, event_hashes(ordered)))
    assigned = _assigned(config, _with_given(ordered, parts), candidates)
    counts = {part.name.lower(): int((assigned.part == part).sum()) for part in Part}
    _refuse_empty(counts, assigned.folds, [name for name, _ in parts if name in FOLDS])
    parameters = config.model_dump(mode="json", exclude={"views"})
    card = SplitCard(
        protocol=parameters.pop("protocol"),
        parameters=parameters,
        description=assigned.description,
        views=() if task == "labels" else config.views or _views_of(events),
        sampled=assigned.sampled,
        targets=assigned.targets,
        validation=assigned.validation,
    )
    folds = {fold: assigned.folds[fold] for fold in FOLDS if fold in assigned.folds}
    return Split(ordered.with_columns(assigned.part), folds, card, counts)


def _with_given(events: pl.DataFrame, parts: Sequence[tuple[str, int]]) -> pl.DataFrame:
    """The events with the part that their place in the source tells."""
    if not parts:
        return events
    ends = np.cumsum([height for _, height in parts])
    codes = np.array([Part[name.upper()] for name, _ in parts], np.int8)
    place = np.searchsorted(ends, events["ordinal"].to_numpy(), side="right")
    return events.with_columns(pl.Series(GIVEN, codes[place]))


def _assigned(
    config: SplitBase, events: pl.DataFrame, candidates: pl.DataFrame | None
) -> Assignment:
    if isinstance(config, SplitPlugin):
        return by_plugin(config, events, candidates)
    return PROTOCOLS[type(config)](config, events, candidates)


def _refuse_empty(
    counts: Mapping[str, int], folds: Mapping[Fold, FoldRule], named: Sequence[str]
) -> None:
    truths = [rule.truth.name.lower() for rule in folds.values()]
    empty = [part for part in dict.fromkeys(["train", *truths, *named]) if not counts[part]]
    if empty:
        found = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise DataError(
            f"the split leaves {' and '.join(empty)} without events ({found}); change [split]"
        )


def _views_of(events: pl.DataFrame) -> tuple[View, ...]:
    return ("all", "repeat", "novel") if repeat_share(events) >= REPEATS_MATTER else ("novel",)


def repeat_share(events: pl.DataFrame) -> float:
    """The share of events whose user had the item before."""
    return 1 - events.select("user", "item").n_unique() / len(events)
