"""Pictures with boxes drawn on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from falconer.pipelines.files import atomic_file

WIDTH = 3
COLOURS = ("#0f62fe", "#d12771", "#198038", "#b28600", "#8a3ffc", "#005d5d", "#9f1853", "#570408")


def colour_of(name: str) -> str:
    """A colour that a class has in every picture and run."""
    return COLOURS[hashlib.sha256(name.encode()).digest()[0] % len(COLOURS)]


def draw(pixels: NDArray[np.uint8], boxes: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Write a JPEG with each box (`box`, `class`, `score`) in the colour of its class; atomic."""
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for one in boxes:
        colour = colour_of(one["class"])
        pen.rectangle(tuple(one["box"]), outline=colour, width=WIDTH)
        pen.text(
            (one["box"][0] + 4, one["box"][1] + 2), f"{one['class']} {one['score']:.2f}", colour
        )
    with atomic_file(target) as partial:
        image.save(partial, "JPEG", quality=88)
