"""A build that holds all its rows in memory: for what fits, and for what cannot go bucket by
bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from falconer.pipelines.console import say
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import write_table
from falconer.pipelines.data.fold_tables import write_pairs, write_queries
from falconer.pipelines.data.schema import COLUMNS, LOGGED, VALID_EVENTS, Fold
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl import held as kept
from falconer.pipelines.etl.catalogue import KINDS, keep_frequent
from falconer.pipelines.etl.clean import clean
from falconer.pipelines.etl.contract import Checked, check
from falconer.pipelines.etl.describe import describe
from falconer.pipelines.etl.drift import refuse_drift
from falconer.pipelines.etl.encode import Encoded, Parent, encode
from falconer.pipelines.etl.engines import Engine
from falconer.pipelines.etl.expectations import expect
from falconer.pipelines.etl.folds import FoldTables
from falconer.pipelines.etl.held import Held
from falconer.pipelines.etl.identity import Sources
from falconer.pipelines.etl.layering import layer
from falconer.pipelines.etl.logged import with_logged
from falconer.pipelines.etl.outcome import (
    RARE,
    Outcome,
    binary_columns,
    fold_notes,
    refuse_future,
    refuse_without_ids,
    say_counts,
    say_missing_values,
    split_counts,
    stated_id_types,
)
from falconer.pipelines.etl.raw import without_idle_fraction
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.rows import RowTables
from falconer.pipelines.etl.selection import say_selection
from falconer.pipelines.etl.side_by_side import side_by_side
from falconer.pipelines.etl.sources import Files, read
from falconer.pipelines.etl.split import Part, Split, sketched, split
from falconer.pipelines.etl.split.hashes import HASH
from falconer.pipelines.etl.stopwatch import Stopwatch
from falconer.pipelines.etl.target import refuse_constant, with_label
from falconer.pipelines.files import write_json

ROWS_PER_FILE = 2**20
"""Of train: several files are written at once."""


@dataclass(frozen=True)
class Cleaned:
    """A source's events that count, whatever the split will be, and what they were read as."""

    checked: Checked
    events: pl.DataFrame
    counts: dict[str, int]
    parent: Parent | None


def cleaned(
    recipe: EtlRecipe, sources: Sources, parent: Parent | None, held: Held | None, watch: Stopwatch
) -> Cleaned:
    """Read, check and clean the source."""
    checked, counts = _read_and_check(recipe, _id_types(recipe, parent), watch)
    sources.refuse_change()
    if held is not None and parent is not None:
        with watch("earlier days"):
            checked = held.followed_by(checked, recipe.contract.max_rejected_share)
            earlier = held.earlier(parent.catalogue, checked.raw.events["user"])
            parent, counts = replace(parent, earlier=earlier), dict(checked.counts)
    events = _clean(recipe, checked, counts, watch)
    return Cleaned(checked, events, counts, parent)


def fill(
    root: Path,
    recipe: EtlRecipe,
    found: Cleaned,
    sources: Sources,
    engine: Engine,
    held: Held | None,
    watch: Stopwatch,
) -> Outcome:
    """Write every table of the dataset below `root`."""
    parent, counts = found.parent, dict(found.counts)
    divided = _divided(recipe, found, watch)
    checked, logged = _with_logged(recipe, found.checked, divided, watch)
    counts |= logged
    selection = tuple(say_selection(divided.card.views, parent.views if parent else ()))
    encoded = encode(checked.raw, divided, recipe, engine=engine, parent=parent, watch=watch)
    if held is not None and parent is not None and recipe.refit_above is not None:
        known = parent.encoder.encodings["event"]
        refuse_drift(encoded.train, known, recipe.refit_above, parent.dataset_id)
    counts |= _counts_of(divided, encoded, held)
    _say_encoded(encoded, engine.name)
    with watch("write"):
        linked = held.link_train(root) if held else {}
        _write(root, checked, encoded, first=len(linked))
        _write_sketches(root, divided, held)
        columns = describe(divided.events, encoded.counted)
        write_json(root / COLUMNS, columns)
        _write_days(root, recipe, divided, sources, counts["rows_read"], held)
        linked |= layer(root, held.data) if held else {}
    row_counts = {fold: part.counts for fold, part in encoded.rows.items()}
    return Outcome(
        id_space=encoded.catalogue.id_space,
        n_users=len(encoded.catalogue.users),
        n_items=len(encoded.catalogue.items),
        has_time="time" in encoded.train.columns,
        features=encoded.encoder.features(),
        split=divided.card,
        counts=counts,
        notes=(
            *checked.raw.notes,
            *_lineage_notes(parent, held),
            *fold_notes(recipe, counts, encoded.folds, row_counts),
            *say_missing_values(recipe, columns),
            *selection,
        ),
        linked=linked,
    )


def _divided(recipe: EtlRecipe, found: Cleaned, watch: Stopwatch) -> Split:
    raw = found.checked.raw
    with watch("split"):
        divided = split(
            found.events, recipe.split, raw.candidates, parts=raw.parts, task=recipe.task
        )
    say_counts("split", {part: n for part, n in divided.counts.items() if n})
    say(f"{'':<7} {divided.card.description}")
    return divided


def _with_logged(
    recipe: EtlRecipe, checked: Checked, divided: Split, watch: Stopwatch
) -> tuple[Checked, dict[str, int]]:
    """With the rows of what was shown by chance, where the recipe names any, and their counts."""
    if recipe.logged is None:
        return checked, {}
    with watch("logged rows"):
        rule = divided.folds["test"]
        checked, logged = with_logged(checked, recipe.logged, recipe.contract, rule)
    say_counts("logged", logged)
    if not logged["logged_rows"]:
        say(f"{'':<7} {checked.raw.notes[-1]}")
    return checked, logged


def _write_days(
    root: Path,
    recipe: EtlRecipe,
    divided: Split,
    sources: Sources,
    n_read: int,
    held: Held | None,
) -> None:
    """What a later day needs of these, where the source has days."""
    if isinstance(recipe.source, Files) and recipe.source.partition is not None:
        kept.write(root, divided, sources.days(recipe.source.partition), n_read, held)


def _id_types(recipe: EtlRecipe, parent: Parent | None) -> dict[str, pl.DataType]:
    """The types that ids must have: those of the dataset that this one extends, else the
    recipe's."""
    types = stated_id_types(recipe)
    if parent is not None:
        known = {kind: parent.catalogue.of(kind).values for kind in KINDS}
        types |= {kind: values.dtype for kind, values in known.items() if len(values)}
    return types


def _read_and_check(
    recipe: EtlRecipe, id_types: Mapping[str, pl.DataType], watch: Stopwatch
) -> tuple[Checked, dict[str, int]]:
    with watch("read"):
        raw = read(recipe.source)
    tables = {"events": raw.events, "users": raw.users, "items": raw.items}
    say_counts("read", {name: len(table) for name, table in tables.items() if table is not None})
    with watch("check"):
        refuse_without_ids(raw.events.columns, recipe)
        checked = check(
            raw,
            recipe.contract,
            numeric=recipe.features.numeric(),
            binary=binary_columns(recipe),
            id_types=id_types,
        )
        share = recipe.contract.max_rejected_share
        checked = expect(raw, checked, recipe.expect, share)
        events = without_idle_fraction(checked.raw.events)
        checked = replace(checked, raw=replace(checked.raw, events=events))
    say_counts("check", checked.counts)
    if checked.raw.events.is_empty():
        raise DataError("events: no row is left after what the recipe expects; see [expect]")
    if "time" in checked.raw.events.columns:
        refuse_future(recipe, checked.counts, int(checked.raw.events["time"].to_numpy().max()))
    return checked, dict(checked.counts)


def _clean(
    recipe: EtlRecipe, checked: Checked, counts: dict[str, int], watch: Stopwatch
) -> pl.DataFrame:
    """The events that count; adds the drops to `counts`."""
    with watch("clean"):
        events, drops = clean(checked.raw.events, recipe.clean)
        if recipe.target is not None:
            events, more = with_label(events, recipe.target)
            refuse_constant(events["label"].n_unique(), recipe.target)
            drops |= more
        if recipe.catalogue.counted_on == "all":
            before = len(events)
            events = keep_frequent(events, recipe.catalogue)
            drops[RARE] = before - len(events)
    drops["events_kept"] = len(events)
    counts |= drops
    say_counts("clean", drops)
    return events


def _counts_of(divided: Split, encoded: Encoded, held: Held | None) -> dict[str, int]:
    tables: dict[Fold, FoldTables | RowTables] = {**encoded.folds, **encoded.rows}
    counts = split_counts(
        divided.counts,
        len(encoded.train),
        {fold: table.counts for fold, table in tables.items()},
    )
    if held:
        counts["train_events"] += held.data.card.counts["train_events"]
    return counts


def _lineage_notes(parent: Parent | None, held: Held | None) -> list[str]:
    notes = (
        []
        if parent is None
        else [f"Ids, categories and scales continue those of dataset {parent.dataset_id}."]
    )
    if held is not None:
        notes.append(
            "Days were appended to that dataset: its train parts are part of this one, and counts "
            "of reading, checking and cleaning are of the new files and the held-out events."
        )
    return notes


def _write(root: Path, checked: Checked, encoded: Encoded, *, first: int) -> None:
    def write_part(number: int) -> None:
        rows = encoded.train.slice(number * ROWS_PER_FILE, ROWS_PER_FILE)
        write_table(root, f"train/part-{first + number:05}.parquet", _arrow(rows), nulls=False)

    side_by_side(write_part, range(-(-len(encoded.train) // ROWS_PER_FILE)))
    if encoded.valid is not None:
        write_table(root, VALID_EVENTS, _arrow(encoded.valid), nulls=False)
    write_table(root, "vocab/user.parquet", _arrow(encoded.catalogue.users.table))
    write_table(root, "vocab/item.parquet", _arrow(encoded.catalogue.items.table))
    for kind, entities in encoded.entities.items():
        write_table(root, f"{kind}s.parquet", _arrow(entities))
    for fold, tables in encoded.folds.items():
        context = tables.context
        write_queries(
            root,
            fold,
            tables.queries,
            _arrow(tables.keys.to_frame())["user"],
            tables.truth,
            {} if context is None else {name: context[name].to_numpy() for name in context.columns},
        )
    for fold, part in encoded.rows.items():
        write_pairs(root, fold, _arrow(part.pairs), part.labels)
    if encoded.logged is not None:
        write_table(root, LOGGED, _arrow(encoded.logged))
    for name, rejected in checked.rejected.items():
        write_table(root, f"rejected/{name}.parquet", _arrow(rejected))
    encoded.encoder.save(root)


def _write_sketches(root: Path, divided: Split, held: Held | None) -> None:
    """What a later `evaluate` compares with the train events of a model."""
    hashed = divided.events.select("part", HASH)
    for name, part in sketched(divided.folds).items():
        hashes = hashed.filter(pl.col("part") == int(part))[HASH].to_numpy()
        if held is not None and part == Part.TRAIN:
            hashes = np.concatenate([held.train_sketch(), hashes])
        overlap.write(root, overlap.part_file(name), hashes)


def _arrow(frame: pl.DataFrame) -> pa.Table:
    """An Arrow table of types that every reader knows."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _say_encoded(encoded: Encoded, engine: str) -> None:
    facts = {"users": len(encoded.catalogue.users), "items": len(encoded.catalogue.items)}
    facts |= {"train events": len(encoded.train), "features": len(encoded.encoder.features())}
    facts |= {f"{fold} queries": len(tables.queries) for fold, tables in encoded.folds.items()}
    facts |= {f"{fold} rows": len(tables) for fold, tables in encoded.rows.items()}
    say_counts("encode", facts)
    say(f"{'':<7} fitted on train only, encoded by {engine}")
