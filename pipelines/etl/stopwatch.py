"""Where the time of a stage goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by step, in the order of their first start."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Add the block's time to `step`."""
        started = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

    def table(self) -> str:
        """One line a step, and their sum."""
        total = sum(self.seconds.values())
        lines = [
            f"  {step:<16}{spent:8.2f} s {spent / total:7.1%}"
            for step, spent in self.seconds.items()
        ]
        return "\n".join(["where the time went", *lines, f"  {'all':<16}{total:8.2f} s"])
