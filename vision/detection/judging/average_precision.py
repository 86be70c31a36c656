"""Average precision as COCO defines it, from arrays, so that intervals over pictures are cheap.

Each detection of a class is matched once per picture, overlap threshold and range of areas (the
order and the rules are those of the COCO API); precision and recall are then weighted sums over
detections. A resample of the pictures is another set of weights: nothing is matched anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
MOST = (1, 10, 100)
"""Detections of a class that count in each picture."""


@dataclass(frozen=True)
class Truth:
    """The true boxes of one picture: float64[n, 4] corners, int64[n], float64[n], bool[n]."""

    boxes: Float64
    labels: NDArray[np.int64]
    areas: Float64
    crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """The detections in one picture: float64[m, 4] corners, int64[m], float64[m]."""

    boxes: Float64
    labels: NDArray[np.int64]
    scores: Float64


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class and range of areas in all pictures, surest first.

    picture   int64[N]         where it is        rank   int64[N]   0 = surest of its picture
    hit       bool[T, N]       matched with a true box that counts
    ignored   bool[T, N]       neither right nor wrong
    n_true    float64[P]       true boxes that count, of each picture
    """

    picture: NDArray[np.int64]
    rank: NDArray[np.int64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    n_true: Float64

    def up_to(self, most: int) -> ClassMatches:
        """With the `most` surest detections of each picture only."""
        kept = self.rank < most
        return ClassMatches(
            self.picture[kept], self.rank[kept], self.hit[:, kept], self.ignored[:, kept],
            self.n_true,
        )  # fmt: skip


def crowd_iou(found: Float64, true: Float64, crowd: NDArray[np.bool_]) -> Float64:
    """float64[m, n]: intersection over union; over the detection's own area where n is a crowd."""
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:], true[None, :, 2:])
    common = (high - low).clip(0).prod(-1)
    own, others = _area(found)[:, None], _area(true)[None]
    union = np.where(crowd[None], own, own + others - common)
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _area(boxes: Float64) -> Float64:
    sides: Float64 = (boxes[:, 2:] - boxes[:, :2]).clip(0)
    areas: Float64 = sides.prod(-1)
    return areas


def match_class(
    truths: Sequence[Truth], founds: Sequence[Found], label: int, area: tuple[float, float]
) -> ClassMatches:
    """Match one class in every picture, as the COCO API's `evaluateImg` does."""
    parts = [
        _match_picture(truth, found, label, area)
        for truth, found in zip(truths, founds, strict=True)
    ]
    sizes = [len(scores) for scores, *_ in parts]
    scores = np.concatenate([part[0] for part in parts])
    order = np.argsort(-scores, kind="stable")
    return ClassMatches(
        np.repeat(np.arange(len(parts)), sizes)[order],
        np.concatenate([np.arange(size) for size in sizes])[order],
        np.concatenate([part[1] for part in parts], axis=1)[:, order],
        np.concatenate([part[2] for part in parts], axis=1)[:, order],
        np.array([part[3] for part in parts], np.float64),
    )


def _match_picture(
    truth: Truth, found: Found, label: int, area: tuple[float, float]
) -> tuple[Float64, NDArray[np.bool_], NDArray[np.bool_], int]:
    """Scores, hits and ignored [T, n] of one picture's detections, and its counting true boxes."""
    mine, theirs = truth.labels == label, found.labels == label
    boxes, crowd, areas = truth.boxes[mine], truth.crowd[mine], truth.areas[mine]
    outside = crowd | (areas < area[0]) | (areas > area[1])
    order = np.argsort(outside, kind="stable")
    boxes, crowd, outside = boxes[order], crowd[order], outside[order]
    surest = np.argsort(-found.scores[theirs], kind="stable")[: MOST[-1]]
    detections, scores = found.boxes[theirs][surest], found.scores[theirs][surest]
    matched = _greedy(crowd_iou(detections, boxes, crowd), crowd, outside)
    hit = matched >= 0
    ignored = np.zeros_like(hit)
    ignored[hit] = outside[matched[hit]]
    own = _area(detections)
    ignored |= ~hit & ((own < area[0]) | (own > area[1]))[None]
    return scores, hit & ~ignored, ignored, int((~outside).sum())


def _greedy(
    overlaps: Float64, crowd: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """int64[T, m]: the true box that each detection takes, -1 for none; surest first.

    One that counts is preferred to one that does not, then the one that overlaps most, the later of
    equals; only a crowd can be taken by several.
    """
    n_found, n_true = overlaps.shape
    result = np.full((len(THRESHOLDS), n_found), -1, np.int64)
    if not n_found or not n_true:
        return result
    for step, threshold in enumerate(THRESHOLDS):
        free = np.ones(n_true, np.bool_)
        for number in range(n_found):
            usable = (free | crowd) & (overlaps[number] >= min(threshold, 1 - 1e-10))
            for group in (usable & ~outside, usable & outside):
                if group.any():
                    values = np.where(group, overlaps[number], -1.0)
                    best = n_true - 1 - int(np.argmax(values[::-1]))
                    result[step, number] = best
                    free[best] = False
                    break
    return result


def precision_at_recalls(matches: ClassMatches, weights: Float64) -> Float64 | None:
    """float64[T, 101]: the highest precision at each recall or above, pictures weighted by
    `weights` float64[P]; None where no true box counts."""
    n_true = float(matches.n_true @ weights)
    if n_true == 0:
        return None
    own = weights[matches.picture]
    hits = np.cumsum(matches.hit * own, axis=1)
    misses = np.cumsum((~matches.hit & ~matches.ignored) * own, axis=1)
    total = hits + misses
    precision = np.divide(hits, total + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    result = np.zeros((len(THRESHOLDS), len(RECALLS)))
    for step, recall in enumerate(hits / n_true):
        place = np.searchsorted(recall, RECALLS, side="left")
        reached = place < len(recall)
        result[step, reached] = precision[step, place[reached]]
    return result


def recall_of(matches: ClassMatches, weights: Float64) -> Float64 | None:
    """float64[T]: the share of true boxes that are found; None where no true box counts."""
    n_true = float(matches.n_true @ weights)
    if n_true == 0:
        return None
    found: Float64 = (matches.hit * weights[matches.picture]).sum(axis=1) / n_true
    return found


class AveragePrecision:
    """The COCO metrics of detections in P pictures, for any weights of the pictures."""

    def __init__(
        self, truths: Sequence[Truth], founds: Sequence[Found], classes: Sequence[str]
    ) -> None:
        self.n_pictures, self.classes = len(truths), tuple(classes)
        self._matches = {
            (label, area): match_class(truths, founds, label, AREAS[area])
            for label, area in product(range(len(classes)), AREAS)
        }

    def matches(self, label: int, area: str = "all") -> ClassMatches:
        """How the detections of one class were matched."""
        return self._matches[label, area]

    def metrics(
        self, weights: Float64 | None = None, *, names: Sequence[str] | None = None
    ) -> dict[str, float]:
        """`map`, `map@.5`, `map@.75`, by size, by class (`ap@.5 <class>`), and `recall@<n>`.

        `map` is the mean over classes and the overlaps 0.5, 0.55, ... 0.95 of the precision at 101
        recalls; classes without a true box are left out, NaN where none is left (the COCO API says
        -1). `weights` float64[P]: how often each picture counts, once without. `names`: those
        wanted, all without.
        """
        weights = np.ones(self.n_pictures) if weights is None else weights

        @cache
        def curve(label: int, area: str = "all") -> Float64 | None:
            return precision_at_recalls(self._matches[label, area], weights)

        labels = range(len(self.classes))

        def mean_curve(area: str) -> float:
            return _mean([curve(label, area) for label in labels])

        def at_step(step: int, of: Sequence[int]) -> float:
            return _mean([_at(curve(label), step) for label in of])

        def recall(most: int) -> float:
            matches = [self._matches[label, "all"].up_to(most) for label in labels]
            return _mean([recall_of(one, weights) for one in matches])

        ways: dict[str, Callable[[], float]] = {
            "map": partial(mean_curve, "all"),
            "map@.5": partial(at_step, 0, labels),
            "map@.75": partial(at_step, 5, labels),
        }
        for area in list(AREAS)[1:]:
            ways[f"map {area}"] = partial(mean_curve, area)
        for most in MOST:
            ways[f"recall@{most}"] = partial(recall, most)
        for label, name in enumerate(self.classes):
            ways[f"ap@.5 {name}"] = partial(at_step, 0, (label,))
        return {name: ways[name]() for name in names or ways}


def _at(curve: Float64 | None, step: int) -> Float64 | None:
    return None if curve is None else curve[step]


def _mean(values: Sequence[Float64 | None]) -> float:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else float("nan")
