"""What is wrong with detections above a threshold: the six kinds of TIDE (Bolya et al. 2020).

    class        over a true box of another class           location   off a true box of its class
    both         off a true box of another class            duplicate  over one that is taken
    background   over nothing                               missed     a true box nobody is near

"Over" is an overlap of `OVER` or more, "off" one between `NEAR` and `OVER`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from falconer.vision.detection.judging.average_precision import Found, Truth, crowd_iou

OVER, NEAR = 0.5, 0.1
KINDS = ("right", "class", "location", "both", "duplicate", "background", "missed")


def error_kinds(
    truths: Sequence[Truth], founds: Sequence[Found], threshold: float
) -> dict[str, int]:
    """Kind -> how many detections with a score of `threshold` or more, and missed true boxes.

    `right` are those that find a true box. Crowds, and detections over them, are left out.
    """
    counts = Counter(dict.fromkeys(KINDS, 0))
    for truth, found in zip(truths, founds, strict=True):
        counts.update(_of_picture(truth, found, threshold))
    return dict(counts)


def _of_picture(truth: Truth, found: Found, threshold: float) -> list[str]:
    single = ~truth.crowd
    boxes, labels = truth.boxes[single], truth.labels[single]
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] >= threshold]
    order = order[~_in_crowd(truth, found)[order]]
    overlaps = crowd_iou(found.boxes[order], boxes, np.zeros(len(boxes), np.bool_))
    taken, near = np.zeros(len(boxes), np.bool_), np.zeros(len(boxes), np.bool_)
    kinds = []
    for own, label in zip(overlaps, found.labels[order], strict=True):
        mine = labels == label
        free = np.where(mine & ~taken & (own >= OVER), own, -1.0)
        if len(free) and free.max() > 0:
            taken[int(free.argmax())] = True
            kinds.append("right")
            continue
        near |= own >= NEAR
        kinds.append(_kind(own, mine))
    return kinds + ["missed"] * int((~taken & ~near).sum())


def _kind(own: NDArray[np.float64], mine: NDArray[np.bool_]) -> str:
    """Why a detection with these overlaps is wrong; `mine` says which boxes are of its class."""
    best = own.max(initial=0.0, where=mine)
    other = own.max(initial=0.0, where=~mine)
    if best >= OVER:
        return "duplicate"
    if other >= OVER:
        return "class"
    if best >= NEAR:
        return "location"
    return "both" if other >= NEAR else "background"


def _in_crowd(truth: Truth, found: Found) -> NDArray[np.bool_]:
    crowds = truth.boxes[truth.crowd]
    inside = crowd_iou(found.boxes, crowds, np.ones(len(crowds), np.bool_)) >= OVER
    same = found.labels[:, None] == truth.labels[truth.crowd][None]
    result: NDArray[np.bool_] = (inside & same).any(axis=1)
    return result


def best_threshold(truths: Sequence[Truth], founds: Sequence[Found]) -> float:
    """The score from which on detections have the highest F1: 2 right / (said + true boxes).

    Of equal thresholds the highest counts; 0.5 where nothing was found at all. It is to be chosen
    on pictures that are not those of the test.
    """
    scores: list[float] = []
    right: list[bool] = []
    n_true = sum(int((~truth.crowd).sum()) for truth in truths)
    for truth, found in zip(truths, founds, strict=True):
        order = np.argsort(-found.scores, kind="stable")
        order = order[~_in_crowd(truth, found)[order]]
        kept = Found(found.boxes[order], found.labels[order], found.scores[order])
        kinds = _of_picture(truth, kept, -np.inf)[: len(order)]
        scores.extend(kept.scores.tolist())
        right.extend(kind == "right" for kind in kinds)
    if not scores:
        return 0.5
    values = np.array(scores)
    surest = np.argsort(-values, kind="stable")
    hits = np.cumsum(np.array(right)[surest])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + n_true)
    ends = np.flatnonzero(np.diff(values[surest], append=-np.inf) < 0)
    return float(values[surest][ends[int(f1[ends].argmax())]])
