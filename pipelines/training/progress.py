"""How far a training is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from falconer.pipelines.console import SECONDS_BETWEEN_LINES, SECONDS_TO_FIRST_LINE, warn


class Meter:
    """Counts steps and samples, and shows them with samples per second and the time that is
    left."""

    def __init__(self, label: str, *, done: int, total: int, shown: bool) -> None:
        self._label, self._done, self._total, self._shown = label, done, total, shown
        self._first, self._samples = done, 0
        self._wait = SECONDS_TO_FIRST_LINE
        self._stack = ExitStack()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Meter:
        self._started = self._last = time.monotonic()
        if self._shown and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            columns = (
                *progress.Progress.get_default_columns(),
                progress.TextColumn("{task.fields[rate]} samples/s"),
            )
            self._bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(
                self._label, total=self._total, completed=self._done, rate="-"
            )
            self._stack.enter_context(self._bar)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()

    def advance(self, samples: int) -> None:
        """One more step, of so many samples."""
        self._done += 1
        self._samples += samples
        now = time.monotonic()
        if now - self._last >= (0.1 if self._bar else self._wait):
            self._last, self._wait = now, SECONDS_BETWEEN_LINES
            self._show(now - self._started)

    def _show(self, elapsed: float) -> None:
        rate = f"{self._samples / elapsed:,.0f}"
        if self._bar:
            self._bar.update(self._task, completed=self._done, rate=rate)
        elif self._shown:
            left = elapsed / (self._done - self._first) * (self._total - self._done)
            line = (
                f"{self._label}: step {self._done}/{self._total}, {rate} samples/s, about "
                f"{left:.0f} s left"
            )
            warn(line)
