"""Annotated pictures of coloured squares, and a detector that is trained on them in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object>"
)
QUICK = [
    'model.network.name="resnet18"',
    "model.size=160",
    "model.training.epochs=2",
    "model.training.batch_size=4",
    "model.training.warmup_steps=2",
    "model.training.threads=1",
    'model.training.device="cpu"',
]


def write_folder(root: Path, n: int = 8, *, lists: bool = True) -> Path:
    """Pictures with a red and a blue square each, as a VOC folder with three splits."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(n):
        pixels, objects = np.full((96, 128, 3), 200, np.uint8), ""
        for name, half, colour in (("red", 0, (230, 20, 20)), ("blue", 64, (20, 20, 230))):
            x, y = half + int(rng.integers(2, 30)), int(rng.integers(2, 60))
            pixels[y : y + 30, x : x + 30] = colour
            objects += OBJECT.format(name, x + 1, y + 1, x + 30, y + 30)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"p{number}.png")
        text = f"<annotation><filename>p{number}.png</filename>{objects}</annotation>"
        (root / "Annotations" / f"p{number}.xml").write_text(text)
    if lists:
        for split, numbers in (
            ("train", range(n - 4)),
            ("val", (n - 4, n - 3)),
            ("test", (n - 2, n - 1)),
        ):
            text = "".join(f"p{number}\n" for number in numbers)
            (root / "ImageSets/Main" / f"{split}.txt").write_text(text)
    return root
