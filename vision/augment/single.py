"""Changes of one picture, uint8[height, width, channels] -> uint8[size, size, channels]."""

from __future__ import annotations

import math

import numpy as np

from falconer.vision.augment.trivial import trivially_changed
from falconer.vision.config import AugmentConfig, PicturesConfig
from falconer.vision.data.decode import Pixels, resized
from falconer.vision.data.prepared import middle

ASPECTS = (3 / 4, 4 / 3)
CROPS_TRIED = 10
ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECTS = (0.3, 3.3)


def training_picture(
    pixels: Pixels, pictures: PicturesConfig, augment: AugmentConfig, rng: np.random.Generator
) -> Pixels:
    """One picture as a training step sees it; the order is crop, flip, TrivialAugment, erasing."""
    if augment.crop == "random_resized":
        pixels = random_resized(pixels, pictures.size, augment.crop_area, rng)
    else:
        pixels = middle(pixels, pictures.model_copy(update={"test_size": None}))
        if augment.crop == "padded":
            pixels = padded_crop(pixels, augment.padding, rng)
    if augment.flip and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if augment.trivial:
        pixels = trivially_changed(pixels, rng)
    if augment.erasing and rng.random() < augment.erasing:
        pixels = erased(pixels, rng)
    return pixels


def random_resized(
    pixels: Pixels, size: int, area: tuple[float, float], rng: np.random.Generator
) -> Pixels:
    """A part of the picture of a share `area` of it and a side ratio of 3/4 to 4/3, scaled; the
    middle square where no such part was found in ten draws."""
    height, width = pixels.shape[:2]
    for _ in range(CROPS_TRIED):
        wanted = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        across, down = math.sqrt(wanted * ratio), math.sqrt(wanted / ratio)
        if across <= width and down <= height:
            left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
            return resized(pixels, (size, size), (left, top, left + across, top + down))
    edge = min(height, width)
    left, top = (width - edge) / 2, (height - edge) / 2
    return resized(pixels, (size, size), (left, top, left + edge, top + edge))


def padded_crop(pixels: Pixels, padding: int, rng: np.random.Generator) -> Pixels:
    """The picture moved by up to `padding` pixels either way, black where it was not."""
    height, width = pixels.shape[:2]
    down, across = (int(n) for n in rng.integers(-padding, padding + 1, 2))
    found = np.zeros_like(pixels)
    found[max(0, -down) : height - max(0, down), max(0, -across) : width - max(0, across)] = pixels[
        max(0, down) : height - max(0, -down), max(0, across) : width - max(0, -across)
    ]
    return found


def erased(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A rectangle of 2 to 33 % of the picture becomes noise; as it was where none fits in ten
    draws."""
    height, width = pixels.shape[:2]
    for _ in range(CROPS_TRIED):
        wanted = height * width * rng.uniform(*ERASED_AREA)
        ratio = math.exp(rng.uniform(math.log(ERASED_ASPECTS[0]), math.log(ERASED_ASPECTS[1])))
        across, down = round(math.sqrt(wanted * ratio)), round(math.sqrt(wanted / ratio))
        if 0 < across < width and 0 < down < height:
            top, left = rng.integers(0, height - down + 1), rng.integers(0, width - across + 1)
            found = pixels.copy()
            noise = rng.integers(0, 256, (down, across, pixels.shape[2]), np.uint8)
            found[top : top + down, left : left + across] = noise
            return found
    return pixels
