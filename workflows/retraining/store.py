"""The durable state of the workflows: DBOS, on an SQLite file or in PostgreSQL.

An operating system's lock is taken before DBOS starts: a second process on one database would run a
live step a second time. The version is pinned, since DBOS leaves the workflows of another one
pending for ever. Values are stored as JSON: the default is pickle.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer

from falconer.pipelines.errors import PipelineError
from falconer.pipelines.exhaustion import exhausted
from falconer.pipelines.files import make_directory
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import Places

VERSION = "1"
"""Raised when a change of the steps makes older, unfinished workflows senseless."""
UNFINISHED = ("PENDING", "ENQUEUED")
"""DBOS puts what it recovers into a queue first: who asks for the pending ones only, misses it."""
DATABASE, LOCK = "workflows.sqlite", "lock"


SECONDS_TO_ANSWER = 3.0


class BusyError(PipelineError):
    """Another process retrains this pipeline at this moment."""


class StoreError(PipelineError):
    """The database of the workflows cannot be used at this moment."""


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
    refuse_silent(pipeline)
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
    try:
        with _outages_named(pipeline):
            DBOS.launch()
            yield
    finally:
        DBOS.destroy()


def refuse_silent(pipeline: Pipeline) -> None:
    """`StoreError` where the database does not answer: DBOS itself asks again for minutes."""
    path = Places.of(pipeline).registry / DATABASE
    try:
        if pipeline.database:
            address = urlsplit(pipeline.database)
            place = (address.hostname or "localhost", address.port or 5432)
            socket.create_connection(place, timeout=SECONDS_TO_ANSWER).close()
        elif path.exists():
            _ask(path)
    except (OSError, sqlite3.Error) as error:
        where = urlsplit(pipeline.database).hostname if pipeline.database else path
        raise StoreError(
            f"{where}: the state of the workflows cannot be reached ({error}); what serves is as "
            "it was; end what holds it, or bring it back, and give the same command again"
        ) from error


def _ask(path: Path) -> None:
    uri = f"file:{quote(str(path.resolve()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=SECONDS_TO_ANSWER)) as database:
        database.execute("select name from sqlite_master limit 1").fetchall()


@contextmanager
def _outages_named(pipeline: Pipeline) -> Iterator[None]:
    """Raise SQLite's errors, by whatever library they come, as `StoreError`."""
    try:
        yield
    except Exception as error:
        if exhausted(error) or not isinstance(error.__cause__, sqlite3.Error):
            raise
        raise StoreError(
            f"{Places.of(pipeline).registry / DATABASE}: {error.__cause__}; what serves is as it "
            "was; give the same command again"
        ) from error


def workflows(pipeline: Pipeline, *, prefix: str | None = None) -> list[Known]:
    """All workflows in the database, oldest first, without starting anything; none where there is
    no database yet. Raises `StoreError` where it does not answer."""
    if not pipeline.database and not (Places.of(pipeline).registry / DATABASE).exists():
        return []
    refuse_silent(pipeline)
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
