"""The default boxes of SSD (Liu et al. 2016, section 2.2), with the scales of its COCO model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from falconer.vision.detection.boxes import to_corners

SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
"""Side of the small square of each map, as a share of the picture's side; the last closes the row:
21, 45, 99, 153, 207, 261 and 315 pixels of 300."""
ASPECT_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
"""Of each map, besides 1; each stands for itself and its inverse."""
STRIDES = (8, 16, 32, 64)
"""Pixels between two places of the first maps; the last ones divide the picture evenly."""


def boxes_a_place() -> tuple[int, ...]:
    """How many default boxes each place of each map has: 4, 6, 6, 6, 4, 4."""
    return tuple(2 + 2 * len(ratios) for ratios in ASPECT_RATIOS)


def default_boxes(size: int, maps: Sequence[tuple[int, int]], *, clamped: bool = False) -> Tensor:
    """float32[n, 4], corners as shares of the picture's side: for map after map, row after row.

    `maps` is (height, width) of each of the six feature maps for pictures of `size` x `size`; for
    300 and 38, 19, 10, 5, 3, 1 there are 8,732 boxes. `clamped` cuts centres and sides to [0, 1]
    before corners are made, as NVIDIA's example does. Raises `ValueError` for another number of
    maps.
    """
    if len(maps) != len(ASPECT_RATIOS):
        raise ValueError(f"{len(ASPECT_RATIOS)} feature maps are wanted, not {len(maps)}")
    found = []
    for number, ((height, width), (scale, following)) in enumerate(
        zip(maps, pairwise(SCALES), strict=True)
    ):
        sides = _sides(scale, following, ASPECT_RATIOS[number])
        found.append(_on_a_grid(sides, *_steps(number, size, height, width), height, width))
    centres = torch.cat(found)
    return to_corners(centres.clamp(0, 1) if clamped else centres)


def _sides(scale: float, following: float, ratios: Sequence[int]) -> Tensor:
    """float32[n, 2]: width and height of each box of a place."""
    sides = [(scale, scale), ((scale * following) ** 0.5,) * 2]
    for ratio in ratios:
        long, short = scale * ratio**0.5, scale / ratio**0.5
        sides += [(long, short), (short, long)]
    return torch.tensor(sides)


def _steps(number: int, size: int, height: int, width: int) -> tuple[float, float]:
    """From one place to the next, as shares of the picture's side: down and across."""
    if number < len(STRIDES):
        return STRIDES[number] / size, STRIDES[number] / size
    return 1 / height, 1 / width


def _on_a_grid(sides: Tensor, down: float, across: float, height: int, width: int) -> Tensor:
    """float32[height * width * n, 4]: centre and sides of every box of a map."""
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) * down, (torch.arange(width) + 0.5) * across, indexing="ij"
    )
    centres = torch.stack([x, y], dim=-1).reshape(-1, 1, 2).expand(-1, len(sides), 2)
    return torch.cat([centres, sides.expand(height * width, -1, 2)], dim=-1).reshape(-1, 4)
