"""Which default box answers for which true box (Liu et al. 2016, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from falconer.vision.detection.boxes import iou

BACKGROUND = 0
"""The class of a default box without a true box; classes of the data are 1, 2, ... in networks."""
THRESHOLD = 0.5


@dataclass(frozen=True)
class Matched:
    """What each of D default boxes is to say.

    labels  int64[D]       the class, `BACKGROUND` for most
    boxes   float32[D, 4]  corners of the true box; of no meaning for the background
    """

    labels: Tensor
    boxes: Tensor


def match(
    truth: Tensor, labels: Tensor, defaults: Tensor, *, threshold: float = THRESHOLD
) -> Matched:
    """Give each default box the true box that it overlaps most, if by `threshold` or more.

    `truth` float32[n, 4] and `labels` int64[n] (1, 2, ...) are a picture's; n may be 0. The default
    box that overlaps a true one most is given that one in any case (of several true boxes with the
    same default the last), so that no true box is left out for its shape. A true box without an
    area is left out.
    """
    usable = (truth[:, 2:] > truth[:, :2]).all(-1)
    truth, labels = truth[usable], labels[usable]
    if not len(truth):
        return Matched(defaults.new_zeros(len(defaults), dtype=torch.int64), defaults)
    overlap = iou(truth, defaults)
    best, owner = overlap.max(dim=0)
    own = overlap.max(dim=1).indices
    owner[own] = torch.arange(len(truth), device=own.device)
    best[own] = 1.0
    return Matched(torch.where(best >= threshold, labels[owner], BACKGROUND), truth[owner])
