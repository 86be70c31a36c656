"""Non-maximum suppression, for all classes of a picture at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from falconer.vision.detection.boxes import iou


@dataclass(frozen=True)
class Detections:
    """What was found in a picture, the surest first.

    boxes  float32[n, 4]  corners        scores  float32[n]        labels  int64[n]   0, 1, ...
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


BLOCK = 256
"""Candidates that are looked at together."""


def suppressed(overlaps: Tensor) -> Tensor:
    """bool[n]: what greedy suppression takes away of n boxes, best first.

    `overlaps` bool[n, n] says whether two boxes cannot both stay. A box goes where a better one
    that is kept overlaps it. It is computed as a fixed point: after r rounds the first r
    decisions are final, and rounds end when nothing changes, which
    takes as many as the longest chain of boxes that decide each other.
    """
    by_better = overlaps.triu(1)
    gone = torch.zeros(len(overlaps), dtype=torch.bool, device=overlaps.device)
    while True:
        following = (by_better & ~gone[:, None]).any(dim=0)
        if torch.equal(following, gone):
            return gone
        gone = following


def detections_of(
    boxes: Tensor,
    scores: Tensor,
    *,
    lowest: float,
    overlap: float,
    most_a_class: int,
    most: int,
) -> Detections:
    """Boxes float[D, 4] with scores float[D, C] of each class -> at most `most` detections.

    Of each class the `most_a_class` best with a score above `lowest` are taken, and suppressed
    where a kept one of the class overlaps them by more than `overlap`. Boxes with a coordinate
    that is not finite are left out. Candidates are decided best first, so that nothing is
    computed of those that come after the last one wanted.
    """
    finite = boxes.isfinite().all(-1) & scores.isfinite().all(-1)
    place, labels = ((scores > lowest) & finite[:, None]).nonzero(as_tuple=True)
    found, order = scores[place, labels].sort(descending=True, stable=True)
    boxes, labels = boxes[place[order]], labels[order]
    allowed = _rank_in_class(labels, scores.shape[1]) < most_a_class
    best = Detections(boxes[allowed], found[allowed], labels[allowed])
    kept = torch.zeros(0, dtype=torch.int64, device=boxes.device)
    for start in range(0, len(best.scores), BLOCK):
        if len(kept) >= most:
            break
        block = torch.arange(start, min(start + BLOCK, len(best.scores)), device=boxes.device)
        block = block[~_excluded(best, block, kept, overlap).any(dim=1)]
        kept = torch.cat([kept, block[~suppressed(_excluded(best, block, block, overlap))]])
    kept = kept[:most]
    return Detections(best.boxes[kept], best.scores[kept], best.labels[kept])


def _rank_in_class(labels: Tensor, n_classes: int) -> Tensor:
    """int64[n]: how many of the same label stand before each."""
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels, minlength=n_classes)
    starts = counts.cumsum(0) - counts
    places = torch.arange(len(labels), device=labels.device)
    return torch.empty_like(places).scatter_(0, order, places - starts[labels[order]])


def _excluded(best: Detections, first: Tensor, second: Tensor, overlap: float) -> Tensor:
    """bool[n, m]: whether two candidates are of one class and overlap by more than is allowed."""
    same = best.labels[first][:, None] == best.labels[second]
    return same & (iou(best.boxes[first], best.boxes[second]) > overlap)
