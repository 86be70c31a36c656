"""What a build found out beside the tables that it wrote: the facts of the dataset's card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from falconer.pipelines.console import say
from falconer.pipelines.data.schema import Feature, Fold, IdSpace, SplitCard
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl import rows
from falconer.pipelines.etl.catalogue import KINDS
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import Files
from falconer.pipelines.etl.target import Binary

FUTURE = "rejected: time is in the future"
RARE = "dropped: rare user or item, counted on all events"


@dataclass(frozen=True)
class Outcome:
    """As the dataset's card has it; `linked` names the files that are another dataset's too, with
    their checksums."""

    id_space: IdSpace
    n_users: int
    n_items: int
    has_time: bool
    features: tuple[Feature, ...]
    split: SplitCard
    counts: dict[str, int]
    notes: tuple[str, ...]
    linked: Mapping[str, str]


class FutureEventsError(Exception):
    """Events were rejected because of the clock; `latest` is the time of the last one that was
    not."""

    def __init__(self, latest: datetime) -> None:
        super().__init__(latest)
        self.latest = latest


def refuse_future(recipe: EtlRecipe, counts: Mapping[str, int], last: int) -> None:
    """Raise `FutureEventsError` where the clock rejected events; `last` is the latest second of the
    others."""
    if recipe.contract.latest is None and FUTURE in counts:
        raise FutureEventsError(datetime.fromtimestamp(last, UTC))


def refuse_without_ids(columns: Iterable[str], recipe: EtlRecipe) -> None:
    """Raise `DataError` where events with these columns cannot be of the recipe's task."""
    there = set(columns)
    missing = [kind for kind in KINDS if kind not in there]
    if recipe.task == "top_n" and missing:
        raise DataError(
            "a dataset of the task top_n needs users and items, and the events have no "
            f"{' and no '.join(missing)}; "
            'map the columns under [source], or set task = "labels" with a [target]'
        )


def binary_columns(recipe: EtlRecipe) -> tuple[str, ...]:
    """The event columns that must be 0 or 1."""
    target = recipe.target
    return (target.column,) if isinstance(target, Binary) and target.above is None else ()


def stated_id_types(recipe: EtlRecipe) -> dict[str, pl.DataType]:
    """The types of ids that the recipe states."""
    stated = recipe.source.types if isinstance(recipe.source, Files) else {}
    return {kind: pl.Int64() if name == "integer" else pl.String() for kind, name in stated.items()}


def fold_notes(
    recipe: EtlRecipe,
    counts: Mapping[str, int],
    folds: Iterable[Fold],
    row_counts: Mapping[Fold, dict[str, int]],
) -> list[str]:
    """What a reader must know of the counts: of the folds with lists, and of those with rows."""
    notes: list[str] = []
    if recipe.catalogue.counted_on == "all":
        notes.append(
            "Minimum counts were taken on all events, test included, as the published protocol has "
            "it."
        )
    for fold in folds:
        events, outside = counts[f"{fold}_events"], counts[f"{fold}_events_outside"]
        notes.append(
            f"{outside / events:.1%} of the {fold} events ({outside:,} of {events:,}) are of items "
            "outside the catalogue, which no list can hold."
        )
        if missing := counts.get(f"{fold}_candidates_outside"):
            notes.append(
                f"{missing:,} of the given {fold} candidates are outside the catalogue and are not "
                "ranked."
            )
    for fold, found in row_counts.items():
        notes += rows.notes(fold, found)
    return notes


def say_missing_values(recipe: EtlRecipe, columns: Iterable[Mapping[str, Any]]) -> list[str]:
    """Notes for the card of columns that lack values, `columns` as `describe` has them; print those
    of columns that have none at all."""
    source = recipe.source
    tables = source.external if isinstance(source, Files) else ()
    beside = {name: table for table in tables for name in table.columns}
    notes = []
    for column in columns:
        name, rows, nulls = column["name"], column["rows"], column["nulls"]
        if name in beside and nulls:
            notes.append(
                f"{nulls / rows:.1%} of the events ({nulls:,} of {rows:,}) have no {name}: no row "
                f"of {Path(beside[name].path).name} fits them, or it says nothing there."
            )
        elif nulls == rows:
            notes.append(f"No event has a value of {name}.")
        if nulls == rows:
            say(f"{'':<7} {notes[-1]}")
    return notes


def split_counts(
    parts: Mapping[str, int], n_train: int, folds: Mapping[Fold, Mapping[str, int]]
) -> dict[str, int]:
    """What the card tells of the events by part, of the `n_train` that train holds, and of each
    fold's tables."""
    counts = {f"part {part}": n for part, n in parts.items() if n}
    counts["train_events"] = n_train
    counts["dropped: train event outside the catalogue"] = parts["train"] - n_train
    return counts | {
        f"{fold}_{name}": n for fold, table in folds.items() for name, n in table.items()
    }


def say_counts(step: str, counts: Mapping[str, int]) -> None:
    """Say a step's counts in one line."""
    say(f"{step:<7} " + ", ".join(f"{name} {n:,}" for name, n in counts.items()))
