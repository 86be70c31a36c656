"""TrivialAugment (Mueller and Hutter 2021), with its wide ranges: one change, one strength, no
search.

A change is drawn evenly from `CHANGES`, and its strength evenly from 0 to 30; a change of a
direction goes either way. Strength 0 changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from falconer.vision.data.decode import Pixels

STRENGTHS = 30
Change = Callable[[Image.Image, float], Image.Image]
"""A picture, and a strength from -1 to 1."""


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Change:
    return lambda image, strength: kind(image).enhance(1 + 0.99 * strength)


def _sheared(image: Image.Image, across: float, down: float) -> Image.Image:
    matrix = (1, across, 0, down, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def _moved(image: Image.Image, across: float, down: float) -> Image.Image:
    matrix = (1, 0, across, 0, 1, down)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


CHANGES: Mapping[str, Change] = {
    "identity": lambda image, _: image,
    "shear across": lambda image, s: _sheared(image, 0.99 * s, 0),
    "shear down": lambda image, s: _sheared(image, 0, 0.99 * s),
    "move across": lambda image, s: _moved(image, 32 * s, 0),
    "move down": lambda image, s: _moved(image, 0, 32 * s),
    "turn": lambda image, s: image.rotate(135 * s),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "colour": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "posterise": lambda image, s: ImageOps.posterize(image, 8 - round(6 * abs(s))),
    "solarise": lambda image, s: ImageOps.solarize(image, round(256 * (1 - abs(s)))),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalise": lambda image, _: ImageOps.equalize(image),
}
NAMES = tuple(CHANGES)


def trivially_changed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """One drawn change of the picture."""
    name = NAMES[int(rng.integers(len(NAMES)))]
    strength = float(rng.integers(STRENGTHS + 1)) / STRENGTHS
    return changed(pixels, name, strength if rng.random() < 0.5 else -strength)


def changed(pixels: Pixels, name: str, strength: float) -> Pixels:
    """The picture after the change `name` of `CHANGES`."""
    channels = pixels.shape[2]
    image = Image.fromarray(np.ascontiguousarray(pixels if channels == 3 else pixels[..., 0]))
    return np.asarray(CHANGES[name](image, strength)).reshape(pixels.shape)
