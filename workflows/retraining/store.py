"""The durable state of the workflows: DBOS, on an SQLite file or in PostgreSQL.

An operating system's lock is taken before DBOS starts: a second process on one database would run a
live step a second time. The version is pinned, since DBOS leaves the workflows of another one
pending for ever. Values are stored as JSON: the default is pickle.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer

from falconer.pipelines.errors import PipelineError
from falconer.pipelines.files import make_directory
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import Places

VERSION = "1"
"""Raised when a change of the steps makes older, unfinished workflows senseless."""
UNFINISHED = ("PENDING", "ENQUEUED")
"""DBOS puts what it recovers into a queue first: who asks for the pending ones only, misses it."""
DATABASE, LOCK = "workflows.sqlite", "lock"


class BusyError(PipelineError):
    """Another process retrains this pipeline at this moment."""


@dataclass(frozen=True)
class Known:
    """A workflow as the database has it."""

    id: str
    status: str
    version: str | None

    @property
    def is_orphan(self) -> bool:
        """Unfinished, and of another version: nothing will ever go on with it."""
        return self.status in UNFINISHED and self.version != VERSION


def url(pipeline: Pipeline) -> str:
    """The database's address."""
    if pipeline.database:
        return pipeline.database
    return f"sqlite:///{(Places.of(pipeline).registry / DATABASE).resolve()}"


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


@contextmanager
def launched(pipeline: Pipeline) -> Iterator[None]:
    """DBOS, running; what a killed process left goes on at once. Call it with the lock held."""
    _silence()
    config: DBOSConfig = {
        "name": pipeline.name if len(pipeline.name) > 2 else f"{pipeline.name}--",
        "system_database_url": url(pipeline),
        "application_version": VERSION,
        "executor_id": "local",
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "CRITICAL",
        "scheduler_polling_interval_sec": 3600,
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()


def workflows(pipeline: Pipeline, *, prefix: str | None = None) -> list[Known]:
    """All workflows in the database, oldest first, without starting anything; none where there is
    no database yet."""
    if not pipeline.database and not (Places.of(pipeline).registry / DATABASE).exists():
        return []
    _silence()
    client = DBOSClient(system_database_url=url(pipeline), serializer=DBOSPortableJSONSerializer())
    try:
        found = client.list_workflows(
            workflow_id_prefix=prefix, load_input=False, load_output=False
        )
    finally:
        client.destroy()
    return [Known(one.workflow_id, one.status, one.app_version) for one in found]


def _silence() -> None:
    """DBOS advertises a service and warns of SQLite at each start; our guide says what is true of
    it."""
    logging.getLogger("dbos").setLevel(logging.CRITICAL)
