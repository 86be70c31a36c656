"""CIFAR-10 (Krizhevsky 2009) from its binary form; the Python form is pickles, and is not
opened."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from falconer.pipelines.errors import DataError
from falconer.vision.data.source import Fold, Picture, Source

ARCHIVE, FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
PICKLES = "cifar-10-python.tar.gz"
WHERE_FROM = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE} (163 MB) has it"
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
PARTS: tuple[tuple[Fold, str], ...] = (
    *(("train", f"data_batch_{number}.bin") for number in range(1, 6)),
    ("test", "test_batch.bin"),
)
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
"""Bytes of a picture: its label, then its red, green and blue plane, row after row."""
MOST_BYTES = 10_000 * RECORD
"""Of one file."""


def read_cifar10(place: Path) -> Source:
    """The archive, or the folder of its six files: 50,000 pictures to train and 10,000 to test on.

    Raises `DataError` where a file is missing, cut off, or has a label above 9.
    """
    pictures = [
        picture
        for (fold, name), content in zip(PARTS, _contents(place), strict=True)
        for picture in _pictures(content, fold, name, place)
    ]
    return Source("cifar10", "classes", CLASSES, pictures)


def _contents(place: Path) -> Iterator[bytes]:
    """The bytes of each of `PARTS`; of the archive nothing is unpacked to the disk."""
    if place.is_dir():
        for _, name in PARTS:
            try:
                with (place / name).open("rb") as stream:
                    yield stream.read(MOST_BYTES + 1)
            except OSError as error:
                raise DataError(f"{place / name}: {error.strerror}; {WHERE_FROM}") from error
        return
    try:
        with tarfile.open(place) as tar:
            for _, name in PARTS:
                member = tar.extractfile(f"{FOLDER}/{name}")
                yield member.read(MOST_BYTES + 1) if member else b""
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise DataError(f"{place}: cannot be read ({error}); {WHERE_FROM}") from error


def _pictures(content: bytes, fold: Fold, name: str, place: Path) -> Iterator[Picture]:
    if not content or len(content) > MOST_BYTES or len(content) % RECORD:
        raise DataError(
            f"{place}: {name} has {len(content):,} bytes, and whole pictures of {RECORD:,} are "
            f"wanted, at most {MOST_BYTES // RECORD:,}; {WHERE_FROM}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= len(CLASSES):
        raise DataError(f"{place}: {name} has the label {records[:, 0].max()}; {WHERE_FROM}")
    pixels = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    for number, (label, one) in enumerate(zip(records[:, 0], pixels, strict=True)):
        yield Picture(f"{Path(name).stem}/{number:05d}", (int(label),), pixels=one, fold=fold)
