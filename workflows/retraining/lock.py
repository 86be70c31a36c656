"""One process at a time retrains a pipeline: a lock of the operating system, gone with its
process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from falconer.pipelines.errors import PipelineError
from falconer.pipelines.files import make_directory
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import Places

LOCK = "lock"


class BusyError(PipelineError):
    """Another process retrains this pipeline at this moment."""


@contextmanager
def locked(pipeline: Pipeline) -> Iterator[None]:
    """Hold the pipeline as long as the block lasts; `BusyError` where another process has it."""
    folder = Places.of(pipeline).registry
    if not folder.is_dir():
        make_directory(folder)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"{pipeline.name}: another process retrains this pipeline; `falconer status` says "
                "how far it is"
            ) from error
        yield
    finally:
        os.close(descriptor)
