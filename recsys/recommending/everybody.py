"""Lists for everybody, for those who serve them: parquet below hive folders, part after part in
bounded memory; a killed job goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines.console import progress
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.data.schema import View
from falconer.pipelines.files import (
    atomic_file,
    canonical_json,
    make_directory,
    read_json,
    sweep,
    write_json,
)
from falconer.recsys.contracts import CatalogScorer, PairScorer, UserScorer
from falconer.recsys.lists.ranked import TopK
from falconer.recsys.recommending.business import ItemRules, choose
from falconer.recsys.recommending.top_k import top_k

USERS_AT_ONCE = 2**14
"""Users in a part: what is held in memory at once."""
DEPTH = 5
"""Where rules may take items away, so many times as many candidates are ranked as a list holds."""
MANIFEST, PLAN = "_manifest.json", "_plan.json"
LATEST = "latest"
MODEL, FALLBACK = "model", "fallback"


@dataclass(frozen=True)
class Wanted:
    """Lists of `k` items in one view, by `rules`; `version` names the model in every row, and
    `fallback` scores the catalogue where it has nothing to say."""

    k: int
    view: View
    rules: ItemRules
    version: str
    fallback: CatalogScorer


def write_everybody(
    scorer: CatalogScorer | PairScorer,
    data: Dataset,
    queries: Path,
    folder: Path,
    wanted: Wanted,
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    """Write `folder` with a part for each block of users in the file `queries`, and its manifest;
    returns that. A folder that is there is whole, and stays.

    Columns: user and item (their own ids), rank int32 from 1, score float32 (null for the
    fallback), reason (model, or fallback: for users without a history that the model can use, and
    to fill lists that the rules have shortened), model_version. `plan` (JSON values)
    is what the lists depend on: parts of a killed job with another one are thrown away.
    """
    if not folder.exists():
        unfinished = folder.parent / f".{folder.name}.unfinished"
        _prepare(unfinished, plan)
        counts: dict[str, int] = {}
        blocks = progress(
            data.query_blocks_of(queries, USERS_AT_ONCE),
            label=f"lists for everybody, {USERS_AT_ONCE:,} users at a time",
            total=-(-pq.read_metadata(queries).num_rows // USERS_AT_ONCE),
            shorter="a smaller k takes less; what Ctrl-C ends goes on with the same command",
        )
        for number, (keys, asked) in enumerate(blocks):
            for name, n in _part(unfinished, number, scorer, data, keys, asked, wanted).items():
                counts[name] = counts.get(name, 0) + n
        write_json(unfinished / MANIFEST, {**plan, "counts": counts})
        (unfinished / PLAN).unlink()
        for path in unfinished.glob("_part-*.json"):
            path.unlink()
        unfinished.rename(folder)
    found: dict[str, Any] = read_json(folder / MANIFEST)
    return found


def _prepare(unfinished: Path, plan: Mapping[str, Any]) -> None:
    """The folder of a job under way: with the parts of a killed one, if they are of this plan."""
    text = canonical_json(plan)
    path = unfinished / PLAN
    if path.is_file() and canonical_json(read_json(path)) == text:
        sweep(unfinished)
        return
    if unfinished.exists():
        shutil.rmtree(unfinished)
    make_directory(unfinished)
    write_json(path, dict(plan))


def _part(
    folder: Path,
    number: int,
    scorer: CatalogScorer | PairScorer,
    data: Dataset,
    keys: pa.Array,
    queries: Queries,
    wanted: Wanted,
) -> dict[str, int]:
    """Write one part, or find it; returns its counts. They are written last: a part that has them
    is whole."""
    noted = folder / f"_part-{number:05}.json"
    if noted.is_file():
        return dict(read_json(noted))
    items, scores, by_model, counts = _lists(scorer, data, queries, wanted)
    row, place = np.nonzero(items >= 0)
    model = by_model[row, place]
    table = pa.table(
        {
            "user": keys.take(pa.array(row)),
            "item": data.items.column("key").combine_chunks().take(pa.array(items[row, place])),
            "rank": pa.array((place + 1).astype(np.int32)),
            "score": pa.array(scores[row, place], mask=~model),
            "reason": pa.array(np.where(model, MODEL, FALLBACK)).dictionary_encode(),
            "model_version": pa.array(np.full(len(row), wanted.version)).dictionary_encode(),
        }
    )
    with atomic_file(folder / f"part-{number:05}.parquet") as partial:
        pq.write_table(table, partial, compression="zstd")
    counts |= {
        "users": len(queries),
        "rows by the model": int(np.count_nonzero(model)),
        "rows by the fallback": int(np.count_nonzero(~model)),
        "lists that are short": int(np.count_nonzero((items >= 0).sum(axis=1) < wanted.k)),
    }
    write_json(noted, counts)
    return counts


def _lists(
    scorer: CatalogScorer | PairScorer, data: Dataset, queries: Queries, wanted: Wanted
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_], dict[str, int]]:
    """Items, scores and whether the model chose them, each [Q, k], and what the rules took away."""
    has_rules = bool(wanted.rules.barred or wanted.rules.at_most)
    depth = min(data.n_items, wanted.k * (DEPTH if has_rules else 1))
    mine, popular = (
        top_k(one, queries, n_items=data.n_items, k=depth, view=wanted.view)
        for one in (scorer, wanted.fallback)
    )
    both = TopK(
        np.concatenate([mine.items, popular.items], axis=1),
        np.concatenate([mine.scores, popular.scores], axis=1),
    )
    places, counts = choose(both, wanted.rules, wanted.k)
    rows = np.arange(len(queries))[:, None]
    items = np.where(places < 0, -1, both.items[rows, places.clip(0)]).astype(np.int32)
    by_model = (places < depth) & _known(scorer, queries)[:, None]
    return items, both.scores[rows, places.clip(0)], by_model, counts


def _known(scorer: CatalogScorer | PairScorer, queries: Queries) -> NDArray[np.bool_]:
    """bool[Q]: whether the model has something to go by: the user's id, or an item of the
    history."""
    if isinstance(scorer, UserScorer):
        return scorer.knows(queries)
    lengths = queries.history.lengths
    if not isinstance(scorer, CatalogScorer):
        return lengths > 0
    usable = scorer.items_known[queries.history.values]
    return np.bincount(queries.history.rows, weights=usable, minlength=len(queries)) > 0


def point_latest(root: Path, folder: Path) -> None:
    """Let `root`/latest mean `folder` (below `root`), in one step: readers see the old lists or the
    new ones."""
    target = os.path.relpath(folder, root)
    link = root / LATEST
    if link.is_symlink() and str(link.readlink()) == target:
        return
    fresh = root / f".{LATEST}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target, target_is_directory=True)
    fresh.replace(link)
