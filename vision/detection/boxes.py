"""Arithmetic of boxes in torch: areas, overlaps, and the offsets that SSD predicts.

A box is (x0, y0, x1, y1), corners in any one unit, x1 > x0 and y1 > y0 where it has an area. Edges
are continuous: a box that covers one whole pixel is one wide.
"""

from __future__ import annotations

import torch
from torch import Tensor

CENTRE_VARIANCE = 0.1
SIZE_VARIANCE = 0.2


def area(boxes: Tensor) -> Tensor:
    """float[..., 4] -> float[...]; 0 for a box with swapped corners."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def intersection(first: Tensor, second: Tensor) -> Tensor:
    """float[..., n, 4] and float[..., m, 4] -> the common area float[..., n, m]."""
    low = torch.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = torch.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    return (high - low).clamp(min=0).prod(-1)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union: float[..., n, 4] and float[..., m, 4] -> float[..., n, m] in [0, 1].

    Two boxes without an area have 0, never NaN.
    """
    common = intersection(first, second)
    union = area(first)[..., :, None] + area(second)[..., None, :] - common
    return torch.where(union > 0, common / union.clamp(min=torch.finfo(union.dtype).tiny), 0.0)


def to_centres(boxes: Tensor) -> Tensor:
    """(x0, y0, x1, y1) -> (centre x, centre y, width, height)."""
    return torch.cat(
        [(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], dim=-1
    )


def to_corners(centres: Tensor) -> Tensor:
    """(centre x, centre y, width, height) -> (x0, y0, x1, y1)."""
    half = centres[..., 2:] / 2
    return torch.cat([centres[..., :2] - half, centres[..., :2] + half], dim=-1)


def encode(boxes: Tensor, defaults: Tensor) -> Tensor:
    """The offsets of `boxes` from `defaults`, both float[..., 4] with corners.

    (g_x - d_x) / d_w / 0.1 and log(g_w / d_w) / 0.2, and so for y and h (Liu et al. 2016, section
    2.2, with the variances of the authors' code). A side shorter than a millionth of the default's
    counts as so long, so that no offset is infinite.
    """
    found, own = to_centres(boxes), to_centres(defaults)
    ratio = (found[..., 2:] / own[..., 2:]).clamp(min=1e-6)
    moved = (found[..., :2] - own[..., :2]) / own[..., 2:]
    return torch.cat([moved / CENTRE_VARIANCE, ratio.log() / SIZE_VARIANCE], dim=-1)


def decode(offsets: Tensor, defaults: Tensor) -> Tensor:
    """The boxes (corners) that `offsets` from `defaults` (corners) mean: the inverse of `encode`.

    A side is at most 1,000 times its default's, so that no box is infinite.
    """
    own = to_centres(defaults)
    centre = own[..., :2] + offsets[..., :2] * CENTRE_VARIANCE * own[..., 2:]
    size = own[..., 2:] * (offsets[..., 2:] * SIZE_VARIANCE).clamp(max=6.9).exp()
    return to_corners(torch.cat([centre, size], dim=-1))
