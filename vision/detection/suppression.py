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


def suppressed(boxes: Tensor, *, threshold: float) -> Tensor:
    """bool[..., n]: boxes float[..., n, 4], best first, that a better kept one overlaps.

    A box goes where its overlap with a kept better one is above `threshold` (greedy suppression).
    It is computed as a fixed point: after r rounds the first r decisions are final, and rounds end
    when nothing changes, which takes as many as the longest chain of boxes that decide each other.
    """
    better = torch.ones(boxes.shape[-2], boxes.shape[-2], dtype=torch.bool, device=boxes.device)
    overlaps = (iou(boxes, boxes) > threshold) & better.triu(1)
    gone = torch.zeros(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    while True:
        following = (overlaps & ~gone[..., :, None]).any(dim=-2)
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
    where they overlap by more than `overlap`. Boxes with a coordinate that is not finite are left
    out.
    """
    finite = boxes.isfinite().all(-1) & scores.isfinite().all(-1)
    boxes, scores = boxes[finite], scores[finite]
    best, place = scores.T.topk(min(most_a_class, len(scores)), dim=1)
    candidates = best > lowest
    longest = int(candidates.sum(dim=1).max()) if candidates.numel() else 0
    best, place, candidates = best[:, :longest], place[:, :longest], candidates[:, :longest]
    kept = candidates & ~suppressed(boxes[place], threshold=overlap)
    labels, order = kept.nonzero(as_tuple=True)
    found = best[labels, order]
    surest = found.argsort(descending=True, stable=True)[:most]
    labels, order = labels[surest], order[surest]
    return Detections(boxes[place[labels, order]], found[surest], labels)
