"""Lists for every query of a fold, block after block into parquet files, in bounded memory; a
killed job goes on.

Each ranked block is kept in a journal folder beside the files until these are whole. A job that is
started again with the same settings takes the blocks that are there from the journal, ranks the
others, and ends with the same bytes.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from falconer.pipelines.console import progress, say
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.files import atomic_file, canonical_json, make_directory, sweep, write_text
from falconer.recsys.contracts import CatalogScorer, PairScorer
from falconer.recsys.lists import parquet as recommendations
from falconer.recsys.lists.held import held
from falconer.recsys.lists.ranked import TopK
from falconer.recsys.lists.sealed import break_seal, seal
from falconer.recsys.recommending.top_k import (
    BLOCK_BYTES,
    QUERIES_AT_ONCE,
    by_factors,
    known_factors,
    ranked_blocks,
)

JOURNAL = ".recommend"
SECONDS = "seconds"
SHORTER = "one --view or a smaller k takes less; what Ctrl-C ends goes on with the same command"
BY_POPULARITY = "queries_by_popularity"
"""In what lists say of themselves: the queries whose users the model does not know."""
FORMAT_VERSION = 1

Lists = dict[View, TopK]


SHORT = 1000
"""Places of a list that cost little memory whatever the catalogue; more of them than it has items
would take room for nothing."""


@dataclass(frozen=True)
class Job:
    """Which lists are wanted: `about` (JSON values) goes into the files' metadata; the rest as for
    `ranked_blocks`.

    `device` (cuda, cpu) ranks products of factors with torch there, in views all and novel; what is
    no such product is ranked as without it. `outdate` removes from a view's folder what was found
    out about the lists that are about to be replaced.
    """

    fold: Fold
    views: tuple[View, ...]
    k: int
    about: Mapping[str, Any]
    block_bytes: int = BLOCK_BYTES
    device: str | None = None
    outdate: Callable[[Path], None] = lambda folder: None


@dataclass(frozen=True)
class Written:
    """What `write_lists` did: of `n_queries`, so many blocks came from the journal of a job that
    was killed.

    `seconds` is what this job and the killed one took together, without what was under way when it
    was killed.
    """

    n_queries: int
    resumed_blocks: int
    seconds: float


def write_lists(scorer: CatalogScorer | PairScorer, data: Dataset, root: Path, job: Job) -> Written:
    """Write `<root>/<view>/recommendations.parquet` for each view, with its checksum beside it.
    Lists have at most as many places as the catalogue has items, or `SHORT`.

    Raises `ArtifactError` where another process is writing lists into `root`, `ConfigError` for an
    absent device.
    """
    n_queries = data.n_queries(job.fold)
    job = replace(job, k=min(job.k, max(data.n_items, SHORT)))
    if job.device:
        from falconer.recsys.recommending.on_torch import (
            refuse_absent,  # torch, which no other job needs
        )

        refuse_absent(job.device)
    with held(root):
        _sweep(root / JOURNAL)
        for view in job.views:
            sweep(root / view)
        journal = Journal(root / JOURNAL, _plan(data, job))
        resumed = journal.n_blocks
        with ExitStack() as stack:
            writers = {
                view: stack.enter_context(_writer(root, data, job, view)) for view in job.views
            }
            _write_blocks(_ranked(scorer, data, job, journal, n_queries), writers)
            for view in job.views:
                break_seal(root / view / recommendations.FILE)
                job.outdate(root / view)
        for view in job.views:
            seal(root / view / recommendations.FILE)
        seconds = journal.seconds
        journal.remove()
    return Written(n_queries, resumed, seconds)


def _plan(data: Dataset, job: Job) -> dict[str, Any]:
    """What the blocks depend on, besides the model: a journal of another plan is of no use."""
    return {
        "format": FORMAT_VERSION,
        "about": dict(job.about),
        "dataset": data.card.dataset_id,
        "queries": data.queries_id(job.fold),
        "fold": job.fold,
        "views": list(job.views),
        "k": job.k,
        "queries_at_once": QUERIES_AT_ONCE,
        "device": job.device,
    }


def _writer(
    root: Path, data: Dataset, job: Job, view: View
) -> AbstractContextManager[recommendations.Append]:
    about = {"dataset_id": data.card.dataset_id, "fold": job.fold, "view": view, "k": job.k}
    return recommendations.writer(
        root / view / recommendations.FILE,
        user_type=data.query_key_type(job.fold),
        item_keys=data.items.column("key").combine_chunks(),
        about={**job.about, **about},
    )


def _ranked(
    scorer: CatalogScorer | PairScorer, data: Dataset, job: Job, journal: Journal, n_queries: int
) -> Iterator[tuple[pa.Array, Lists]]:
    """Own user ids and lists of one block after another, from the journal where it has them."""
    blocks = progress(
        data.query_blocks(job.fold, QUERIES_AT_ONCE),
        label=f"ranking {n_queries:,} queries, {QUERIES_AT_ONCE:,} at a time",
        total=-(-n_queries // QUERIES_AT_ONCE),
        shorter=SHORTER,
    )
    for number, (keys, queries) in enumerate(blocks):
        lists = journal.read(number, len(queries), job.k)
        if lists is None:
            lists = _rank(scorer, queries, data.n_items, job, first=number * QUERIES_AT_ONCE)
            journal.write(number, lists)
        yield keys, lists


def _write_blocks(
    blocks: Iterable[tuple[pa.Array, Lists]], writers: Mapping[View, recommendations.Append]
) -> None:
    """Write a block while the next is ranked."""
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1) as pool:
        for keys, lists in blocks:
            if writing is not None:
                writing.result()
            writing = pool.submit(_append, writers, keys, lists)
    if writing is not None:
        writing.result()


def _append(writers: Mapping[View, recommendations.Append], keys: pa.Array, lists: Lists) -> None:
    for view, found in lists.items():
        writers[view](keys, found)


def _rank(
    scorer: CatalogScorer | PairScorer, queries: Queries, n_items: int, job: Job, *, first: int
) -> Lists:
    if (
        job.device
        and "repeat" not in job.views
        and by_factors(scorer, queries)
        and queries.candidates is None
    ):
        return _rank_on_device(scorer, queries, job, first=first)
    parts = list(
        ranked_blocks(
            scorer,
            queries,
            n_items=n_items,
            k=job.k,
            views=job.views,
            block_bytes=job.block_bytes,
            first=first,
        )
    )
    return {view: _joined([part[view] for part in parts]) for view in job.views}


def _rank_on_device(
    scorer: CatalogScorer | PairScorer, queries: Queries, job: Job, *, first: int
) -> Lists:
    from falconer.recsys.recommending.on_torch import top_k_of_factors

    query_factors, item_factors, bias = known_factors(scorer, queries)
    hidden: dict[View, Ragged | None] = {"all": None, "novel": queries.history}
    return {
        view: top_k_of_factors(
            query_factors,
            item_factors,
            bias,
            k=job.k,
            hidden=hidden[view],
            device=str(job.device),
            first_query=first,
        )
        for view in job.views
    }


def _joined(parts: Sequence[TopK]) -> TopK:
    return TopK(
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


class Journal:
    """Ranked blocks on disk, each whole or absent: 8 bytes for each place of a list until the job
    is done."""

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self._path = path
        self._views: list[View] = list(plan["views"])
        text = canonical_json(plan)
        if (
            not (path / "plan.json").is_file()
            or (path / "plan.json").read_text(encoding="utf-8") != text
        ):
            self._forget()
            write_text(path / "plan.json", text)
        self.n_blocks = len(list(path.glob("*.npz")))
        self._before, self._started = self._noted_seconds(), time.perf_counter()
        if self.n_blocks:
            say(f"going on with an interrupted job: {self.n_blocks} blocks are there already")

    def read(self, number: int, n_queries: int, k: int) -> Lists | None:
        """A block of so many queries and places; None where it is absent or damaged."""
        try:
            with (
                self._block(number).open("rb") as stream,
                np.load(stream, allow_pickle=False) as arrays,
            ):
                lists = {
                    view: TopK(arrays[f"items-{view}"], arrays[f"scores-{view}"])
                    for view in self._views
                }
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return (
            lists if all(found.items.shape == (n_queries, k) for found in lists.values()) else None
        )

    def write(self, number: int, lists: Lists) -> None:
        """Keep a block."""
        arrays: dict[str, Any] = {f"items-{view}": found.items for view, found in lists.items()}
        arrays |= {f"scores-{view}": found.scores for view, found in lists.items()}
        with atomic_file(self._block(number)) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays)
        write_text(self._path / SECONDS, repr(self.seconds))

    @property
    def seconds(self) -> float:
        """Seconds since this journal was opened, and those noted beside the last block of the job
        before."""
        return self._before + time.perf_counter() - self._started

    def _noted_seconds(self) -> float:
        try:
            return float((self._path / SECONDS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0.0

    def remove(self) -> None:
        """Remove the folder: the files are whole."""
        shutil.rmtree(self._path)

    def _forget(self) -> None:
        for path in self._path.iterdir():
            path.unlink()

    def _block(self, number: int) -> Path:
        return self._path / f"{number:06d}.npz"


def _sweep(folder: Path) -> None:
    """Make the folder where it is not there yet, and remove what a killed job was writing into
    it."""
    if not folder.is_dir():
        make_directory(folder)
    sweep(folder)
