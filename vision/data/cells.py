"""The cells of BCCD, cut out of its pictures of blood and named: RBC, WBC or Platelets.

The archive (`bccd.tar.gz`, MIT) holds 364 pictures in PASCAL VOC's format with an official split.
Each box becomes one picture, a square around its middle with a rim of a tenth; cells of one picture
are one group, so that none is judged whose neighbours were trained on.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from falconer.pipelines.errors import DataError
from falconer.pipelines.files import atomic_directory
from falconer.vision.data.decode import Pixels, read_picture
from falconer.vision.data.source import FOLDS, Fold, Picture, Rejected, Source
from falconer.vision.detection.annotations import Annotated
from falconer.vision.detection.formats import voc

SPLITS: dict[Fold, str] = {"train": "train", "valid": "val", "test": "test"}
RIM = 1.1
LEAST_SIDE = 8
SIDE = 96
"""Pixels of a cut-out's side: red cells are about as large."""
MOST_BYTES = 2**28


def unpacked(archive: Path, target: Path) -> Path:
    """The archive's VOC folder, unpacked below `target` once."""
    if not target.exists():
        try:
            with tarfile.open(archive) as tar, atomic_directory(target) as partial:
                if sum(member.size for member in tar.getmembers()) > MOST_BYTES:
                    raise DataError(f"{archive}: unpacks to more than {MOST_BYTES // 2**20} MB")
                tar.extractall(partial, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise DataError(f"{archive}: cannot be unpacked ({error})") from error
    return target / "BCCD"


def read_cells(folder: Path) -> Source:
    """The cells of a VOC folder; those of fewer than 8 pixels a side are set aside."""
    splits = {fold: voc.read(folder, name) for fold, name in SPLITS.items()}
    classes = tuple(sorted({name for one in splits.values() for name in one.classes}))
    pictures: list[Picture] = []
    rejected: list[Rejected] = []
    for fold in FOLDS:
        rejected += [Rejected(one.place, one.reason) for one in splits[fold].rejected]
        for one in _cells(splits[fold], classes, fold):
            (pictures if isinstance(one, Picture) else rejected).append(one)  # type: ignore[arg-type]
    return Source("bccd-cells", "classes", classes, pictures, tuple(rejected))


def _cells(data: Annotated, classes: tuple[str, ...], fold: Fold) -> Iterator[Picture | Rejected]:
    for picture in data.pictures:
        pixels = read_picture(picture.path)
        for place, (box, label) in enumerate(zip(picture.boxes, picture.labels, strict=True)):
            name = f"{picture.path.stem}/{place}"
            if min(box[2] - box[0], box[3] - box[1]) < LEAST_SIDE:
                yield Rejected(
                    name, f"a box of {box[2] - box[0]:.0f} x {box[3] - box[1]:.0f} pixels"
                )
                continue
            number = classes.index(data.classes[label])
            cut = cut_out(pixels, box)
            yield Picture(name, (number,), pixels=cut, group=picture.path.stem, fold=fold)


def cut_out(pixels: Pixels, box: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Pixels:
    """The square around a box (corners in pixels), moved inside of the picture where it can be, as
    uint8[96, 96, 3]."""
    height, width = pixels.shape[:2]
    side = min(RIM * max(box[2] - box[0], box[3] - box[1]), height, width)
    left = float(np.clip((box[0] + box[2] - side) / 2, 0, width - side))
    top = float(np.clip((box[1] + box[3] - side) / 2, 0, height - side))
    image = Image.fromarray(pixels)
    window = (left, top, left + side, top + side)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=window))
