"""Which pictures are trained on, which choose, which judge; where the source does not say.

The fold follows from the bytes of a picture (or the name of its group), so that it stays when
others are added. Pictures with the same bytes are kept once, so that none is judged that was
trained on.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from falconer.vision.data.source import Picture, Rejected

VALID_SHARE, TEST_SHARE = 0.1, 0.2


def without_copies(
    pictures: Sequence[Picture], digests: Sequence[str]
) -> tuple[list[int], list[Rejected]]:
    """Places of the pictures to keep. Of copies with the same labels the first of the most
    protected fold (test, then valid) is kept; of copies with different labels none is."""
    copies: dict[str, list[int]] = defaultdict(list)
    for place, digest in enumerate(digests):
        copies[digest].append(place)
    kept: list[int] = []
    rejected: list[Rejected] = []
    protected = {"test": 0, "valid": 1}
    for places in copies.values():
        first = min(places, key=lambda place: (protected.get(pictures[place].fold or "", 2), place))
        if len({pictures[place].labels for place in places}) > 1:
            names = ", ".join(pictures[place].name for place in places)
            rejected += [
                Rejected(pictures[place].name, f"one picture under several labels: {names}")
                for place in places
            ]
            continue
        kept.append(first)
        rejected += [
            Rejected(pictures[place].name, f"the same picture as {pictures[first].name}")
            for place in places
            if place != first
        ]
    return sorted(kept), rejected


def with_folds(pictures: Sequence[Picture], digests: Sequence[str]) -> list[Picture]:
    """The pictures with a fold each.

    Given folds stay. Where no picture has one, a fifth of each class is tested on; where none is
    `valid`, a tenth of what is left chooses. Groups are never divided; then the shares hold for the
    groups, whatever their classes.
    """
    folded = list(pictures)
    for fold, share in (("test", TEST_SHARE), ("valid", VALID_SHARE)):
        if any(one.fold == fold for one in pictures):
            continue
        if fold == "test" and any(one.fold for one in pictures):
            continue
        for place in _drawn(folded, digests, fold, share):
            folded[place] = replace(folded[place], fold=fold)  # type: ignore[arg-type]
    return [replace(one, fold=one.fold or "train") for one in folded]


def _drawn(
    pictures: Sequence[Picture], digests: Sequence[str], fold: str, share: float
) -> list[int]:
    """Places of the pictures that move from what is trained on to `fold`."""
    strata: dict[object, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, one in enumerate(pictures):
        if one.fold in (None, "train"):
            stratum = "groups" if one.group else one.labels
            strata[stratum][one.group or digests[place]].append(place)
    drawn: list[int] = []
    for units in strata.values():
        count = min(round(share * len(units)) or 1, len(units) - 1)
        order = sorted(units, key=lambda unit: hashlib.sha256(f"{fold} {unit}".encode()).digest())
        drawn += [place for unit in order[:count] for place in units[unit]]
    return drawn


def k_folds(groups: Sequence[str], labels: NDArray[np.int64], *, k: int) -> NDArray[np.int64]:
    """int64[n]: the part 0, ..., k - 1 of each picture, with each class spread evenly over the
    parts.

    Groups stay whole: each goes to the part that has the fewest pictures of its rarest class so
    far.
    """
    units: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        units[group].append(place)
    counts = np.zeros((k, int(labels.max(initial=0)) + 1), np.int64)
    parts = np.zeros(len(groups), np.int64)
    order = sorted(units, key=lambda unit: hashlib.sha256(unit.encode()).digest())
    for unit in sorted(order, key=lambda unit: -len(units[unit])):
        own = np.bincount(labels[units[unit]], minlength=counts.shape[1])
        rarest = int(np.argmin(np.where(own > 0, counts.sum(0) + own, np.iinfo(np.int64).max)))
        part = int(np.lexsort((counts.sum(1), counts[:, rarest]))[0])
        counts[part] += own
        parts[units[unit]] = part
    return parts
