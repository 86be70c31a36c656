"""Worker processes of this machine: each runs one task at a time, and a task whose worker was
killed is tried again by another."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from falconer.pipelines.console import say
from falconer.pipelines.errors import WorkerLostError
from falconer.pipelines.etl.workers.tasks import ADVICE, Task

ATTEMPTS = 3
"""Workers that a task may lose."""
OOM_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
BY_MEMORY = (signal.SIGKILL, signal.SIGABRT)
"""By which a process ends where memory cannot be had: the system kills it, or it ends itself."""


class Processes:
    """`n` worker processes, each with its share of the threads; a context manager."""

    def __init__(self, n: int) -> None:
        self._environment = _environment(n)
        self.n = self.n_on_a_machine = n
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.end()

    def run(self, task: Task, context: Any, numbers: Sequence[int], folder: Path) -> None:
        """As in `Workers`."""
        while len(self._workers) < min(self.n, len(numbers)):
            self._workers.append(_Worker(self._environment))
        for worker in self._workers:
            worker.prepare((task, context, folder))
        failed = self._run_all(deque(numbers), folder)
        if failed:
            raise failed[min(failed)]

    def _run_all(self, left: deque[int], folder: Path) -> dict[int, Exception]:
        """Run all, or none more after the first that fails; the errors by number."""
        failed: dict[int, Exception] = {}
        lost = Counter[int]()
        while True:
            for worker in self._workers:
                if worker.number is None and left and not failed:
                    worker.begin(left.popleft())
            busy = {w.connection: w for w in self._workers if w.number is not None}
            if not busy:
                return failed
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                number, error = busy[connection].outcome()
                if isinstance(error, _LostError):
                    lost[number] += 1
                    error = _refusal(folder.name, number, lost[number], error)
                    self._replace(busy[connection])
                    if error is None:
                        left.appendleft(number)
                if error is not None:
                    failed[number] = error

    def _replace(self, worker: _Worker) -> None:
        worker.end()
        another = _Worker(self._environment)
        another.prepare(worker.job)
        self._workers[self._workers.index(worker)] = another


def _refusal(stage: str, number: int, times: int, lost: _LostError) -> WorkerLostError | None:
    """The error where a task has lost too many workers; else say that it is tried again."""
    what = f"stage {stage}, part {number}"
    if times < ATTEMPTS:
        say(f"{what}: a worker {lost}; the part is tried again")
        return None
    return WorkerLostError(f"{what}: {times} workers were lost, the last one {lost}; {ADVICE}")


class _LostError(Exception):
    """How a worker ended."""


class _Worker:
    """One process, which ends when this one does; `number` is what it is busy with."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "falconer.pipelines.etl.workers.worker"),
                    *(str(theirs.fileno()), str(os.getpid())),
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self.connection = Connection(ours.detach())
        self.number: int | None = None
        self.job: Any = None
        self._oom_kills = 0
        self._send(sys.path)

    def prepare(self, job: Any) -> None:
        """Tell the task, its context and the folder for its files."""
        self.job = job
        self._send(job)

    def begin(self, number: int) -> None:
        """Run the task on a number."""
        self.number, self._oom_kills = number, oom_kills()
        self._send(number)

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # one that has ended does not answer either: see `outcome`
            self.connection.send(message)

    def outcome(self) -> tuple[int, Exception | None]:
        """The number, and the error of its task: `_LostError` where the process ended."""
        number, self.number = self.number, None
        assert number is not None
        try:
            error: Exception | None = self.connection.recv()
        except (EOFError, OSError):
            error = _LostError(self._how_it_ended())
        return number, error

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        if oom_kills() > self._oom_kills:
            return "was killed by the system because memory ran out"
        if code < 0 and -code in BY_MEMORY:
            name = signal.Signals(-code).name
            return f"was ended by {name}, as happens where memory runs out"
        return f"ended with exit code {code}"

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.kill()
        self._process.wait()


def oom_kills() -> int:
    """Processes of this container that the system has killed for want of memory so far, as far as
    it says so."""
    for name in OOM_FILES:
        with suppress(OSError, ValueError, KeyError):
            lines = Path(name).read_text(encoding="ascii").splitlines()
            return int(dict(line.split() for line in lines)["oom_kill"])
    return 0


def _environment(n: int) -> dict[str, str]:
    threads = str(max(1, (os.cpu_count() or 1) // n))
    return {**dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS"), threads), **os.environ}
