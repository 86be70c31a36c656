"""What a person or a log sees: plain lines, and for long work a bar on a terminal or a line now and
then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from falconer.pipelines.training.shard import current_shard

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def say(text: str) -> None:
    """Print one plain line to standard output at once; of several processes that train together the
    first does."""
    if current_shard().leads:
        print(text, flush=True)


def say_written(path: Path) -> None:
    """Print the last line of a command: the path that it wrote."""
    say(str(path))


def progress(steps: Iterable[T], *, label: str, total: int) -> Iterator[T]:
    """Pass `steps` through, showing `total` and the rest: a bar on a terminal, else a line every
    ten seconds."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(
            steps, description=label, total=total, console=Console(stderr=True), transient=True
        )
        return
    started = last = time.monotonic()
    for done, step in enumerate(steps, start=1):
        yield step
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = (now - started) / done * (total - done)
            print(f"{label}: {done}/{total}, about {left:.0f} s left", file=sys.stderr, flush=True)
