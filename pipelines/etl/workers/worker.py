"""A worker process: `python -m falconer.pipelines.etl.workers.worker SOCKET PARENT`, started by
`processes`, which alone holds the other end of its socket."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from falconer.pipelines.allocator import one_arena
from falconer.pipelines.errors import PipelineError
from falconer.pipelines.etl.workers.tasks import Task, attempt
from falconer.pipelines.exhaustion import named

DIES_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl; elsewhere a worker ends when its task does."""


def main(descriptor: int, parent: int) -> None:
    """Run tasks as they come, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return
    one_arena()
    with Connection(descriptor) as connection, suppress(EOFError, ConnectionError):
        sys.path[:] = connection.recv()
        job: Any = None
        while True:
            message = connection.recv()
            if isinstance(message, int):
                connection.send(_outcome(job, message))
            else:
                job = message


def _outcome(job: tuple[Task, Any, Path], number: int) -> Exception | None:
    task, context, folder = job
    try:
        attempt(task, context, number, folder)
    except Exception as error:
        known = named(error) or error
        if isinstance(known, PipelineError):
            return known
        return RuntimeError("".join(traceback.format_exception(error)))
    return None


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
