"""Measuring a command as a whole process: seconds, and the peak memory of its largest process."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FALCONER = str(Path(sys.executable).with_name("falconer"))


@dataclass(frozen=True)
class Measured:
    """What one command took, and what it printed."""

    seconds: float
    peak_mb: float
    output: str

    @property
    def last_line(self) -> str:
        """The command's last line: the path that it wrote."""
        return self.output.strip().splitlines()[-1]


def measure(*arguments: str, folder: Path) -> Measured:
    """Run `falconer arguments`, its output kept in `folder`; raises `AssertionError` with it where
    that fails.

    The peak is that of the command's own process and of every child that it waited for, whichever
    is largest.
    """
    log = folder / "command.log"
    started = time.perf_counter()
    with log.open("wb") as stream:
        child = os.posix_spawn(
            FALCONER,
            [FALCONER, *arguments],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stream.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, stream.fileno(), 2),
            ],
        )
        _, status, usage = os.wait4(child, 0)
    output = log.read_text(encoding="utf-8", errors="replace")
    assert os.waitstatus_to_exitcode(status) == 0, output
    return Measured(time.perf_counter() - started, usage.ru_maxrss / 1024, output)
