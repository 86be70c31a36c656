"""Published collections, by name or as a folder of their files."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.errors import DataError
from falconer.vision.data import cifar10
from falconer.vision.data.cells import read_cells, unpacked
from falconer.vision.data.digits import read_digits
from falconer.vision.data.folder import read_folder
from falconer.vision.data.source import Fold, Picture, Source
from falconer.vision.data.table import read_table

MIRROR = "FALCONER_DATA_MIRROR"
DEBIAN = Path("/usr/share/datasets")
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
IDX_PARTS: tuple[tuple[Fold, str], ...] = (("train", "train"), ("test", "t10k"))
MOST_VALUES = 2**31


def open_source(data: str) -> Source:
    """The source that `data` means: a published name, a folder, or a CSV file.

    Raises `DataError` where it is none of these.
    """
    if data in NAMED:
        return NAMED[data]()
    path = Path(data)
    if path.is_file() and path.suffix.lower() == ".csv":
        return read_table(path)
    if path.is_dir():
        return read_idx(path, None) if any(path.glob("*-idx3-ubyte*")) else read_folder(path)
    raise DataError(
        f"{data}: neither a folder of pictures, nor a CSV file, nor one of the names "
        f"{', '.join(NAMED)}"
    )


def _roots() -> list[Path]:
    """Where published collections lie: the mirror, the system's folder, and `data`."""
    mirror = [Path(os.environ[MIRROR])] if os.environ.get(MIRROR) else []
    return [*mirror, DEBIAN, Path("data")]


def _place_of(names: Sequence[str], remedy: str) -> Path:
    """The first of `names` that is there, as a folder or file of a published collection."""
    for root in _roots():
        for name in names:
            if (root / name).exists():
                return root / name
    raise DataError(f"{' or '.join(names)}: not found in {', '.join(map(str, _roots()))}; {remedy}")


def _fashion_mnist() -> Source:
    remedy = "install the Debian package dataset-fashion-mnist"
    return read_idx(_place_of(["fashion-mnist"], remedy), FASHION)


def _mnist() -> Source:
    remedy = "put the four files of MNIST (train-images-idx3-ubyte.gz, ...) into one of these"
    return read_idx(_place_of(["mnist"], remedy), None)


def _cifar10() -> Source:
    pickles = next((r / cifar10.PICKLES for r in _roots() if (r / cifar10.PICKLES).exists()), None)
    remedy = cifar10.WHERE_FROM
    if pickles is not None:
        remedy = f"{pickles} holds pickles, which are never opened; {remedy}"
    return cifar10.read_cifar10(_place_of([cifar10.ARCHIVE, cifar10.FOLDER], remedy))


def _bccd_cells() -> Source:
    remedy = f"set {MIRROR} to the folder that holds it"
    archive = _place_of(["bccd.tar.gz"], remedy)
    return read_cells(unpacked(archive, Path("data") / "bccd"))


def read_idx(folder: Path, classes: tuple[str, ...] | None) -> Source:
    """The four files of MNIST's format; classes are numbered where they have no names."""
    pictures: list[Picture] = []
    highest = 0
    for fold, part in IDX_PARTS:
        pixels = _idx(folder, f"{part}-images-idx3-ubyte", 3)
        labels = _idx(folder, f"{part}-labels-idx1-ubyte", 1)
        if len(pixels) != len(labels):
            raise DataError(f"{folder}: {len(pixels)} pictures and {len(labels)} labels in {part}")
        highest = max(highest, int(labels.max(initial=0)))
        pictures += [
            Picture(f"{part}/{place:05d}", (int(label),), pixels=one[..., None], fold=fold)
            for place, (one, label) in enumerate(zip(pixels, labels, strict=True))
        ]
    names = classes or tuple(str(number) for number in range(highest + 1))
    if highest >= len(names):
        raise DataError(f"{folder}: label {highest} of {len(names)} classes")
    return Source(folder.resolve().name, "classes", names, pictures)


def _idx(folder: Path, name: str, dimensions: int) -> NDArray[np.uint8]:
    """uint8 array of an idx file, plain or compressed."""
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise DataError(f"{folder / name}: no such file, with or without .gz")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            kind, count = struct.unpack(">HBB", stream.read(4))[1:]
            shape = struct.unpack(f">{count}I", stream.read(4 * count))
            if kind != 8 or count != dimensions or np.prod(shape, dtype=float) > MOST_VALUES:
                raise ValueError(f"{count} dimensions of kind {kind}")
            content = stream.read(int(np.prod(shape)))
        return np.frombuffer(content, np.uint8).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise DataError(f"{path}: no idx file of bytes, or damaged ({error})") from error


NAMED: Mapping[str, Callable[[], Source]] = {
    "digits": read_digits,
    "mnist": _mnist,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "bccd-cells": _bccd_cells,
}
