"""What a part of the check says, and the one line in which its process says it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MARK = "falconer-figure "
"""Begins a line that holds a figure; everything else that a part prints is for readers."""


class AbsentError(Exception):
    """The part has nothing to run here: a package is not installed, or the code is not built
    yet."""


@dataclass(frozen=True)
class Place:
    """Where a part runs: its size, torch's device, and a folder that all parts share."""

    small: bool
    device: str
    folder: Path


@dataclass(frozen=True)
class Figure:
    """One measured value. With a `limit` it is a check: the value must not be above it."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    beside: str = ""
    """What it may be compared with, in words."""

    @property
    def holds(self) -> bool:
        """Whether the value is finite and keeps to its limit."""
        return math.isfinite(self.value) and (self.limit is None or self.value <= self.limit)

    def row(self) -> dict[str, Any]:
        """The figure in a file; a value that is not finite is null there."""
        value = self.value if math.isfinite(self.value) else None
        return {**asdict(self), "value": value, "holds": self.holds}

    def line(self) -> str:
        """The figure as a line of a part's output."""
        return MARK + json.dumps(asdict(self))


Figures = Iterator[Figure]


def figure_of(line: str) -> Figure | None:
    """The figure in a line of output, None where it holds none."""
    return Figure(**json.loads(line.removeprefix(MARK))) if line.startswith(MARK) else None
