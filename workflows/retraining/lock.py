"""One process at a time retrains a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from falconer.pipelines.errors import PipelineError
from falconer.pipelines.exclusive import exclusive
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import Places


class BusyError(PipelineError):
    """Another process retrains this pipeline at this moment."""


@contextmanager
def locked(pipeline: Pipeline) -> Iterator[None]:
    """Hold the pipeline as long as the block lasts; `BusyError` where another process has it."""
    busy = BusyError(
        f"{pipeline.name}: another process retrains this pipeline; `falconer status` says how far "
        "it is"
    )
    with exclusive(Places.of(pipeline).registry, busy):
        yield
