"""A CSV file of pictures, in place of a folder for each class.

    path,label             one class a picture
    path,tags              any number of tags, with | between them
    path,tags,group,fold   pictures of one group stay in one fold; fold is train, valid or test

Paths are relative to the file's folder. A path may be a folder: its pictures, in the order of their
names, are the frames of one clip, which is their group.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from falconer.pipelines.errors import DataError
from falconer.vision.data.folder import FOLD_NAMES, escapes, picture_files
from falconer.vision.data.source import (
    Fold,
    Picture,
    Rejected,
    Source,
    Task,
    refuse_bad_classes,
)

MOST_FIELD = 2**16


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    words: tuple[str, ...]
    group: str | None
    fold: Fold | None


def read_table(path: Path) -> Source:
    """The file as a source. Rows that cannot be used are set aside with their line and reason.

    Raises `DataError` for a file without the columns `path` and one of `label` and `tags`.
    """
    task, rows, rejected = _rows(path)
    classes = tuple(sorted({word for row in rows for word in row.words}))
    refuse_bad_classes(classes, task, str(path))
    numbers = {name: number for number, name in enumerate(classes)}
    pictures: list[Picture] = []
    for row in rows:
        try:
            found = list(_files(path.parent, row.path))
        except ValueError as error:
            rejected.append(Rejected(f"{path.name}, line {row.line}: {row.path}", str(error)))
            continue
        clip = row.group or (row.path if len(found) > 1 else None)
        labels = tuple(sorted(numbers[word] for word in row.words))
        for file in found:
            name = file.relative_to(path.parent).as_posix()
            pictures.append(Picture(name, labels, path=file, group=clip, fold=row.fold))
    return Source(path.stem, task, classes, pictures, tuple(rejected))


def _rows(path: Path) -> tuple[Task, list[_Row], list[Rejected]]:
    rows: list[_Row] = []
    rejected: list[Rejected] = []
    csv.field_size_limit(MOST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            task = _task(path, reader.fieldnames or ())
            for values in reader:
                try:
                    rows.append(_row(reader.line_num, values, task))
                except ValueError as error:
                    place = f"{path.name}, line {reader.line_num}"
                    rejected.append(Rejected(place, str(error)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from error
    return task, rows, rejected


def _task(path: Path, columns: object) -> Task:
    names = list(columns) if isinstance(columns, list | tuple) else []
    if "path" not in names or ("label" in names) == ("tags" in names):
        raise DataError(
            f"{path}: needs the column path and one of label and tags; it has "
            f"{', '.join(map(str, names)) or 'none'}"
        )
    return "tags" if "tags" in names else "classes"


def _row(line: int, values: Mapping[str, str | None], task: Task) -> _Row:
    place = (values.get("path") or "").strip()
    if not place:
        raise ValueError("no path")
    if task == "tags":
        words = {word.strip() for word in (values.get("tags") or "").split("|")} - {""}
    else:
        words = {(values.get("label") or "").strip()}
        if words == {""}:
            raise ValueError(f"{place}: no label")
    fold = (values.get("fold") or "").strip().lower()
    if fold and fold not in FOLD_NAMES:
        raise ValueError(f"{place}: fold is {fold!r}, and train, valid or test is wanted")
    group = (values.get("group") or "").strip() or None
    return _Row(line, place, tuple(sorted(words)), group, FOLD_NAMES[fold] if fold else None)


def _files(root: Path, place: str) -> Iterator[Path]:
    """The row's picture, or the frames of its clip."""
    path = root / place
    if escapes(path, root):
        raise ValueError("outside of the table's folder")
    if path.is_dir():
        frames = list(picture_files(path))
        if not frames:
            raise ValueError("a folder without pictures")
        yield from frames
    elif path.is_file():
        yield path
    else:
        raise ValueError("no such file")
