"""The ETL stage: from a recipe to a complete dataset directory, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from falconer.pipelines.allocator import memory_kept, one_arena
from falconer.pipelines.console import say
from falconer.pipelines.data.dataset import (
    Dataset,
    checksums,
    write_card,
)
from falconer.pipelines.data.schema import FORMAT_VERSION, LAYERED_VERSION, DatasetCard
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.etl import in_memory
from falconer.pipelines.etl.at_hand import at_hand
from falconer.pipelines.etl.buckets import build as bucketed
from falconer.pipelines.etl.buckets.resume import resumed
from falconer.pipelines.etl.catalogue import Kind, of_dataset
from falconer.pipelines.etl.encode import Parent
from falconer.pipelines.etl.engines import Engine, engine_of
from falconer.pipelines.etl.features import Encoder
from falconer.pipelines.etl.held import Held
from falconer.pipelines.etl.identity import (
    SourceChangedError,
    Sources,
    appended_id,
    canonical_recipe,
    dataset_id,
    versions,
)
from falconer.pipelines.etl.needs import Buckets, buckets_for
from falconer.pipelines.etl.outcome import FutureEventsError, Outcome
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import Files
from falconer.pipelines.etl.split.config import Rolling, SplitBase
from falconer.pipelines.etl.stopwatch import Stopwatch
from falconer.pipelines.etl.workers import Workers, workers_of
from falconer.pipelines.etl.workers.local_cuda import LOCAL_CUDA
from falconer.pipelines.files import atomic_directory, bytes_kept, resumable_directory, sweep

ATTEMPTS = 4


def build(
    recipe: EtlRecipe,
    out: Path,
    *,
    held: Held | None = None,
    buckets: Buckets | None = None,
    dask: str | None = None,
) -> Path:
    """Build the recipe's dataset below `out`, unless it is there and whole; returns its directory.

    Where an event is in the future, the last moment before it becomes part of the recipe, so that
    the clock decides nothing that the dataset's id does not know. Raises a `PipelineError` for
    whatever the user can mend. Whatever goes wrong, nothing half-written is left and what existed
    stays. With `held`, what a dataset keeps to be appended to, the source's files are days that
    follow that dataset, which the recipe extends. `buckets` None means as many as `memory_limit`
    asks for, which decide nothing that the dataset holds. `dask` is the address of a scheduler
    whose workers do the work, instead of `recipe.workers` processes of this machine; "local-cuda"
    stands for a worker on each of its GPUs.
    """
    (built,) = _build_each(recipe, (recipe.split,), out, held, buckets, dask)
    return built


def build_windows(recipe: EtlRecipe, out: Path, *, dask: str | None = None) -> list[Path]:
    """Build the datasets of all windows of a rolling split, as `build` does for each, the earliest
    first. What fits into memory is read, checked and cleaned once for all.

    Raises `ConfigError` where the split is another one.
    """
    split = recipe.split
    if not isinstance(split, Rolling):
        raise ConfigError(
            f'--windows: split.protocol is "{split.protocol}", and only "rolling" has windows'
        )
    windows = [
        split.model_copy(update={"window": number}) for number in reversed(range(split.windows))
    ]
    return _build_each(recipe, windows, out, None, None, dask)


def _build_each(
    recipe: EtlRecipe,
    splits: Sequence[SplitBase],
    out: Path,
    held: Held | None,
    buckets: Buckets | None,
    dask: str | None,
) -> list[Path]:
    """A dataset for each split."""

    def each(recipe: EtlRecipe) -> list[Path]:
        once = _Once()
        return [
            _build(recipe.model_copy(update={"split": split}), out, held, buckets, dask, once)
            for split in splits
        ]

    sweep(out, depth=1)
    with at_hand(recipe, out) as local:
        for _ in range(ATTEMPTS - 1):
            try:
                return each(local)
            except FutureEventsError as future:
                latest = {"latest": future.latest}
                contract = local.contract.model_copy(update=latest)
                local = local.model_copy(update={"contract": contract})
            except SourceChangedError as changed:
                say(f"{changed}; reading anew")
        return each(local)


@dataclass
class _Once:
    """What is done once for all splits of a recipe."""

    sources: Sources | None = None
    cleaned: in_memory.Cleaned | None = None


def _build(
    recipe: EtlRecipe,
    out: Path,
    held: Held | None,
    buckets: Buckets | None,
    dask: str | None,
    once: _Once,
) -> Path:
    watch = Stopwatch()
    with watch("hash sources"):
        parent = _parent(recipe)
        sources = once.sources = once.sources or Sources(recipe)
        name = dataset_id(recipe, sources.checksums, parent.dataset_id if parent else None)
        name = name if held is None else appended_id(name)
    target = out / recipe.name / name
    if _is_whole(target):
        say(f"{recipe.name}: this dataset is there already, nothing to do")
        return target
    job = _Job(recipe, name, sources, parent, held, watch)
    _refuse_idle_gpus(recipe, dask)
    with workers_of(recipe.workers, dask, recipe.gpu) as workers:
        if buckets is None and isinstance(recipe.source, Files):
            buckets = buckets_for(recipe, out, workers, kept=bytes_kept(target))
        with _no_empty_folders(target):
            if buckets is None or buckets.n == 1:
                with memory_kept(), atomic_directory(target, stays=_is_whole) as root:
                    _write_card(root, job, _in_memory(root, job, once))
            else:
                one_arena()
                with resumable_directory(target, stays=_is_whole) as (root, kept):
                    _write_card(root, job, _in_buckets(root, job, kept, buckets, workers))
    say(watch.table())
    return target


def _refuse_idle_gpus(recipe: EtlRecipe, dask: str | None) -> None:
    if dask == LOCAL_CUDA and recipe.features.engine == "polars":
        raise ConfigError(
            f'--dask {LOCAL_CUDA}: features.engine = "polars" uses no GPU; choose "nvtabular" or '
            '"polars-gpu", or --workers'
        )


@dataclass(frozen=True)
class _Job:
    """What is built, and of what."""

    recipe: EtlRecipe
    name: str
    sources: Sources
    parent: Parent | None
    held: Held | None
    watch: Stopwatch

    def engine(self) -> Engine:
        """The engine, imported."""
        with self.watch("import engine"):
            return engine_of(self.recipe.features.engine, self.recipe.gpu)


def _in_memory(root: Path, job: _Job, once: _Once) -> Outcome:
    engine = job.engine()
    found = once.cleaned = once.cleaned or in_memory.cleaned(
        job.recipe, job.sources, job.parent, job.held, job.watch
    )
    return in_memory.fill(root, job.recipe, found, job.sources, engine, job.held, job.watch)


def _in_buckets(root: Path, job: _Job, kept: Path, buckets: Buckets, workers: Workers) -> Outcome:
    buckets, stages = resumed(kept, buckets, workers)
    return bucketed.fill(root, job.recipe, job.sources, job.engine(), buckets, stages, job.watch)


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


def _write_card(root: Path, job: _Job, found: Outcome) -> None:
    """The last file below `root`."""
    parent = job.parent.dataset_id if job.parent else None
    card = DatasetCard(
        format_version=FORMAT_VERSION if job.held is None else LAYERED_VERSION,
        name=job.recipe.name,
        task=job.recipe.task,
        target=job.recipe.target.kind if job.recipe.target else None,
        dataset_id=job.name,
        id_space=found.id_space,
        n_users=found.n_users,
        n_items=found.n_items,
        has_time=found.has_time,
        features=found.features,
        split=found.split,
        counts=found.counts,
        sources=job.sources.named(),
        versions=versions(job.recipe),
        config=canonical_recipe(job.recipe, parent),
        content=checksums(root, found.linked),
        notes=found.notes,
    )
    write_card(root, card)
