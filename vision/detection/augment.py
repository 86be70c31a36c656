"""Changes of a picture together with its boxes, each drawn from a generator that is handed in.

A sample is uint8[height, width, 3] and boxes float64[n, 4] (corners in pixels) with labels
int64[n]. The set is that of Liu et al. 2016 (section 3.6) and its authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from falconer.vision.detection.config import AugmentConfig

Float64 = NDArray[np.float64]
LEAST_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9)
"""What a cut-out has in common with some true box at least; None: any cut-out."""
CUTS_TRIED = 50


@dataclass(frozen=True)
class Sample:
    """A picture with its boxes; the n boxes are within the picture."""

    pixels: NDArray[np.uint8]
    boxes: Float64
    labels: NDArray[np.int64]

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return self.pixels.shape[1]


def augmented(sample: Sample, config: AugmentConfig, rng: np.random.Generator) -> Sample:
    """The sample after the drawn changes; the order is photometric, zoom, crop, flip, turn."""
    if config.photometric:
        sample = replace(sample, pixels=photometric(sample.pixels, rng))
    if config.zoom_out > 1 and rng.random() < 0.5:
        sample = zoomed_out(sample, rng, most=config.zoom_out)
    if config.crop:
        sample = cropped(sample, rng)
    if config.flip and rng.random() < 0.5:
        sample = flipped(sample)
    if config.turn:
        if rng.random() < 0.5:
            sample = transposed(flipped(transposed(sample)))
        if rng.random() < 0.5:
            sample = transposed(sample)
    return sample


def flipped(sample: Sample) -> Sample:
    """Left becomes right."""
    boxes = sample.boxes.copy()
    boxes[:, [0, 2]] = sample.width - sample.boxes[:, [2, 0]]
    return Sample(np.ascontiguousarray(sample.pixels[:, ::-1]), boxes, sample.labels)


def transposed(sample: Sample) -> Sample:
    """Rows become columns."""
    pixels = np.ascontiguousarray(sample.pixels.transpose(1, 0, 2))
    return Sample(pixels, sample.boxes[:, [1, 0, 3, 2]], sample.labels)


def zoomed_out(sample: Sample, rng: np.random.Generator, *, most: float) -> Sample:
    """The picture somewhere on a sheet of its mean colour, 1 to `most` times as wide and high."""
    scale = rng.uniform(1, most)
    height, width = int(sample.height * scale), int(sample.width * scale)
    top = int(rng.integers(0, height - sample.height + 1))
    left = int(rng.integers(0, width - sample.width + 1))
    sheet = np.empty((height, width, 3), np.uint8)
    sheet[:] = sample.pixels.mean(axis=(0, 1)).astype(np.uint8)
    sheet[top : top + sample.height, left : left + sample.width] = sample.pixels
    return Sample(sheet, sample.boxes + np.array([left, top, left, top]), sample.labels)


def cropped(sample: Sample, rng: np.random.Generator) -> Sample:
    """A cut-out of 0.3 to 1 of each side, no more than twice as long as wide, or the whole.

    A smallest overlap with some true box is drawn, and boxes whose centre is outside go. The whole
    picture stays in one case of seven, where it has no box, and where no cut-out was found.
    """
    while len(sample.boxes):
        choice = int(rng.integers(0, len(LEAST_OVERLAPS) + 1))
        if choice == len(LEAST_OVERLAPS):
            return sample
        for _ in range(CUTS_TRIED):
            cut = _cut(sample, LEAST_OVERLAPS[choice], rng)
            if cut is not None:
                return cut
    return sample


def _cut(sample: Sample, least: float | None, rng: np.random.Generator) -> Sample | None:
    width, height = rng.uniform(0.3, 1, 2) * (sample.width, sample.height)
    width, height = max(1, int(width)), max(1, int(height))
    if not 0.5 < width / height < 2:
        return None
    left = int(rng.integers(0, sample.width - width + 1))
    top = int(rng.integers(0, sample.height - height + 1))
    window = np.array([left, top, left + width, top + height], np.float64)
    if least is not None and _overlaps(sample.boxes, window).max() < least:
        return None
    centres = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2
    inside = ((centres > window[:2]) & (centres < window[2:])).all(axis=1)
    if not inside.any():
        return None
    boxes = np.concatenate(
        [
            np.maximum(sample.boxes[inside, :2], window[:2]),
            np.minimum(sample.boxes[inside, 2:], window[2:]),
        ],
        axis=1,
    )
    pixels = sample.pixels[top : top + height, left : left + width]
    return Sample(
        np.ascontiguousarray(pixels),
        boxes - np.array([left, top, left, top]),
        sample.labels[inside],
    )


def _overlaps(boxes: Float64, window: Float64) -> Float64:
    """float64[n]: intersection over union of each box with the window."""
    sides = (np.minimum(boxes[:, 2:], window[2:]) - np.maximum(boxes[:, :2], window[:2])).clip(0)
    common = sides.prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    overlaps: Float64 = common / (areas + (window[2:] - window[:2]).prod() - common)
    return overlaps


def photometric(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each with a chance of a half: brightness by up to 32 of 255, contrast and saturation by 0.5
    to 1.5, hue by up to 18 of 360 degrees."""
    found = pixels.astype(np.float32)
    if rng.random() < 0.5:
        found += rng.uniform(-32, 32)
    if rng.random() < 0.5:
        found *= rng.uniform(0.5, 1.5)
    if rng.random() < 0.5:
        grey = found @ np.array([0.299, 0.587, 0.114], np.float32)
        found = grey[..., None] + (found - grey[..., None]) * np.float32(rng.uniform(0.5, 1.5))
    if rng.random() < 0.5:
        found = found @ _hue_rotation(np.deg2rad(rng.uniform(-18, 18))).T
    return found.clip(0, 255).astype(np.uint8)


def _hue_rotation(angle: float) -> NDArray[np.float32]:
    """float32[3, 3]: turns colours around the grey axis (Rodrigues' formula)."""
    cosine, part = np.cos(angle), np.sin(angle) / np.sqrt(3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) * part
    turned: Float64 = np.eye(3) * cosine + across + np.full((3, 3), (1 - cosine) / 3)
    return np.asarray(turned, np.float32)


def resized(sample: Sample, size: int) -> Sample:
    """`size` x `size` pixels, bilinear; sides are scaled apart, as SSD does."""
    image = Image.fromarray(sample.pixels).resize((size, size), Image.Resampling.BILINEAR)
    scale = np.array([size / sample.width, size / sample.height] * 2)
    return Sample(np.asarray(image), sample.boxes * scale, sample.labels)


def normalised(
    pixels: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """uint8[height, width, 3] -> float32[3, height, width], (pixel / 255 - mean) / std."""
    middle, spread = np.array(mean, np.float32), np.array(std, np.float32)
    scaled = (pixels.astype(np.float32) / 255 - middle) / spread
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)
