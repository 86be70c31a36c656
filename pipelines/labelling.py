"""Where names go in a chart: beside what they name, and not on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 11.0
"""Of a line of small text."""
GAP = 9.0
"""Between the middle of a marker and its name."""
MARKER = 5.0
"""Half the width of a marker, about."""
Place = tuple[float, float]


@dataclass(frozen=True)
class Name:
    """Where a name stands: the place that its text is anchored to, and how."""

    x: float
    y: float
    anchor: str
    """start, end or middle, as SVG has it."""


@dataclass(frozen=True)
class Box:
    """What a name or a marker covers."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


def beside(points: Sequence[Place], widths: Sequence[float], inside: Box) -> list[Name]:
    """A place for the name of each marker: the first of those around it that lies within `inside`
    and covers no marker and no other name, else the one that covers least."""
    markers = [Box(x - MARKER, y - MARKER, x + MARKER, y + MARKER) for x, y in points]
    taken: list[Box] = []
    names = []
    for place, (point, width) in enumerate(zip(points, widths, strict=True)):
        others = [*markers[:place], *markers[place + 1 :], *taken]
        name = _cheapest(_around(*point), width, others, inside)
        taken.append(_box(name, width))
        names.append(name)
    return names


def _cheapest(found: Sequence[Name], width: float, others: Sequence[Box], inside: Box) -> Name:
    return min(found, key=lambda name: _cost(_box(name, width), others, inside))


def _around(x: float, y: float) -> list[Name]:
    """The nearest first; those at a side before those above and below."""
    found = [Name(x + GAP, y + 4, "start"), Name(x - GAP, y + 4, "end")]
    for step in (1, 2, 3):
        up, down = y - 5 - step * (HEIGHT - 3), y + 6 + step * HEIGHT
        found += [Name(x, up, "middle"), Name(x, down, "middle")]
        found += [Name(x + MARKER, one, "start") for one in (up, down)]
        found += [Name(x - MARKER, one, "end") for one in (up, down)]
    return found


def _box(name: Name, width: float) -> Box:
    left = name.x - {"start": 0.0, "middle": width / 2, "end": width}[name.anchor]
    return Box(left, name.y - HEIGHT + 2, left + width, name.y + 2)


def _cost(box: Box, others: Sequence[Box], inside: Box) -> float:
    """The area that is covered or outside."""
    whole = (box.right - box.left) * (box.bottom - box.top)
    return whole - box.overlap(inside) + sum(box.overlap(other) for other in others)
