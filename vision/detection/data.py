"""Folders of annotated pictures with their splits, in any of the three forms, or by name."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from falconer.pipelines.errors import DataError
from falconer.pipelines.files import atomic_directory, identity_of
from falconer.vision.detection.annotations import Annotated
from falconer.vision.detection.formats import coco, voc, yolo

SPLITS = ("train", "val", "test")
DATA_MIRROR = "FALCONER_DATA_MIRROR"
BCCD = "bccd"
TRAIN, TRAIN_AND_VAL = 0.7, 0.85
"""Shares of pictures that come without a split."""
BCCD_ARCHIVE, BCCD_BYTES = "bccd.tar.gz", 64 * 2**20


@dataclass(frozen=True)
class DetectionData:
    """Annotated pictures by split, with the same classes in each.

    Without a split of its own a folder is split by the hashes of the pictures' names, so that a
    picture stays where it is when others come.
    """

    name: str
    root: Path
    parts: Mapping[str, Annotated]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return next(iter(self.parts.values())).classes

    @property
    def dataset_id(self) -> str:
        """16 hex digits of what the annotations say; other boxes or pictures have another one."""
        return identity_of(
            {
                split: [
                    [one.path.name, one.boxes.tolist(), one.labels.tolist(), one.crowd.tolist()]
                    for one in part.pictures
                ]
                for split, part in self.parts.items()
            }
            | {"classes": list(self.classes)}
        )

    def part(self, split: str) -> Annotated:
        """One split; `DataError` with those that there are for another."""
        if split not in self.parts:
            there = ", ".join(self.parts)
            raise DataError(f"{self.root}: there is no split {split!r}; there are: {there}")
        return self.parts[split]


def open_data(source: str, kept: Path) -> DetectionData:
    """A folder in VOC's, COCO's or YOLO's form, or the name `bccd`, which is unpacked below `kept`.

    COCO's form is a folder with images/ and annotations/<split>.json. Raises `DataError` where the
    folder has none of the forms.
    """
    if source == BCCD:
        return _read(BCCD, _unpacked(kept / BCCD))
    root = Path(source)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of pictures with annotations")
    return _read(root.resolve().name, root)


def _read(name: str, root: Path) -> DetectionData:
    if (root / voc.ANNOTATIONS).is_dir():
        lists = [split for split in SPLITS if (root / voc.SETS / f"{split}.txt").is_file()]
        whole = voc.read(root)
        parts = {split: voc.read(root, split, classes=whole.classes) for split in lists}
    elif (root / yolo.NAMES).is_file():
        folders = [split for split in SPLITS if (root / yolo.PICTURES / split).is_dir()]
        whole = yolo.read(root)
        parts = {split: yolo.read(root, split) for split in folders}
    elif (root / "annotations").is_dir():
        files = [split for split in SPLITS if (root / "annotations" / f"{split}.json").is_file()]
        parts = {
            split: coco.read(root / "annotations" / f"{split}.json", root / "images")
            for split in files
        }
        _refuse_other_classes(root, parts)
        return DetectionData(name, root, parts)
    else:
        raise DataError(
            f"{root}: none of the three forms: Annotations/*.xml with JPEGImages/ (VOC), "
            "annotations/<split>.json with images/ (COCO), or classes.txt with images/ and labels/ "
            "(YOLO)"
        )
    return DetectionData(name, root, parts or _drawn(whole))


def _refuse_other_classes(root: Path, parts: Mapping[str, Annotated]) -> None:
    if not parts:
        raise DataError(f"{root / 'annotations'}: no train.json, val.json or test.json")
    first, *others = parts.items()
    for split, part in others:
        if part.classes != first[1].classes:
            raise DataError(
                f"{root}: the categories of {split}.json are not those of {first[0]}.json"
            )


def _drawn(whole: Annotated) -> dict[str, Annotated]:
    """A part of each split by the hash of each picture's name."""
    parts: dict[str, list[int]] = {split: [] for split in SPLITS}
    for number, picture in enumerate(whole.pictures):
        digest = hashlib.sha256(picture.path.name.encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        split = "train" if place < TRAIN else "val" if place < TRAIN_AND_VAL else "test"
        parts[split].append(number)
    return {
        split: Annotated(whole.classes, tuple(whole.pictures[n] for n in numbers), whole.rejected)
        for split, numbers in parts.items()
        if numbers
    }


def _unpacked(folder: Path) -> Path:
    """The folder of the BCCD archive, unpacked once."""
    if (folder / "BCCD").is_dir():
        return folder / "BCCD"
    mirror = os.environ.get(DATA_MIRROR)
    archive = Path(mirror or ".") / BCCD_ARCHIVE
    if not archive.is_file():
        raise DataError(
            f"{archive}: not found; put the BCCD archive there (MIT licence, 364 pictures of blood "
            f"cells in VOC's form) and name its folder in {DATA_MIRROR}"
        )
    if archive.stat().st_size > BCCD_BYTES:
        raise DataError(f"{archive}: larger than {BCCD_BYTES // 2**20} MB; it is another file")
    try:
        with atomic_directory(folder) as partial, tarfile.open(archive) as packed:
            packed.extractall(partial, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive}: damaged ({error}); fetch it again") from error
    return folder / "BCCD"
