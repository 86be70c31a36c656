"""Whether an exported file answers as the model that it was made of: how far apart they are, and
the refusal to write where that is too far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.errors import ArtifactError

ROWS_AT_ONCE = (1, 2, 7, 32)
"""Numbers of rows that are asked for in turn: an answer that depends on the number would show."""


@dataclass(frozen=True)
class Parity:
    """What was found: the largest difference, and over how many scores."""

    largest_difference: float
    n_scores: int


def parity_of(answers: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> Parity:
    """Over pairs of what the model answers and what the file does, of the same questions."""
    worst, n_scores = 0.0, 0
    for expected, found in answers:
        worst = max(worst, difference(expected, found))
        n_scores += expected.size
    return Parity(worst, n_scores)


def blocks_of(n: int) -> Iterator[tuple[int, int]]:
    """First row, and the one after the last, of blocks of `ROWS_AT_ONCE` that make up `n` rows."""
    start, sizes = 0, cycle(ROWS_AT_ONCE)
    while start < n:
        stop = min(start + next(sizes), n)
        yield start, stop
        start = stop


def difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """max |found - expected| / max(1, |expected|); infinite where shapes differ or only one of two
    is finite."""
    if expected.shape != found.shape or (np.isfinite(expected) != np.isfinite(found)).any():
        return float("inf")
    both = np.isfinite(expected)
    wanted, got = expected[both].astype(np.float64), found[both].astype(np.float64)
    return float((np.abs(got - wanted) / np.maximum(1, np.abs(wanted))).max(initial=0.0))


def refuse_far(parity: Parity, tolerance: float) -> None:
    """`ArtifactError` where the file's answers are not near enough, or nothing was compared; call
    it before anything is written."""
    if not parity.n_scores:
        raise ArtifactError("no scores to compare the graph with the model on: nothing was written")
    if not parity.largest_difference <= tolerance:
        raise ArtifactError(
            f"the graph's scores differ from the model's by up to {parity.largest_difference:.3g}, "
            f"and {tolerance:.3g} is allowed: nothing was written. Allow more with --tolerance if "
            "that is near enough; else it is a defect of the model's graph form: please report it"
        )
