"""A build in buckets, from the source's pieces to the tables of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from falconer.pipelines.console import say
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import write_table
from falconer.pipelines.data.schema import COLUMNS, Fold, SplitCard
from falconer.pipelines.etl import features as plans
from falconer.pipelines.etl.buckets import vocabularies
from falconer.pipelines.etl.buckets.check import Entities, check_entities, typed
from falconer.pipelines.etl.buckets.clean import Whole, clean_buckets
from falconer.pipelines.etl.buckets.encode import (
    Events,
    FoldFacts,
    Job,
    encode_bucket,
    fit_events,
    order_of_fold,
    order_of_train,
)
from falconer.pipelines.etl.buckets.frames import OLDEST, Rows, write_rows
from falconer.pipelines.etl.buckets.held import write_held
from falconer.pipelines.etl.buckets.scatter import Pass, Scattered, scatter
from falconer.pipelines.etl.buckets.write import Writer
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
    say_missing_values,
    split_counts,
)
from falconer.pipelines.etl.raw import Raw
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
from falconer.pipelines.etl.split.config import SplitBase
from falconer.pipelines.etl.split.facts import Facts
from falconer.pipelines.etl.split.hashes import HASH
from falconer.pipelines.etl.stopwatch import Stopwatch
from falconer.pipelines.etl.workers.tasks import Stages
from falconer.pipelines.files import write_json


def fill(
    root: Path,
    recipe: EtlRecipe,
    sources: Sources,
    engine: Engine,
    buckets: Buckets,
    stages: Stages,
    watch: Stopwatch,
) -> Outcome:
    """Write every table of the dataset below `root`."""
    found, entities, scattered = _read_and_check(recipe, sources, buckets, stages, watch)
    raw = typed(found, entities, recipe)
    with watch("clean"):
        rows, whole = clean_buckets(scattered, stages, recipe, found, raw)
    counts = _cleaned_counts(recipe, found, entities, whole)
    with watch("split"):
        divided = _split(rows, stages, root, recipe, whole)
    say_counts("split", {part: n for part, n in divided.counts.items() if n})
    say(f"{'':<7} {divided.card.description}")
    selection = tuple(say_selection(divided.card.views, ()))
    if isinstance(recipe.source, Files) and recipe.source.partition is not None:
        days = sources.days(recipe.source.partition)
        write_held(divided.rows, stages, root, days, found.n_read, buckets.size)
    with watch("fit"):
        vocabulary = vocabularies.fit(divided.rows, stages, root, recipe.catalogue, buckets.size)
    events = Events(recipe, engine, divided.rows, vocabulary)
    writer = Writer(engine, vocabulary, root, buckets.size)
    with watch("encode and write"):
        plan, n_train, folds = _encode(events, writer, stages, divided, raw)
        plan.save(root)
        columns = [column.described() for column in whole.columns]
        write_json(root / COLUMNS, columns)
        for name, rejected in (entities.rejected | found.rejected_rows()).items():
            write_table(root, f"rejected/{name}.parquet", rejected.to_arrow(compat_level=OLDEST))
    fold_counts = {fold: facts.counts for fold, facts in folds.items()}
    counts |= split_counts(divided.counts, n_train, fold_counts)
    facts = {"users": vocabulary.n_users, "items": len(vocabulary.items), "train events": n_train}
    say_counts("encode", facts | {"buckets": buckets.n})
    say(f"{'':<7} fitted on train only, encoded by {engine.name}")
    return Outcome(
        id_space=lineage_of(vocabulary.id_space, facts["users"] + facts["items"], plan, None),
        n_users=vocabulary.n_users,
        n_items=len(vocabulary.items),
        has_time=found.last is not None,
        features=plan.features(),
        split=divided.card,
        counts=counts,
        notes=(
            *whole.alike.notes(),
            *_notes(recipe, counts, fold_counts),
            *say_missing_values(recipe, columns),
            *selection,
        ),
        linked={},
    )


def _read_and_check(
    recipe: EtlRecipe, sources: Sources, buckets: Buckets, stages: Stages, watch: Stopwatch
) -> tuple[Pass, Entities, Scattered]:
    """The source's rows, checked and parted by a hash of the user."""
    with watch("read and check"):
        entities = check_entities(recipe)
        rules = Rules(REQUIRED_NUMBERS, recipe.features.numeric()["events"], binary_columns(recipe))
        found, scattered = scatter(recipe, rules, stages, buckets)
        sources.refuse_change()
    say_counts("read", {"events": found.n_read, **entities.read})
    return found, entities, scattered


def _cleaned_counts(
    recipe: EtlRecipe, found: Pass, entities: Entities, whole: Whole
) -> dict[str, int]:
    """What was read, rejected and dropped, by name."""
    counts = found.counts() | entities.counts | whole.unlisted
    say_counts("check", counts)
    if found.last is not None:
        refuse_future(recipe, counts, found.last)
    drops = whole.drops | {"events_kept": whole.n_events}
    say_counts("clean", drops)
    return counts | drops


@dataclass(frozen=True)
class _Split:
    """The buckets with `part` and `event_hash`; as in `split.Split` besides."""

    rows: Rows
    rules: Mapping[Fold, FoldRule]
    card: SplitCard
    counts: dict[str, int]


@dataclass(frozen=True)
class _Splitting:
    rows: Rows
    config: SplitBase
    facts: Facts


Sketches = dict[str, overlap.Hashes]


def split_bucket(
    splitting: _Splitting, bucket: int, folder: Path
) -> tuple[dict[str, int], Sketches]:
    """The task: one bucket's events with their parts; the parts' counts and sketches."""
    ordered = hashed(splitting.rows.read(bucket))
    found = assign(splitting.config, ordered, splitting.facts)
    events = ordered.with_columns(found.part)
    write_rows(folder, events)
    sketches = {
        name: overlap.sketch(events.filter(pl.col("part") == int(part))[HASH].to_numpy())
        for name, part in sketched(found.folds).items()
    }
    return part_counts(found), sketches


def _split(rows: Rows, stages: Stages, root: Path, recipe: EtlRecipe, whole: Whole) -> _Split:
    """Assign every event to a part, and write the sketches of train and the folds."""
    if not whole.facts:
        raise nothing_left()
    assigned = assign(recipe.split, hashed(rows.empty()), whole.facts[0])
    counts = {part.name.lower(): 0 for part in Part}
    sketches: Sketches = {}
    context = _Splitting(rows, recipe.split, whole.facts[0])
    for found, hashes in stages.run("split", split_bucket, context, rows.n):
        for part, n in found.items():
            counts[part] += n
        for name, more in hashes.items():
            known = sketches.get(name, more[:0])
            sketches[name] = overlap.smallest_of_both(known, more, overlap.SIZE)
    rows.remove()
    refuse_empty(counts, assigned.folds)
    for name, hashes in sketches.items():
        overlap.write(root, overlap.part_file(name), hashes)
    repeats = 0.0 if recipe.task == "labels" or recipe.split.views else whole.repeats
    card = card_of(recipe.split, assigned, recipe.task, repeats)
    out = Rows(stages.folder / "split", rows.n)
    return _Split(out, in_order(assigned.folds), card, counts)


def _encode(
    events: Events, writer: Writer, stages: Stages, divided: _Split, raw: Raw
) -> tuple[plans.Encoder, int, dict[Fold, FoldFacts]]:
    """Fit and apply the features, and write train and the folds; the plan, the number of train
    rows, and the folds' facts."""
    recipe, n = events.recipe, divided.rows.n
    features = {
        "event": fit_events(events, stages),
        "user": writer.entities("user", recipe.features.user, raw.users),
        "item": writer.entities("item", recipe.features.item, raw.items),
    }
    job = Job(events, **features, rules=divided.rules, users=raw.users, items=raw.items)
    folds: dict[Fold, FoldFacts] = {}
    for found in stages.run("encode", encode_bucket, job, n, (FoldFacts,)):
        for fold, facts in found.items():
            folds[fold] = folds[fold].and_also(facts) if fold in folds else facts
    folder, some = stages.folder / "encode", divided.rows.empty()
    n_train = writer.train(folder, n, order_of_train(some))
    for fold, facts in folds.items():
        if recipe.task == "labels":
            writer.rows(folder, n, order_of_fold(job, some), fold, facts)
        else:
            writer.queries(folder, n, fold, facts)
    plan = plans.Encoder({table: features[table].encodings for table in plans.TABLES})
    return plan, n_train, folds


def _notes(
    recipe: EtlRecipe, counts: Mapping[str, int], folds: Mapping[Fold, dict[str, int]]
) -> list[str]:
    if recipe.task == "labels":
        return fold_notes(recipe, counts, (), folds)
    return fold_notes(recipe, counts, folds, {})
