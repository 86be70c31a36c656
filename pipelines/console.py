"""What a person or a log sees: plain lines, and for long work a bar on a terminal or a line now and
then."""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

from falconer.pipelines.training.shard import current_shard

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0
SECONDS_TO_FIRST_LINE = 3.0
"""Until a person learns how long it will take."""

_COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Names come from data that nobody vetted, and a terminal obeys what it is shown."""


def printable(text: str) -> str:
    """`text` with every character that could command a terminal, or turn a line around, written
    out as \\x1b or \\u202e; line breaks and tabs stay."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """Print one plain line to standard output at once; of several processes that train together the
    first does."""
    if current_shard().leads:
        print(printable(text), flush=True)


def warn(text: str) -> None:
    """Print one plain line to standard error at once."""
    print(printable(text), file=sys.stderr, flush=True)


class LastingStream(io.TextIOBase):
    """A text stream that goes on in silence where nobody reads it any more.

    `falconer train ... | head -1` closes the output after a line; the hours of work that follow
    must not end by it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As of the stream; the text is lost where it is closed."""
        with self._closing_survived():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As of the stream."""
        with self._closing_survived():
            self._stream.flush()

    @contextmanager
    def _closing_survived(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # What the stream still holds is written at the process's end: let that succeed.
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def fileno(self) -> int:
        """As of the stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """As of the stream."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Yes."""
        return True


def outlive_readers() -> None:
    """Let this process go on where the reader of its output ends before it does."""
    sys.stdout, sys.stderr = LastingStream(sys.stdout), LastingStream(sys.stderr)


def say_written(path: Path) -> None:
    """Print the last line of a command: the path that it wrote."""
    say(str(path))


def progress(steps: Iterable[T], *, label: str, total: int, shorter: str = "") -> Iterator[T]:
    """Pass `steps` through, showing `total` and the rest: a bar on a terminal, else a line after
    three seconds and every ten. `shorter` says what takes less time, once, where it takes long."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(
            steps, description=label, total=total, console=Console(stderr=True), transient=True
        )
        return
    started = last = time.monotonic()
    wait, advice = SECONDS_TO_FIRST_LINE, f" ({shorter})" if shorter else ""
    for done, step in enumerate(steps, start=1):
        yield step
        now = time.monotonic()
        if now - last >= wait and done < total:
            left = (now - started) / done * (total - done)
            warn(f"{label}: {done}/{total}, about {left:.0f} s left{advice}")
            last, wait, advice = now, SECONDS_BETWEEN_LINES, ""


def ticks(label: str, *, total: int, shorter: str = "") -> Callable[..., None]:
    """As `progress`, for a package's own loop: what it calls after each of its `total` steps."""
    shown = progress(range(total), label=label, total=total, shorter=shorter)
    next(shown, None)

    def tick(*_: object) -> None:
        next(shown, None)

    return tick
