"""The best items of factors, and metrics of those lists: as on the CPU, and how fast."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Queries, Ragged
from falconer.recsys.judging.lists.relevance import found_in
from falconer.recsys.metrics.accuracy import METRICS
from falconer.recsys.metrics.ranked import Ranked
from falconer.recsys.recommending.on_torch import top_k_of_factors
from falconer.recsys.recommending.top_k import TopK, top_k
from tests.gpu_check.figures import Figure, Figures, Place

Float32 = NDArray[np.float32]
K, CUT_OFF, TOLERANCE = 100, 10, 1e-6
PEER = "implicit on 2 CPU cores: 10,700 users/s"


class Factors:
    """A factor scorer of random factors: whole numbers, whose products are exact, or normal."""

    def __init__(self, n_users: int, n_items: int, dim: int, *, whole: bool) -> None:
        random = np.random.default_rng(0)
        shapes = ((n_users, dim), (n_items, dim))
        self.users, self.items = (
            (random.integers(-2, 3, shape) if whole else random.standard_normal(shape)).astype(
                np.float32
            )
            for shape in shapes
        )
        self.bias = np.zeros(n_items, np.float32)
        self.items_known = np.ones(n_items, np.bool_)

    def factors(self, queries: Queries) -> tuple[Float32, Float32, Float32]:
        return self.users[queries.user], self.items, self.bias

    def score(self, queries: Queries) -> Float32:
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        raise NotImplementedError

    def on(self, device: str) -> TopK:
        """The lists that the device computes."""
        return top_k_of_factors(self.users, self.items, self.bias, k=K, device=device)


def truth_of(n: int, n_items: int) -> Ragged:
    """Five relevant items of each of n queries, more of the small ids."""
    drawn = n_items * np.random.default_rng(1).random((n, 5)) ** 2
    return Ragged.of([np.unique(row).tolist() for row in drawn.astype(np.int64)])


def judged(found: TopK, truth: Ragged) -> dict[str, float]:
    """Every metric of accuracy at the cut-off, its mean over the queries."""
    n_items = int(found.items.max()) + 1
    ranked = Ranked(found.items, found_in(found.items, truth, n_items), truth.lengths)
    return {
        name: float(np.nanmean(metric.function(ranked, CUT_OFF)))
        for name, metric in METRICS.items()
    }


def run(place: Place) -> Figures:
    """Parity of lists and metrics."""
    n, n_items = (300, 2_000) if place.small else (5_000, 50_000)
    queries = Queries(user=np.arange(n, dtype=np.int32), history=Ragged.of([[]] * n))
    truth = truth_of(n, n_items)
    for kind in ("whole numbers", "normal numbers"):
        scorer = Factors(n, n_items, 64, whole=kind == "whole numbers")
        ours = top_k(scorer, queries, n_items=n_items, k=K)
        theirs = scorer.on(place.device)
        if kind == "whole numbers":
            other = float((ours.items != theirs.items).mean())
            yield Figure(f"{kind}: other item at a place", other, "of places", 0.0)
        apart = np.abs(ours.scores - theirs.scores).max() / np.abs(ours.scores).max()
        yield Figure(f"{kind}: scores", float(apart), "of the largest", TOLERANCE)
        here, there = judged(ours, truth), judged(theirs, truth)
        worst = max(abs(here[name] - there[name]) for name in here)
        yield Figure(f"{kind}: {len(here)} metrics at {CUT_OFF}", worst, "difference", TOLERANCE)


def speed(place: Place) -> Figures:
    """Users a second from factors to lists of 100 and their metrics."""
    n, n_items = (500, 2_000) if place.small else (200_000, 20_000)
    scorer = Factors(n, n_items, 64, whole=False)
    truth = truth_of(n, n_items)
    scorer.on(place.device)  # the first call loads kernels
    started = time.perf_counter()
    found = scorer.on(place.device)
    listed = time.perf_counter()
    judged(found, truth)
    ended = time.perf_counter()
    yield Figure(f"lists of {K} from {n_items:,} items", n / (listed - started), "users/s")
    yield Figure("with all metrics of accuracy", n / (ended - started), "users/s", beside=PEER)
