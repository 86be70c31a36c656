"""1,797 handwritten digits of 8 x 8 pixels, from the file inside the installed scikit-learn."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from falconer.pipelines.errors import DataError
from falconer.vision.data.source import Picture, Source

SIDE, LIGHTEST = 8, 16
"""Pixels of a side, and the value of full ink."""
CLASSES = tuple(str(number) for number in range(10))


def read_digits() -> Source:
    """The digits (Alpaydin and Kaynak 1998), grey; scikit-learn is looked for and not imported.

    Raises `DataError` where it is not installed, or its file is damaged.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("digits: they come with scikit-learn; pip install scikit-learn")
    return read_digits_file(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz")


def read_digits_file(path: Path) -> Source:
    """A line for each digit: 64 values of 0 to 16, row after row, and the label."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as stream:
            values = np.loadtxt(stream, delimiter=",", ndmin=2)
        if values.shape[1:] != (SIDE * SIDE + 1,) or values.min() < 0 or values.max() > LIGHTEST:
            raise ValueError(f"{SIDE * SIDE} values of 0 to {LIGHTEST} and a label are wanted")
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: no file of digits, or damaged ({error})") from error
    pixels = (values[:, :-1] * 255 / LIGHTEST).astype(np.uint8).reshape(-1, SIDE, SIDE, 1)
    labels = values[:, -1].astype(int)
    pictures = [
        Picture(f"{place:04d}", (int(label),), pixels=one)
        for place, (one, label) in enumerate(zip(pixels, labels, strict=True))
    ]
    return Source("digits", "classes", CLASSES, pictures)
