"""YOLO: images/ and labels/ beside each other, a text file a picture, one box a line.

A line is `class cx cy width height`, as shares of the picture's sides; `classes.txt` names the
classes, one a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from falconer.pipelines.errors import DataError
from falconer.pipelines.files import write_text
from falconer.vision.data.decode import UnusableError
from falconer.vision.data.folder import picture_files
from falconer.vision.detection.annotations import (
    Annotated,
    Picture,
    PictureBuilder,
    Rejected,
    annotated,
    lines_of,
    within,
)
from falconer.vision.detection.formats.pictures import size_of

PICTURES, LABELS, NAMES = "images", "labels", "classes.txt"


def read(root: Path, split: str | None = None) -> Annotated:
    """The pictures below images/<split>; one without a text file has no boxes.

    Raises `DataError` where folders or `classes.txt` are not there, or nothing can be used.
    """
    names = root / NAMES
    folder = root / PICTURES / (split or "")
    if not names.is_file():
        raise DataError(f"{names}: not found; it names the classes, one a line, in their order")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of pictures")
    classes = _classes(names)
    builders, rejected = [], []
    for path in picture_files(folder):
        relative = path.relative_to(root / PICTURES)
        label = within(root / LABELS, relative.with_suffix(".txt").as_posix())
        try:
            if label is None or within(root / PICTURES, relative.as_posix()) is None:
                raise UnusableError("the picture or its text file leads out of the folder")
            width, height = size_of(path, declared=None)
        except UnusableError as error:
            rejected.append(Rejected(f"{PICTURES}/{relative}", str(error)))
            continue
        builder = PictureBuilder(path, width, height, f"{LABELS}/{relative.with_suffix('.txt')}")
        rejected += _add_boxes(builder, label, classes)
        builders.append(builder)
    return annotated(builders, rejected, classes, origin=str(root))


def _classes(names: Path) -> list[str]:
    """The classes, one a line; a blank line before another would move their numbers."""
    classes = "\n".join(lines_of(names)).rstrip().split("\n")
    blank = next((n for n, line in enumerate(classes, start=1) if not line.strip()), None)
    if blank is not None:
        raise DataError(f"{names}: line {blank} is blank; each line names the class of its number")
    return classes


def _add_boxes(builder: PictureBuilder, file: Path, classes: list[str]) -> Iterator[Rejected]:
    if not file.is_file():
        return
    text = file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, *shares = line.split()
            name = classes[_index(label, len(classes))]
            cx, cy, width, height = (float(share) for share in shares)
        except (ValueError, IndexError):
            reason = "not `class cx cy width height` with a known class"
            yield Rejected(f"{builder.place}: line {number}", reason)
            continue
        builder.add(
            (
                (cx - width / 2) * builder.width,
                (cy - height / 2) * builder.height,
                (cx + width / 2) * builder.width,
                (cy + height / 2) * builder.height,
            ),
            name,
        )


def _index(text: str, n: int) -> int:
    number = int(text)
    if not 0 <= number < n:
        raise IndexError(text)
    return number


def write(data: Annotated, root: Path, pictures: Path, split: str) -> None:
    """Write a text file a picture and `classes.txt` below `root`; pictures are not copied."""
    write_text(root / NAMES, "".join(f"{name}\n" for name in data.classes))
    for picture in data.pictures:
        relative = picture.path.relative_to(pictures)
        target = (root / LABELS / split / relative).with_suffix(".txt")
        write_text(target, "".join(_lines(picture)))


def _lines(picture: Picture) -> Iterator[str]:
    for box, label in zip(picture.boxes.tolist(), picture.labels.tolist(), strict=True):
        cx, cy = (box[0] + box[2]) / 2 / picture.width, (box[1] + box[3]) / 2 / picture.height
        width, height = (box[2] - box[0]) / picture.width, (box[3] - box[1]) / picture.height
        yield f"{label} {cx!r} {cy!r} {width!r} {height!r}\n"
