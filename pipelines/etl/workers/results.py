"""What tasks find out, as files: JSON, and an Arrow file for each frame.

A value is None, a truth value, a number, a text, a list, a tuple, a mapping, a Polars frame,
series or type, a numpy array, or a dataclass of these that the reader names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from falconer.pipelines.etl.buckets.frames import read_frame, write_frame

RESULT = "result.json"


def write_result(folder: Path, value: Any) -> None:
    """Write a value below `folder`; `TypeError` where it is of no kind that is listed above."""
    frames: list[pl.DataFrame] = []
    packed = _packed(value, frames)
    for number, frame in enumerate(frames):
        write_frame(folder / f"result-{number}.arrow", frame)
    (folder / RESULT).write_text(json.dumps(packed), encoding="utf-8")


def read_result(folder: Path, kinds: Sequence[type]) -> Any:
    """Read what `write_result` wrote; `kinds` are the dataclasses that it may hold."""
    packed = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return _Reader(folder, {kind.__name__: kind for kind in kinds}).unpacked(packed)


def _packed(value: Any, frames: list[pl.DataFrame]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, pl.DataFrame):
        return _framed("frame", value, frames)
    if isinstance(value, pl.Series):
        return _framed("series", value.to_frame(), frames)
    if isinstance(value, np.ndarray):
        return _framed("array", pl.DataFrame({"": value}), frames)
    if isinstance(value, pl.DataType):
        return _framed("type", pl.DataFrame(schema={"": value}), frames)
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_packed(one, frames) for one in value]}
    if isinstance(value, Mapping):
        return {"pairs": [[_packed(k, frames), _packed(v, frames)] for k, v in value.items()]}
    if is_dataclass(value):
        values = [_packed(getattr(value, field.name), frames) for field in fields(value)]
        return {"kind": type(value).__name__, "values": values}
    raise TypeError(f"a task's result cannot hold {type(value).__name__}")


def _framed(name: str, frame: pl.DataFrame, frames: list[pl.DataFrame]) -> dict[str, int]:
    frames.append(frame)
    return {name: len(frames) - 1}


class _Reader:
    def __init__(self, folder: Path, kinds: Mapping[str, type]) -> None:
        self._folder, self._kinds = folder, kinds

    def unpacked(self, packed: Any) -> Any:
        """The value."""
        if not isinstance(packed, dict):
            return packed
        if "kind" in packed:
            return self._kinds[packed["kind"]](*map(self.unpacked, packed["values"]))
        [(name, held)] = packed.items()
        if name in ("list", "tuple"):
            found = [self.unpacked(one) for one in held]
            return found if name == "list" else tuple(found)
        if name == "pairs":
            return {self.unpacked(key): self.unpacked(value) for key, value in held}
        return self._of_frame(name, read_frame(self._folder / f"result-{held}.arrow"))

    def _of_frame(self, name: str, frame: pl.DataFrame) -> Any:
        if name == "frame":
            return frame
        column = frame.to_series()
        if name == "series":
            return column
        return column.dtype if name == "type" else column.to_numpy()
