"""What a source of pictures gives: named pictures with labels, and where their bytes are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.errors import DataError
from falconer.vision.data.decode import Pixels

Fold = Literal["train", "valid", "test"]
FOLDS: tuple[Fold, ...] = ("train", "valid", "test")
Task = Literal["classes", "tags"]


@dataclass(frozen=True)
class Rejected:
    """A picture that was set aside, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Picture:
    """One picture: its bytes are a file, or its pixels are already there.

    `labels` are numbers of classes: exactly one of a classification, any number of tags. Pictures
    of one `group` (a patient, a film) stay in one fold; `fold` is None where the source does not
    say.
    """

    name: str
    labels: tuple[int, ...]
    path: Path | None = None
    pixels: Pixels | None = None
    group: str | None = None
    fold: Fold | None = None

    def sha256(self) -> str:
        """Of the file's bytes, or of the pixels; raises `OSError`."""
        if self.path is not None:
            with self.path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        assert self.pixels is not None
        return hashlib.sha256(np.ascontiguousarray(self.pixels).tobytes()).hexdigest()


@dataclass(frozen=True)
class Source:
    """All pictures of one origin, with the names of the classes (or tags), as written there."""

    name: str
    task: Task
    classes: tuple[str, ...]
    pictures: Sequence[Picture]
    rejected: tuple[Rejected, ...] = field(default=())


def refuse_bad_classes(classes: Sequence[str], task: Task, place: str) -> None:
    """`DataError` for names that differ by case only, and where there is nothing to tell apart."""
    lower: dict[str, str] = {}
    for name in classes:
        other = lower.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(
                f"{place}: the classes {other!r} and {name!r} differ by case only; name them "
                "alike, or apart"
            )
    least = 2 if task == "classes" else 1
    if len(classes) < least:
        raise DataError(
            f"{place}: {len(classes)} {'class' if len(classes) == 1 else 'classes'}"
            f"{' (' + classes[0] + ')' if classes else ''}, and a classifier needs two or more to "
            "tell apart: one folder for each class, with its pictures inside"
        )


def labels_array(pictures: Sequence[Picture]) -> NDArray[np.int64]:
    """int64[n]: the only label of each picture."""
    return np.array([one.labels[0] for one in pictures], np.int64)
