"""The ETL stage: from a recipe to a complete dataset directory, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from falconer.pipelines.console import say
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import (
    Dataset,
    checksums,
    write_card,
    write_pairs,
    write_queries,
    write_table,
)
from falconer.pipelines.data.schema import COLUMNS, FORMAT_VERSION, VALID_EVENTS, DatasetCard, Fold
from falconer.pipelines.errors import ArtifactError, DataError
from falconer.pipelines.etl import held as kept
from falconer.pipelines.etl import rows
from falconer.pipelines.etl.catalogue import KINDS, keep_frequent, of_dataset
from falconer.pipelines.etl.clean import clean
from falconer.pipelines.etl.contract import Checked, check
from falconer.pipelines.etl.describe import describe
from falconer.pipelines.etl.encode import Encoded, Parent, encode
from falconer.pipelines.etl.engines import engine_of
from falconer.pipelines.etl.expectations import expect
from falconer.pipelines.etl.features import Encoder
from falconer.pipelines.etl.held import Held
from falconer.pipelines.etl.identity import (
    SourceChangedError,
    Sources,
    canonical_recipe,
    dataset_id,
    versions,
)
from falconer.pipelines.etl.needs import refuse_too_large
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.selection import say_selection
from falconer.pipelines.etl.sources import Files, read
from falconer.pipelines.etl.split import Part, Split, split
from falconer.pipelines.etl.split.hashes import HASH
from falconer.pipelines.etl.stopwatch import Stopwatch
from falconer.pipelines.etl.target import Binary, with_label
from falconer.pipelines.files import atomic_directory, identity_of, sweep, write_json

ROWS_PER_FILE = 10_000_000
ATTEMPTS = 4
FUTURE = "rejected: time is in the future"


def build(recipe: EtlRecipe, out: Path, *, held: Held | None = None) -> Path:
    """Build the recipe's dataset below `out`, unless it is there and whole; returns its directory.

    Where an event is in the future, the last moment before it becomes part of the recipe, so that
    the clock decides nothing that the dataset's id does not know. Raises a `PipelineError` for
    whatever the user can mend. Whatever goes wrong, nothing half-written is left and what existed
    stays. With `held`, what a dataset keeps to be appended to, the source's files are days that
    follow that dataset, which the recipe extends.
    """
    sweep(out, depth=1)
    for _ in range(ATTEMPTS - 1):
        try:
            return _build(recipe, out, held)
        except FutureEventsError as future:
            latest = {"latest": future.latest}
            contract = recipe.contract.model_copy(update=latest)
            recipe = recipe.model_copy(update={"contract": contract})
        except SourceChangedError as changed:
            say(f"{changed}; reading anew")
    return _build(recipe, out, held)


class FutureEventsError(Exception):
    """Events were rejected because of the clock; `latest` is the time of the last one that was
    not."""

    def __init__(self, latest: datetime) -> None:
        super().__init__(latest)
        self.latest = latest


def _build(recipe: EtlRecipe, out: Path, held: Held | None) -> Path:
    watch = Stopwatch()
    with watch("hash sources"):
        parent = _parent(recipe)
        sources = Sources(recipe)
        name = dataset_id(recipe, sources.checksums, parent.dataset_id if parent else None)
        name = name if held is None else identity_of({"appended": name})
    target = out / recipe.name / name
    if _is_whole(target):
        say(f"{recipe.name}: this dataset is there already, nothing to do")
        return target
    if isinstance(recipe.source, Files):
        refuse_too_large(recipe.source, out, recipe.memory_limit)
    with _no_empty_folders(target), atomic_directory(target, stays=_is_whole) as partial:
        _fill(partial, recipe, name, sources, parent, held, watch)
    say(watch.table())
    return target


def _parent(recipe: EtlRecipe) -> Parent | None:
    if recipe.extends is None:
        return None
    data = Dataset.open(recipe.extends)
    entities = {"user": pl.DataFrame(data.users), "item": pl.DataFrame(data.items)}
    known, views = (of_dataset(data), Encoder.of_dataset(data)), data.card.split.views
    return Parent(data.card.dataset_id, *known, entities, views=views)  # type: ignore[arg-type]


def _is_whole(target: Path) -> bool:
    if not target.exists():
        return False
    try:
        Dataset.open(target).verify()
    except ArtifactError as error:
        say(f"{error}; building it anew")
        return False
    return True


@contextmanager
def _no_empty_folders(target: Path) -> Iterator[None]:
    """If the block fails, take away the folders above `target` that it made."""
    absent = [folder for folder in target.parents if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in absent:
            with suppress(OSError):
                folder.rmdir()
        raise


def _fill(
    root: Path,
    recipe: EtlRecipe,
    name: str,
    sources: Sources,
    parent: Parent | None,
    held: Held | None,
    watch: Stopwatch,
) -> None:
    """All steps, from the source's tables to the last file below `root`."""
    with watch("import engine"):
        engine = engine_of(recipe.features.engine)
    checked, counts = _read_and_check(recipe, _id_types(recipe, parent), watch)
    sources.refuse_change()
    if held is not None and parent is not None:
        with watch("earlier days"):
            checked = held.followed_by(checked, recipe.contract.max_rejected_share)
            earlier = held.earlier(parent.catalogue, checked.raw.events["user"])
            parent, counts = replace(parent, earlier=earlier), dict(checked.counts)
    events = _clean(recipe, checked, counts, watch)
    with watch("split"):
        divided = split(
            events,
            recipe.split,
            checked.raw.candidates,
            parts=checked.raw.parts,
            task=recipe.task,
        )
    _say_counts("split", {part: n for part, n in divided.counts.items() if n})
    say(f"{'':<7} {divided.card.description}")
    selection = tuple(say_selection(divided.card.views, parent.views if parent else ()))
    encoded = encode(checked.raw, divided, recipe, engine=engine, parent=parent, watch=watch)
    counts |= _counts_of(divided, encoded, held)
    _say_encoded(encoded, engine.name)
    with watch("write"):
        linked = held.link_train(root) if held else {}
        _write(root, checked, encoded, first=len(linked))
        _write_sketches(root, divided, held)
        write_json(root / COLUMNS, describe(divided.events))
        if isinstance(recipe.source, Files) and recipe.source.partition is not None:
            days = sources.days(recipe.source.partition)
            kept.write(root, divided, days, counts["rows_read"], held)
        card = DatasetCard(
            format_version=FORMAT_VERSION,
            name=recipe.name,
            task=recipe.task,
            target=recipe.target.kind if recipe.target else None,
            dataset_id=name,
            id_space=encoded.catalogue.id_space,
            n_users=len(encoded.catalogue.users),
            n_items=len(encoded.catalogue.items),
            has_time="time" in encoded.train.columns,
            features=encoded.encoder.features(),
            split=divided.card,
            counts=counts,
            sources=sources.named(),
            versions=versions(recipe),
            config=canonical_recipe(recipe, parent.dataset_id if parent else None),
            content=checksums(root, linked),
            notes=(*checked.raw.notes, *_notes(recipe, counts, encoded, parent, held), *selection),
        )
        write_card(root, card)


def _id_types(recipe: EtlRecipe, parent: Parent | None) -> dict[str, pl.DataType]:
    """The types that ids must have: those of the dataset that this one extends, else the
    recipe's."""
    stated = recipe.source.types if isinstance(recipe.source, Files) else {}
    types: dict[str, pl.DataType] = {
        kind: pl.Int64() if name == "integer" else pl.String() for kind, name in stated.items()
    }
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
    _say_counts("read", {name: len(table) for name, table in tables.items() if table is not None})
    with watch("check"):
        _refuse_without_ids(raw, recipe)
        checked = check(
            raw,
            recipe.contract,
            numeric=recipe.features.numeric(),
            binary=_binary_columns(recipe),
            id_types=id_types,
        )
        share = recipe.contract.max_rejected_share
        checked = expect(raw, checked, recipe.expect, share)
    _say_counts("check", checked.counts)
    if recipe.contract.latest is None and FUTURE in checked.counts:
        last = checked.raw.events["time"].max()
        raise FutureEventsError(datetime.fromtimestamp(int(last), UTC))  # type: ignore[arg-type]
    return checked, dict(checked.counts)


def _refuse_without_ids(raw: Raw, recipe: EtlRecipe) -> None:
    missing = [kind for kind in KINDS if kind not in raw.events.columns]
    if recipe.task == "top_n" and missing:
        raise DataError(
            "a dataset of the task top_n needs users and items, and the events have no "
            f"{' and no '.join(missing)}; "
            'map the columns under [source], or set task = "labels" with a [target]'
        )


def _binary_columns(recipe: EtlRecipe) -> tuple[str, ...]:
    target = recipe.target
    return (target.column,) if isinstance(target, Binary) and target.above is None else ()


def _clean(
    recipe: EtlRecipe, checked: Checked, counts: dict[str, int], watch: Stopwatch
) -> pl.DataFrame:
    """The events that count; adds the drops to `counts`."""
    with watch("clean"):
        events, drops = clean(checked.raw.events, recipe.clean)
        if recipe.target is not None:
            events, more = with_label(events, recipe.target)
            drops |= more
        if recipe.catalogue.counted_on == "all":
            before = len(events)
            events = keep_frequent(events, recipe.catalogue)
            drops["dropped: rare user or item, counted on all events"] = before - len(events)
    drops["events_kept"] = len(events)
    counts |= drops
    _say_counts("clean", drops)
    return events


def _counts_of(divided: Split, encoded: Encoded, held: Held | None) -> dict[str, int]:
    n_train = len(encoded.train)
    n_before = held.data.card.counts["train_events"] if held else 0
    counts = {f"part {part}": n for part, n in divided.counts.items() if n}
    counts |= {
        "train_events": n_train + n_before,
        "dropped: train event outside the catalogue": divided.counts["train"] - n_train,
    }
    tables: list[tuple[Fold, dict[str, int]]] = [
        (fold, part.counts) for fold, part in encoded.folds.items()
    ]
    tables += [(fold, part.counts) for fold, part in encoded.rows.items()]
    return counts | {f"{fold}_{name}": n for fold, part in tables for name, n in part.items()}


def _notes(
    recipe: EtlRecipe,
    counts: Mapping[str, int],
    encoded: Encoded,
    parent: Parent | None,
    held: Held | None,
) -> list[str]:
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
    if recipe.catalogue.counted_on == "all":
        notes.append(
            "Minimum counts were taken on all events, test included, as the published protocol has "
            "it."
        )
    for fold in encoded.folds:
        events, outside = counts[f"{fold}_events"], counts[f"{fold}_events_outside"]
        notes.append(
            f"{outside / events:.1%} of the {fold} events ({outside:,} of {events:,}) are of items "
            "outside the "
            "catalogue, which no list can hold."
        )
        if missing := counts.get(f"{fold}_candidates_outside"):
            notes.append(
                f"{missing:,} of the given {fold} candidates are outside the catalogue and are not "
                "ranked."
            )
    for fold, table in encoded.rows.items():
        notes += rows.notes(fold, table.counts)
    return notes


def _write(root: Path, checked: Checked, encoded: Encoded, *, first: int) -> None:
    for number, start in enumerate(range(0, len(encoded.train), ROWS_PER_FILE), first):
        write_table(
            root,
            f"train/part-{number:05}.parquet",
            _arrow(encoded.train[start : start + ROWS_PER_FILE]),
        )
    if encoded.valid is not None:
        write_table(root, VALID_EVENTS, _arrow(encoded.valid))
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
    for name, rejected in checked.rejected.items():
        write_table(root, f"rejected/{name}.parquet", _arrow(rejected))
    encoded.encoder.save(root)


def _write_sketches(root: Path, divided: Split, held: Held | None) -> None:
    """What a later `evaluate` compares with the train events of a model."""
    parts = [("train", Part.TRAIN), *((fold, rule.truth) for fold, rule in divided.folds.items())]
    for name, part in parts:
        hashes = divided.events.filter(pl.col("part") == int(part))[HASH].to_numpy()
        if held is not None and part == Part.TRAIN:
            hashes = np.concatenate([held.train_sketch(), hashes])
        overlap.write(root, overlap.part_file(name), hashes)


def _arrow(frame: pl.DataFrame) -> pa.Table:
    """An Arrow table of types that every reader knows."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _say_counts(step: str, counts: Mapping[str, int]) -> None:
    say(f"{step:<7} " + ", ".join(f"{name} {n:,}" for name, n in counts.items()))


def _say_encoded(encoded: Encoded, engine: str) -> None:
    facts = {"users": len(encoded.catalogue.users), "items": len(encoded.catalogue.items)}
    facts |= {"train events": len(encoded.train), "features": len(encoded.encoder.features())}
    facts |= {f"{fold} queries": len(tables.queries) for fold, tables in encoded.folds.items()}
    facts |= {f"{fold} rows": len(tables) for fold, tables in encoded.rows.items()}
    _say_counts("encode", facts)
    say(f"{'':<7} fitted on train only, encoded by {engine}")
