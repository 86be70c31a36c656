"""A build in buckets, from the source's pieces to the tables of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from falconer.pipelines.console import say
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import write_table
from falconer.pipelines.data.schema import COLUMNS, Fold, SplitCard
from falconer.pipelines.etl import features as plans
from falconer.pipelines.etl.buckets import vocabularies
from falconer.pipelines.etl.buckets.check import check_entities, typed
from falconer.pipelines.etl.buckets.clean import Whole, clean_buckets
from falconer.pipelines.etl.buckets.encode import Encoder
from falconer.pipelines.etl.buckets.features import Features
from falconer.pipelines.etl.buckets.held import write_held
from falconer.pipelines.etl.buckets.scatter import scatter
from falconer.pipelines.etl.buckets.spill import OLDEST, Spill
from falconer.pipelines.etl.contract import REQUIRED_NUMBERS, Rules
from falconer.pipelines.etl.encode import lineage_of
from falconer.pipelines.etl.engines import Engine
from falconer.pipelines.etl.identity import Sources
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.outcome import (
    Outcome,
    binary_columns,
    fold_notes,
    refuse_future,
    say_counts,
    split_counts,
)
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.selection import say_selection
from falconer.pipelines.etl.sources import Files
from falconer.pipelines.etl.split import (
    FoldRule,
    Part,
    assign,
    card_of,
    hashed,
    in_order,
    nothing_left,
    refuse_empty,
    sketched,
)
from falconer.pipelines.etl.split import counts_of as part_counts
from falconer.pipelines.etl.split.hashes import HASH
from falconer.pipelines.etl.split.parts import Assignment
from falconer.pipelines.etl.stopwatch import Stopwatch
from falconer.pipelines.files import write_json


def fill(
    root: Path,
    recipe: EtlRecipe,
    sources: Sources,
    engine: Engine,
    buckets: Buckets,
    watch: Stopwatch,
) -> Outcome:
    """Write every table of the dataset below `root`; what lies on disk meanwhile is beside it."""
    folder = root.parent / "spill"
    with watch("read and check"):
        entities = check_entities(recipe)
        spill = Spill(folder / "read", buckets.n)
        rules = Rules(REQUIRED_NUMBERS, recipe.features.numeric()["events"], binary_columns(recipe))
        found = scatter(recipe, rules, spill, buckets.rows)
        sources.refuse_change()
    say_counts("read", {"events": found.n_read, **entities.read})
    raw = typed(found, spill, entities, recipe)
    with watch("clean"):
        spill, whole = clean_buckets(spill, folder, recipe, found, raw)
    counts = found.counts() | entities.counts | whole.unlisted
    say_counts("check", counts)
    if found.last is not None:
        refuse_future(recipe, counts, found.last)
    drops = whole.drops | {"events_kept": whole.n_events}
    say_counts("clean", drops)
    with watch("split"):
        divided = _split(spill, folder, root, recipe, whole)
    say_counts("split", {part: n for part, n in divided.counts.items() if n})
    say(f"{'':<7} {divided.card.description}")
    selection = tuple(say_selection(divided.card.views, ()))
    if isinstance(recipe.source, Files) and recipe.source.partition is not None:
        days = sources.days(recipe.source.partition)
        write_held(divided.spill, folder, root, days, found.n_read, buckets.size)
    with watch("fit"):
        fitted = vocabularies.fit(divided.spill, folder, root, recipe.catalogue, buckets.size)
    encoder = Encoder(recipe, engine, fitted, root, folder, buckets.size)
    with watch("encode and write"):
        encodings: dict[plans.Table, Features] = {
            "event": encoder.fit_events(divided.spill),
            "user": encoder.entities("user", raw.users),
            "item": encoder.entities("item", raw.items),
        }
        n_train, fold_counts = encoder.events(
            divided.spill, encodings, divided.rules, raw.users, raw.items
        )
        plan = plans.Encoder({table: encodings[table].encodings for table in plans.TABLES})
        plan.save(root)
        write_json(root / COLUMNS, [column.described() for column in whole.columns])
        for name, rejected in (entities.rejected | found.rejected_rows()).items():
            write_table(root, f"rejected/{name}.parquet", rejected.to_arrow(compat_level=OLDEST))
    counts |= drops | split_counts(divided.counts, n_train, fold_counts)
    facts = {"users": fitted.n_users, "items": len(fitted.items), "train events": n_train}
    say_counts("encode", facts | {"buckets": buckets.n})
    say(f"{'':<7} fitted on train only, encoded by {engine.name}")
    return Outcome(
        id_space=lineage_of(fitted.id_space, facts["users"] + facts["items"], plan, None),
        n_users=fitted.n_users,
        n_items=len(fitted.items),
        has_time=found.last is not None,
        features=plan.features(),
        split=divided.card,
        counts=counts,
        notes=(*whole.notes, *_notes(recipe, counts, fold_counts), *selection),
        linked={},
    )


@dataclass(frozen=True)
class _Split:
    """The buckets with `part` and `event_hash`; as in `split.Split` besides."""

    spill: Spill
    rules: Mapping[Fold, FoldRule]
    card: SplitCard
    counts: dict[str, int]


def _split(spill: Spill, folder: Path, root: Path, recipe: EtlRecipe, whole: Whole) -> _Split:
    """Assign every event to a part, and write the sketches of train and the folds."""
    if not whole.facts:
        raise nothing_left()
    out = Spill(folder / "split", spill.n)
    counts = {part.name.lower(): 0 for part in Part}
    sketches: dict[str, overlap.Hashes] = {}
    assigned: Assignment | None = None
    for bucket in range(spill.n):
        ordered = hashed(spill.read(bucket))
        found = assign(recipe.split, ordered, whole.facts[0])
        events = ordered.with_columns(found.part)
        for name, n in part_counts(found).items():
            counts[name] += n
        for name, part in sketched(found.folds).items():
            hashes = events.filter(pl.col("part") == int(part))[HASH].to_numpy()
            known = sketches.get(name, hashes[:0])
            sketches[name] = overlap.sketch(np.concatenate([known, hashes]))
        out.add(bucket, events)
        assigned = found
    assert assigned is not None
    out.close()
    spill.remove()
    refuse_empty(counts, assigned.folds)
    for name, hashes in sketches.items():
        overlap.write(root, overlap.part_file(name), hashes)
    repeats = 0.0 if recipe.task == "labels" or recipe.split.views else whole.repeats
    card = card_of(recipe.split, assigned, recipe.task, repeats)
    return _Split(out, in_order(assigned.folds), card, counts)


def _notes(
    recipe: EtlRecipe, counts: Mapping[str, int], folds: Mapping[Fold, dict[str, int]]
) -> list[str]:
    if recipe.task == "labels":
        return fold_notes(recipe, counts, (), folds)
    return fold_notes(recipe, counts, folds, {})
