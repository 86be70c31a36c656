"""The loss of SSD: smooth L1 of offsets and cross-entropy with the hardest negatives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from falconer.vision.detection.boxes import encode
from falconer.vision.detection.matching import BACKGROUND

NEGATIVES = 3
"""Background boxes that count for each matched one: those with the highest loss."""


def ssd_loss(
    offsets: Tensor, logits: Tensor, boxes: Tensor, labels: Tensor, defaults: Tensor
) -> Tensor:
    """(sum of smooth L1 + sum of cross-entropy) / matched boxes of the batch: a scalar.

    offsets  float[B, D, 4]    predicted          logits  float[B, D, C]   class 0 = background
    boxes    float[B, D, 4]    what each default box is matched with (corners)
    labels   int64[B, D]       0 where it is with none        defaults  float[D, 4]   corners

    Liu et al. 2016, equations 1 to 3, with three negatives a positive in each picture. A batch
    without any true box has the loss 0 with a gradient of 0.
    """
    matched = labels != BACKGROUND
    aims = encode(boxes[matched], defaults.expand_as(boxes)[matched])
    placed = functional.smooth_l1_loss(offsets[matched].float(), aims.float(), reduction="sum")
    named = functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), reduction="none"
    ).view(labels.shape)
    counted = matched | hardest_negatives(named.detach(), matched)
    return (placed + named[counted].sum()) / matched.sum().clamp(min=1)


def hardest_negatives(losses: Tensor, matched: Tensor) -> Tensor:
    """bool[B, D]: in each picture the unmatched boxes with the highest loss, three a matched one.

    Of equal losses the box that comes first counts.
    """
    wanted = NEGATIVES * matched.sum(dim=1, keepdim=True)
    hardness = losses.masked_fill(matched, -torch.inf)
    order = hardness.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return (rank < wanted) & ~matched
