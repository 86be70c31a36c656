"""Pictures with boxes, whatever file they were written in.

Boxes are corners (x0, y0, x1, y1) in pixels of the picture as it is shown, with continuous edges:
a box over the first pixel alone is (0, 0, 1, 1). Class names are taken as written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.errors import DataError

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Rejected:
    """Something that was set aside: where it stands, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Picture:
    """One picture and the n boxes on it.

    boxes      float64[n, 4]   corners, within the picture, each with an area
    labels     int64[n]        number of the class, 0, 1, ...
    areas      float64[n]      what size counts as; the box's area where the file says no other
    crowd      bool[n]         a group that counts neither for nor against (COCO's iscrowd)
    difficult  bool[n]         VOC's mark; kept, and not used
    """

    path: Path
    width: int
    height: int
    boxes: Float64
    labels: NDArray[np.int64]
    areas: Float64
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Annotated:
    """Pictures with boxes of named classes, and what could not be used."""

    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    rejected: tuple[Rejected, ...] = ()

    @property
    def n_boxes(self) -> int:
        """How many boxes there are."""
        return sum(map(len, self.pictures))

    def reasons(self) -> dict[str, int]:
        """Reason -> how often something was set aside for it."""
        return dict(Counter(one.reason for one in self.rejected))


@dataclass
class PictureBuilder:
    """Gathers the boxes of one picture, and sets aside those that cannot be used."""

    path: Path
    width: int
    height: int
    place: str
    """Of the picture's annotation, for messages."""
    rejected: list[Rejected] = field(default_factory=list)
    _rows: list[tuple[tuple[float, float, float, float], str, float | None, bool, bool]] = field(
        default_factory=list
    )

    def add(
        self,
        box: tuple[float, float, float, float],
        name: str,
        *,
        area: float | None = None,
        crowd: bool = False,
        difficult: bool = False,
    ) -> None:
        """One box with the name of its class; what lies outside the picture is cut off."""
        number = len(self._rows) + len(self.rejected)
        reason = _fault(box, self.width, self.height)
        if reason is not None:
            shown = ", ".join(f"{value:g}" for value in box)
            self.rejected.append(Rejected(f"{self.place}: box {number} ({name}: {shown})", reason))
            return
        cut = (
            max(box[0], 0.0),
            max(box[1], 0.0),
            min(box[2], float(self.width)),
            min(box[3], float(self.height)),
        )
        self._rows.append((cut, name, area, crowd, difficult))

    @property
    def names(self) -> list[str]:
        """The class of each box."""
        return [name for _, name, *_ in self._rows]

    def picture(self, numbers: dict[str, int]) -> Picture:
        """The picture, with the classes' numbers."""
        boxes = np.array([row[0] for row in self._rows], np.float64).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        own, given = sides.prod(axis=1), np.array([row[2] for row in self._rows], np.float64)
        return Picture(
            self.path,
            self.width,
            self.height,
            boxes,
            np.array([numbers[name] for name in self.names], np.int64),
            np.where(np.isfinite(given) & (given >= 0), given, own),
            np.array([row[3] for row in self._rows], np.bool_),
            np.array([row[4] for row in self._rows], np.bool_),
        )


def _fault(box: tuple[float, float, float, float], width: int, height: int) -> str | None:
    """Why a box cannot be used, if it cannot."""
    if not np.isfinite(box).all():
        return "a coordinate is no number"
    x0, y0, x1, y1 = box
    if x1 < x0 or y1 < y0:
        return "corners swapped"
    if x1 == x0 or y1 == y0:
        return "no area"
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        return "outside the picture"
    return None


def annotated(
    builders: Iterable[PictureBuilder],
    rejected: Iterable[Rejected],
    classes: Sequence[str] | None,
    *,
    origin: str,
) -> Annotated:
    """Pictures with numbered classes: `classes` in the given order, else all that occur, sorted.

    A box of a class that is not among given `classes` is set aside. Raises `DataError` where no
    picture is left, where classes differ in case only, which is most often a mistake, or where one
    has no name that can be printed.
    """
    builders = list(builders)
    found = {name for builder in builders for name in builder.names}
    known = tuple(classes) if classes is not None else tuple(sorted(found))
    _refuse_bad_names(known, origin)
    if not builders:
        raise DataError(f"{origin}: no picture can be used; see what was set aside, and why")
    strangers = [
        Rejected(f"{builder.place} ({name})", "class not among the given ones")
        for builder in builders
        for name in builder.names
        if name not in known
    ]
    for builder in builders:
        builder._rows = [row for row in builder._rows if row[1] in known]
    numbers = {name: number for number, name in enumerate(known)}
    aside = [*rejected, *(one for builder in builders for one in builder.rejected), *strangers]
    return Annotated(known, tuple(builder.picture(numbers) for builder in builders), tuple(aside))


def _refuse_bad_names(classes: Sequence[str], origin: str) -> None:
    alike: dict[str, str] = {}
    for name in classes:
        if not name.strip() or not name.isprintable():
            raise DataError(f"{origin}: a class is named {name!r}, which cannot be printed")
        if name in alike.values():
            raise DataError(f"{origin}: two classes are named {name!r}")
        other = alike.setdefault(name.casefold().strip(), name)
        if other != name:
            raise DataError(
                f"{origin}: classes {other!r} and {name!r} differ in case or blanks only; "
                "write them alike, or give the list of classes"
            )


def within(root: Path, name: str) -> Path | None:
    """`root`/`name`, or None where the name leads out of `root` (absolute, `..`, a link), or can be
    no file's."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or PureWindowsPath(name).is_absolute() or ".." in pure.parts:
        return None
    path = root / pure
    try:
        resolved, top = path.resolve(), root.resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, links in a circle
        return None
    return path if resolved == top or top in resolved.parents else None


def lines_of(path: Path) -> list[str]:
    """The lines of a text file; `DataError` where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no UTF-8 (byte {error.start}); save it as UTF-8") from error
