"""Where the state of the workflows is kept, and whether that answers: an SQLite file in the
registry, or a PostgreSQL database with a schema for each pipeline.

DBOS goes on with every unfinished workflow that it finds: two pipelines in one schema would run
each other's live steps a second time.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg.conninfo import make_conninfo

from falconer.pipelines.errors import PipelineError
from falconer.pipelines.files import identity_of
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import Places

FILE = "workflows.sqlite"
SECONDS_TO_ANSWER = 3
ERRORS = (sqlite3.Error, psycopg.Error)
"""What the two drivers raise."""
NAME_LENGTH = 40
"""Of the pipeline's name in a schema's: PostgreSQL cuts a name after 63 bytes."""


class StoreError(PipelineError):
    """The database of the workflows cannot be used at this moment."""


def url(pipeline: Pipeline) -> str:
    """The database's address, as SQLAlchemy has it."""
    return pipeline.database or f"sqlite:///{_file(pipeline).resolve()}"


def place(pipeline: Pipeline) -> str:
    """The database for people: its file or host, without a password."""
    if not pipeline.database:
        return str(_file(pipeline))
    return f"PostgreSQL on {urlsplit(pipeline.database).hostname or 'this machine'}"


def schema(pipeline: Pipeline) -> str:
    """The pipeline's own schema in PostgreSQL, by its name and folder."""
    root = str(pipeline.root.resolve())
    name = pipeline.name[:NAME_LENGTH].replace("-", "_")
    return f"{name}_{identity_of([pipeline.name, root])[:8]}"


def exists(pipeline: Pipeline) -> bool:
    """Whether there is any state yet. `StoreError` where the database does not answer: DBOS itself
    asks again for minutes."""
    try:
        if pipeline.database:
            return _has_schema(pipeline.database, schema(pipeline))
        path = _file(pipeline)
        return path.exists() and _has_tables(path)
    except ERRORS as error:
        raise outage(pipeline, error) from error


def outage(pipeline: Pipeline, error: BaseException) -> StoreError:
    """What a driver's error means to people."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return StoreError(
        f"{place(pipeline)}: the state of the workflows cannot be reached ({reason}); what serves "
        "is as it was; end what holds it, or bring it back, and give the same command again"
    )


def _file(pipeline: Pipeline) -> Path:
    return Places.of(pipeline).registry / FILE


def _has_tables(path: Path) -> bool:
    """Opened to write: whoever reads first after a kill in mid-transaction has to roll it back."""
    uri = f"file:{quote(str(path.resolve()))}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=SECONDS_TO_ANSWER)) as database:
        return database.execute("select 1 from sqlite_master limit 1").fetchone() is not None


def _has_schema(address: str, name: str) -> bool:
    """False too where the database itself is absent: DBOS makes it, if it may."""
    try:
        found = _one(address, "select 1 from pg_namespace where nspname = %s", name)
    except psycopg.OperationalError:
        database = urlsplit(address).path.removeprefix("/")
        address = make_conninfo(address, dbname="postgres")
        if _one(address, "select 1 from pg_database where datname = %s", database) is not None:
            raise
        return False
    return found is not None


def _one(address: str, query: str, name: str) -> tuple[object, ...] | None:
    with psycopg.connect(address, connect_timeout=SECONDS_TO_ANSWER) as database:
        return database.execute(query, [name]).fetchone()
