"""Where the state of the workflows is kept, and whether that answers: an SQLite file in the
registry, or a PostgreSQL database with a schema for each pipeline.

DBOS goes on with every unfinished workflow that it finds: two pipelines in one schema would run
each other's live steps a second time.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import quote, urlsplit

from falconer.pipelines.errors import PipelineError
from falconer.pipelines.files import identity_of
from falconer.workflows.retraining.config import Pipeline, Window
from falconer.workflows.retraining.places import Places

FILE = "workflows.sqlite"
SECONDS_TO_ANSWER = 3
VERSION = "1"
"""Raised when a change of the steps makes older, unfinished workflows senseless."""
UNFINISHED = ("PENDING", "ENQUEUED")
"""DBOS puts what it recovers into a queue first: who asks for the pending ones only, misses it."""
TABLE = "workflow_status"
NAME_LENGTH = 40
"""Of the pipeline's name in a schema's: PostgreSQL cuts a name after 63 bytes."""


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
    """The database's address, as SQLAlchemy has it (from 2.1 on; before, a path was not quoted)."""
    return pipeline.database or f"sqlite:///{quote(str(_file(pipeline).resolve()))}"


def place(pipeline: Pipeline) -> str:
    """The database for people: its file or host, without a password."""
    if not pipeline.database:
        return str(_file(pipeline))
    return f"PostgreSQL on {urlsplit(pipeline.database).hostname or 'this machine'}"


def schema(pipeline: Pipeline) -> str:
    """The pipeline's own schema in PostgreSQL, by its name and folder."""
    root = str(pipeline.root.resolve())
    name = pipeline.name[:NAME_LENGTH].replace("-", "_")
    return f"falconer_{name}_{identity_of([pipeline.name, root])[:8]}"


def exists(pipeline: Pipeline) -> bool:
    """Whether there is any state yet. `StoreError` where the database does not answer: DBOS itself
    asks again for minutes."""
    try:
        if pipeline.database:
            found: bool = _postgres().has_table(pipeline.database, schema(pipeline), TABLE)
            return found
        path = _file(pipeline)
        query = "select 1 from sqlite_master where name = ?"
        return path.exists() and bool(_rows(path, query, [TABLE]))
    except errors(pipeline) as error:
        raise outage(pipeline, error) from error


def workflows(pipeline: Pipeline, *, prefix: str = "") -> list[Known]:
    """All workflows whose id begins so, oldest first; none where there is no state yet.
    `StoreError` as of `exists`.

    They are read from DBOS's table: to import DBOS takes longer than all else that `status` does.
    """
    if not exists(pipeline):
        return []
    query = (
        "select workflow_uuid, status, application_version from {table} "
        "where substr(workflow_uuid, 1, {mark}) = {mark} order by created_at"
    )
    values = [len(prefix), prefix]
    try:
        if pipeline.database:
            table = f"{schema(pipeline)}.{TABLE}"
            text = query.format(table=table, mark="%s")
            found = _postgres().rows(pipeline.database, text, values)
        else:
            found = _rows(_file(pipeline), query.format(table=TABLE, mark="?"), values)
    except errors(pipeline) as error:
        raise outage(pipeline, error) from error
    return [Known(*row) for row in found]


def prefix(pipeline: Pipeline, window: Window) -> str:
    """How the ids of a window's workflows begin."""
    return f"{pipeline.name}-{window.name}-"


def errors(pipeline: Pipeline) -> type[Exception]:
    """What the database's driver raises."""
    found: type[Exception] = _postgres().Error if pipeline.database else sqlite3.Error
    return found


def outage(pipeline: Pipeline, error: BaseException) -> StoreError:
    """What a driver's error means to people."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    cure = "end what holds it, or bring it back"
    if type(error) is sqlite3.DatabaseError:  # what is locked or away is a class below
        cure = "it is damaged: remove it (what is done already is found without it)"
    return StoreError(
        f"{place(pipeline)}: the state of the workflows cannot be reached ({reason}); what serves "
        f"is as it was; {cure}, and give the same command again"
    )


def _file(pipeline: Pipeline) -> Path:
    return Places.of(pipeline).registry / FILE


def _rows(path: Path, query: str, values: list[object]) -> list[tuple[object, ...]]:
    """Opened to write: whoever reads first after a kill in mid-transaction has to roll it back."""
    uri = f"file:{quote(str(path.resolve()))}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=SECONDS_TO_ANSWER)) as database:
        return database.execute(query, values).fetchall()


def _postgres() -> ModuleType:
    """Imported where it is used only: with libpq it takes as long as the rest of `status`."""
    from falconer.workflows.retraining import postgres

    return postgres
