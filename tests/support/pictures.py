"""Small folders of pictures whose classes a network can learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 40, 40)}


def picture(
    colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (40, 36)
) -> Image.Image:
    """A noisy picture of one colour."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 40, (size[1], size[0], 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def colour_folder(root: Path, *, n: int = 20) -> Path:
    """`n` pictures of each colour, in a folder for each."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        (root / name).mkdir(parents=True)
        for place in range(n):
            picture(colour, 100 * number + place).save(root / name / f"{place}.png")
    return root


SMALL = (
    "pictures.size=16",
    "training.epochs=2",
    "training.batch_size=8",
    "training.warmup_steps=2",
    "training.learning_rate=0.05",
    "training.threads=1",
)
"""Overrides that make a recipe small."""
