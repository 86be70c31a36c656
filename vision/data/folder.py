"""A folder of pictures: one folder for each class, maybe below `train`, `valid` and `test`.

    photos/cat/1.jpg  photos/dog/2.jpg            or  photos/train/cat/1.jpg  photos/test/cat/7.jpg

Pictures may lie at any depth below their class. Hidden files, and files whose ending is of no
picture, are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from falconer.pipelines.errors import DataError
from falconer.vision.data.decode import ENDINGS
from falconer.vision.data.source import Fold, Picture, Rejected, Source, refuse_bad_classes

FOLD_NAMES: Mapping[str, Fold] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}


def read_folder(root: Path) -> Source:
    """The folder as a source; its folds are those of its folders' names, if all of them name one.

    Raises `DataError` for an absent folder, a class without pictures, fewer than two classes, and
    names of classes that differ by case only.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of pictures")
    below = _folders(root)
    folds = {folder: FOLD_NAMES.get(folder.name.lower()) for folder in below}
    if below and all(folds.values()):
        parts = [(fold, part) for folder, fold in folds.items() for part in _folders(folder)]
    else:
        parts = [(None, folder) for folder in below]
    classes = tuple(sorted({folder.name for _, folder in parts}))
    refuse_bad_classes(classes, "classes", str(root))
    numbers = {name: number for number, name in enumerate(classes)}
    pictures: list[Picture] = []
    rejected: list[Rejected] = []
    for fold, folder in parts:
        for path in picture_files(folder):
            name = path.relative_to(root).as_posix()
            if escapes(path, root):
                rejected.append(Rejected(name, "a link to outside of the folder"))
                continue
            labels = (numbers[folder.name],)
            pictures.append(Picture(name, labels, path=path, fold=fold))
    _refuse_empty(root, classes, pictures)
    return Source(root.resolve().name, "classes", classes, pictures, tuple(rejected))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def picture_files(folder: Path) -> Iterator[Path]:
    """The files below `folder` with an ending of a picture, in the order of their names."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in ENDINGS and not hidden and path.is_file():
            yield path


def named_files(places: Sequence[Path]) -> list[Path]:
    """Files as they are, and the pictures below each folder; `DataError` for what is not there, and
    where there are none."""
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise DataError(f"{place}: no such file or folder")
        found += picture_files(place) if place.is_dir() else [place]
    if not found:
        raise DataError(f"{', '.join(map(str, places))}: there are no pictures")
    return found


def escapes(path: Path, root: Path) -> bool:
    """Whether the file is really outside of the folder."""
    return not path.resolve().is_relative_to(root.resolve())


def _refuse_empty(root: Path, classes: tuple[str, ...], pictures: list[Picture]) -> None:
    there = {one.labels[0] for one in pictures}
    empty = [name for number, name in enumerate(classes) if number not in there]
    if empty:
        raise DataError(
            f"{root}: no pictures ({', '.join(ENDINGS)}) below {', '.join(empty)}; remove the "
            "empty folder, or fill it"
        )
