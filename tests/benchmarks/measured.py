"""Measuring a command as a whole process: seconds, those of its CPUs, and the peak memory of its
largest process."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

FALCONER = str(Path(sys.executable).with_name("falconer"))


@dataclass(frozen=True)
class Measured:
    """What one command took, and what it printed."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str

    @property
    def last_line(self) -> str:
        """The command's last line: the path that it wrote."""
        return self.output.strip().splitlines()[-1]


PARENT = """
import json, os, resource, sys, time
started = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - started
cpu = usage.ru_utime + usage.ru_stime
figures = {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": usage.ru_maxrss / 1024,
"code": os.waitstatus_to_exitcode(status)}
os.write(3, json.dumps(figures).encode())
"""
"""Linux lets a new process begin with the high-water mark of the one that spawned it: so a process
of some megabytes spawns the command, and not this one, which has numpy and torch in memory."""


def measure(*arguments: str, folder: Path) -> Measured:
    """Run `falconer arguments`, its output kept in `folder`; raises `AssertionError` with it where
    that fails.

    The peak is that of the command's own process and of every child that it waited for, whichever
    is largest.
    """
    return measure_command(FALCONER, *arguments, folder=folder)


def measure_command(*command: str, folder: Path) -> Measured:
    """As `measure`, of any program given by its path."""
    log, figures = folder / "command.log", folder / "figures.json"
    parent = [sys.executable, "-I", "-S", "-c", PARENT, *command]
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    child = os.posix_spawn(
        sys.executable,
        parent,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, str(log), create, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_OPEN, 3, str(figures), create, 0o644),
        ],
    )
    os.waitpid(child, 0)
    output = log.read_text(encoding="utf-8", errors="replace")
    found = json.loads(figures.read_text() or '{"code": -1}')
    assert found["code"] == 0, output
    return Measured(found["seconds"], found["cpu_seconds"], found["peak_mb"], output)
