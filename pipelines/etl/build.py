"""The ETL stage: from a recipe to a complete dataset directory, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

from falconer.pipelines.console import say
from falconer.pipelines.data.dataset import (
    Dataset,
    checksums,
    write_card,
)
from falconer.pipelines.data.schema import FORMAT_VERSION, DatasetCard
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.etl import in_memory
from falconer.pipelines.etl.buckets import build as bucketed
from falconer.pipelines.etl.catalogue import Kind, of_dataset
from falconer.pipelines.etl.encode import Parent
from falconer.pipelines.etl.engines import engine_of
from falconer.pipelines.etl.features import Encoder
from falconer.pipelines.etl.held import Held
from falconer.pipelines.etl.identity import (
    SourceChangedError,
    Sources,
    canonical_recipe,
    dataset_id,
    versions,
)
from falconer.pipelines.etl.needs import Buckets, buckets_for
from falconer.pipelines.etl.outcome import FutureEventsError
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import Files
from falconer.pipelines.etl.stopwatch import Stopwatch
from falconer.pipelines.etl.workers.tasks import Here, Stages
from falconer.pipelines.files import atomic_directory, identity_of, sweep

ATTEMPTS = 4


def build(
    recipe: EtlRecipe, out: Path, *, held: Held | None = None, buckets: Buckets | None = None
) -> Path:
    """Build the recipe's dataset below `out`, unless it is there and whole; returns its directory.

    Where an event is in the future, the last moment before it becomes part of the recipe, so that
    the clock decides nothing that the dataset's id does not know. Raises a `PipelineError` for
    whatever the user can mend. Whatever goes wrong, nothing half-written is left and what existed
    stays. With `held`, what a dataset keeps to be appended to, the source's files are days that
    follow that dataset, which the recipe extends. `buckets` None means as many as `memory_limit`
    asks for, which decide nothing that the dataset holds.
    """
    sweep(out, depth=1)
    for _ in range(ATTEMPTS - 1):
        try:
            return _build(recipe, out, held, buckets)
        except FutureEventsError as future:
            latest = {"latest": future.latest}
            contract = recipe.contract.model_copy(update=latest)
            recipe = recipe.model_copy(update={"contract": contract})
        except SourceChangedError as changed:
            say(f"{changed}; reading anew")
    return _build(recipe, out, held, buckets)


def _build(recipe: EtlRecipe, out: Path, held: Held | None, buckets: Buckets | None) -> Path:
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
    if buckets is None and isinstance(recipe.source, Files):
        buckets = buckets_for(recipe, out)
    with _no_empty_folders(target), atomic_directory(target, stays=_is_whole) as partial:
        _fill(partial, recipe, name, sources, parent, held, buckets, watch)
    say(watch.table())
    return target


def _parent(recipe: EtlRecipe) -> Parent | None:
    if recipe.extends is None:
        return None
    data = Dataset.open(recipe.extends)
    entities: dict[Kind, pl.DataFrame] = {
        "user": pl.DataFrame(data.users),
        "item": pl.DataFrame(data.items),
    }
    return Parent(
        data.card.dataset_id,
        of_dataset(data),
        Encoder.of_dataset(data),
        entities,
        views=data.card.split.views,
    )


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
    buckets: Buckets | None,
    watch: Stopwatch,
) -> None:
    """All steps, from the source's tables to the last file below `root`."""
    with watch("import engine"):
        engine = engine_of(recipe.features.engine)
    if buckets is None or buckets.n == 1:
        found = in_memory.fill(root, recipe, sources, engine, parent, held, watch)
    else:
        stages = Stages(root.parent / "spill", Here())
        found = bucketed.fill(root, recipe, sources, engine, buckets, stages, watch)
    card = DatasetCard(
        format_version=FORMAT_VERSION,
        name=recipe.name,
        task=recipe.task,
        target=recipe.target.kind if recipe.target else None,
        dataset_id=name,
        id_space=found.id_space,
        n_users=found.n_users,
        n_items=found.n_items,
        has_time=found.has_time,
        features=found.features,
        split=found.split,
        counts=found.counts,
        sources=sources.named(),
        versions=versions(recipe),
        config=canonical_recipe(recipe, parent.dataset_id if parent else None),
        content=checksums(root, found.linked),
        notes=found.notes,
    )
    write_card(root, card)
