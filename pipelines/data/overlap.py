"""Whether what a model was trained on is asked for in another dataset's fold.

Each event has a hash of its content (see `falconer.pipelines.etl.split.hashes`) that no other row
and no id space changes. A part's sketch is its `SIZE` smallest hashes: a fair sample of its events,
the same events in every dataset that holds them (bottom-k sketch; Cohen and Kaplan 2007).
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.data.dataset import Dataset, write_table
from falconer.pipelines.errors import ArtifactError

SIZE = 2**16
TRAIN_EVENTS = "train-events.parquet"
"""In the folder of a run: the sketch of what it was trained on."""

ANEW = "train anew: what the run was trained on cannot be told any more"

Hashes = NDArray[np.uint64]


def sketch(hashes: Hashes) -> Hashes:
    """uint64[m], m up to `SIZE`: the smallest of the different hashes, ascending. Of many only
    those below a bound are sorted, if these are enough."""
    if len(hashes) > 4 * SIZE:
        low = np.unique(hashes[hashes < np.uint64(2**64 * 2 * SIZE // len(hashes))])
        if len(low) >= SIZE:
            return cast(Hashes, low[:SIZE])
    return np.unique(hashes)[:SIZE]


def smallest_of_both(one: Hashes, other: Hashes, n: int) -> Hashes:
    """The `n` smallest of two ascending arrays, each of different hashes and up to `n` of them."""
    if len(one) == n:
        other = other[: np.searchsorted(other, one[-1])]
    both = np.concatenate([one, other])
    both.sort(kind="stable")  # which merges what is in order
    differs = np.ones(len(both), bool)
    differs[1:] = both[1:] != both[:-1]
    found: Hashes = both[differs][:n]
    return found


def part_file(part: str) -> str:
    """The file of a part's sketch ("train", "valid" or "test") in a dataset's directory."""
    return f"events/{part}.parquet"


def write(root: Path, name: str, hashes: Hashes) -> None:
    """Write the sketch of these events below `root`."""
    write_table(root, name, {"hash": sketch(hashes)})


def keep_train(data: Dataset, run: Path) -> None:
    """Note in the folder of a run what it is trained on, where the dataset says so."""
    name = part_file("train")
    if data.has_table(name):
        write_table(run, TRAIN_EVENTS, data.table(name))


def shared(train: Hashes, fold: Hashes) -> tuple[int, int]:
    """Of two sketches: how many events both hold, of how many of `fold` that can be compared."""
    bound = min([int(one[-1]) for one in (train, fold) if len(one) >= SIZE], default=2**64 - 1)
    compared = fold[fold <= np.uint64(bound)]
    return int(np.isin(compared, train).sum()), len(compared)


def refuse_overlap(run: Path, data: Dataset, fold: str) -> None:
    """Raise `ArtifactError` where the run was trained on events that the fold asks for.

    Nothing is known of runs and datasets that have no sketch.
    """
    name = part_file(fold)
    if not (run / TRAIN_EVENTS).is_file() or not data.has_table(name):
        return
    with parquet.damage_named(run / TRAIN_EVENTS, ArtifactError, ANEW):
        train = parquet.read(run / TRAIN_EVENTS, ["hash"])["hash"].to_numpy()
    both, compared = shared(train, data.table(name)["hash"].to_numpy())
    if both:
        raise ArtifactError(
            f"{run.name}: was trained on {both / compared:.1%} of the events ({both:,} of "
            f"{compared:,} compared) that fold {fold} of {data.path} asks for, so its figures "
            "there "
            "would say nothing; train anew on that dataset, or judge on one whose test came later"
        )
