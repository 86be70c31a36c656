"""The durable state of the workflows: DBOS, on an SQLite file or in PostgreSQL.

An operating system's lock is taken before DBOS starts: a second process on one database would run a
live step a second time. The version is pinned, since DBOS leaves the workflows of another one
pending for ever. Values are stored as JSON: the default is pickle.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer

from falconer.pipelines.console import warn
from falconer.pipelines.errors import PipelineError
from falconer.pipelines.exhaustion import exhausted
from falconer.pipelines.files import make_directory
from falconer.workflows.retraining import database
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import Places

VERSION = "1"
"""Raised when a change of the steps makes older, unfinished workflows senseless."""
UNFINISHED = ("PENDING", "ENQUEUED")
"""DBOS puts what it recovers into a queue first: who asks for the pending ones only, misses it."""
LOCK = "lock"
LOST = "Database connection"
"""How DBOS's lines begin where it waits for its database."""
SECONDS_BETWEEN_LINES = 60.0


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
    database.exists(pipeline)
    _silence()
    config: DBOSConfig = {
        "name": pipeline.name if len(pipeline.name) > 2 else f"{pipeline.name}--",
        "system_database_url": database.url(pipeline),
        "dbos_system_schema": database.schema(pipeline),
        "application_version": VERSION,
        "executor_id": "local",
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "WARNING",
        "console_log_level": "CRITICAL",
        "scheduler_polling_interval_sec": 3600,
    }
    DBOS(config=config)
    try:
        with _outages_named(pipeline):
            DBOS.launch()
            yield
    finally:
        DBOS.destroy()


@contextmanager
def _outages_named(pipeline: Pipeline) -> Iterator[None]:
    """Raise the drivers' errors, by whatever library they come, as `StoreError`."""
    try:
        yield
    except Exception as error:
        if exhausted(error) or not isinstance(error.__cause__, database.ERRORS):
            raise
        raise database.outage(pipeline, error.__cause__) from error


def workflows(pipeline: Pipeline, *, prefix: str | None = None) -> list[Known]:
    """All workflows in the database, oldest first, without starting anything; none where there is
    no database yet. Raises `StoreError` where it does not answer."""
    if not database.exists(pipeline):
        return []
    _silence()
    with _outages_named(pipeline), _client(pipeline) as client:
        found = client.list_workflows(
            workflow_id_prefix=prefix, load_input=False, load_output=False
        )
    return [Known(one.workflow_id, one.status, one.app_version) for one in found]


@contextmanager
def _client(pipeline: Pipeline) -> Iterator[DBOSClient]:
    """One that raises where the connection is lost, instead of waiting for it."""
    client = DBOSClient(
        system_database_url=database.url(pipeline),
        dbos_system_schema=database.schema(pipeline),
        serializer=DBOSPortableJSONSerializer(),
        retry_connection_errors=False,
    )
    try:
        yield client
    finally:
        client.destroy()


class _Waiting(logging.Handler):
    """Says, once in a while, that DBOS waits for the database; everything else that it says is its
    own affair."""

    said = -math.inf

    def emit(self, record: logging.LogRecord) -> None:
        """A line, where the last one was long ago."""
        now = time.monotonic()
        if record.msg.startswith(LOST) and now - self.said > SECONDS_BETWEEN_LINES:
            self.said = now
            warn("warning: the database of the workflows does not answer; this run waits for it")


def _silence() -> None:
    """DBOS advertises a service and warns of SQLite at each start; our guide says what is true of
    it. That it waits for the database is the only thing that people have to know."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.WARNING)
    if not any(isinstance(one, _Waiting) for one in logger.handlers):
        logger.handlers = [_Waiting()]
    logger.propagate = False
