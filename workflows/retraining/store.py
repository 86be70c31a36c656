"""DBOS, running: who starts it holds the pipeline's lock, since a second process on one database
would run a live step a second time. The version is pinned, since DBOS leaves the workflows of
another one pending for ever. Values are stored as JSON: the default is pickle.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer

from falconer.pipelines.console import warn
from falconer.pipelines.exhaustion import exhausted
from falconer.workflows.retraining import database
from falconer.workflows.retraining.config import Pipeline, Window
from falconer.workflows.retraining.places import DECISION, Places

LOST = "Database connection"
"""How DBOS's lines begin where it waits for its database."""
SECONDS_BETWEEN_LINES = 60.0
ASIDE = ("cron", "max_age_days", "database", "notify")
"""Keys of a pipeline file that no window's result depends on."""
SECONDS_TO_END = 0.1
"""A thread of DBOS sleeps for so long at a time; who ends DBOS waits for it."""


@contextmanager
def launched(pipeline: Pipeline) -> Iterator[None]:
    """DBOS, running; what a killed process left goes on at once. Call it with the lock held."""
    database.exists(pipeline)
    _silence()
    config: DBOSConfig = {
        "name": pipeline.name if len(pipeline.name) > 2 else f"{pipeline.name}--",
        "system_database_url": database.url(pipeline),
        "dbos_system_schema": database.schema(pipeline),
        "application_version": database.VERSION,
        "executor_id": "local",
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "WARNING",
        "console_log_level": "CRITICAL",
        "scheduler_polling_interval_sec": 3600,
        "notification_listener_polling_interval_sec": SECONDS_TO_END,
    }
    DBOS(config=config)
    try:
        with _outages_named(pipeline):
            DBOS.launch()
            yield
    finally:
        DBOS.destroy()


def cancel(pipeline: Pipeline, window: Window) -> None:
    """Give up what was cut off of this window. Call it with the lock held."""
    unfinished = _unfinished(pipeline, prefix=database.prefix(pipeline, window))
    if not unfinished:
        return
    with _client(pipeline) as client:
        for id_ in unfinished:
            client.cancel_workflow(id_)


def cancel_outdated(pipeline: Pipeline, now: Window) -> None:
    """Give up the workflows that were cut off before their decision and have another pipeline file
    than today's: to go on with what was there would try again what an edit was to mend. Call it
    with the lock held, before the window `now` is run."""
    unfinished, today = _unfinished(pipeline), _decisive(pipeline.model_dump(mode="json"))
    if not unfinished:
        return
    with _client(pipeline) as client:
        for one in client.list_workflows(workflow_ids=unfinished):
            then, window = one.input["args"] if one.input else ({}, "")
            decided = (Places.of(pipeline).window(window) / DECISION).exists()
            if _decisive(then) != today and not decided:
                client.cancel_workflow(one.workflow_id)
                warn(_given_up(one.workflow_id, window, now))


def _given_up(workflow: str, window: str, now: Window) -> str:
    anew = f"it is given up, and `falconer retrain PIPELINE --window {window}` begins it anew"
    if window == now.name:
        anew = "it is begun anew"
    return (
        f"warning: {workflow} was cut off, and the pipeline file was edited since: {anew} (what is "
        "done already is found)"
    )


def _decisive(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a window's result depends on."""
    return {name: value for name, value in values.items() if name not in ASIDE}


def _unfinished(pipeline: Pipeline, *, prefix: str = "") -> list[str]:
    """The workflows that `launched` would go on with: none of another version."""
    known = database.workflows(pipeline, prefix=prefix)
    return [one.id for one in known if one.status in database.UNFINISHED and not one.is_orphan]


@contextmanager
def _client(pipeline: Pipeline) -> Iterator[DBOSClient]:
    client = DBOSClient(
        system_database_url=database.url(pipeline),
        dbos_system_schema=database.schema(pipeline),
        serializer=DBOSPortableJSONSerializer(),
    )
    try:
        yield client
    finally:
        client.destroy()


@contextmanager
def _outages_named(pipeline: Pipeline) -> Iterator[None]:
    """Raise the drivers' errors, by whatever library they come, as `StoreError`."""
    try:
        yield
    except Exception as error:
        if exhausted(error) or not isinstance(error.__cause__, database.errors(pipeline)):
            raise
        raise database.outage(pipeline, error.__cause__) from error


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
    it. That it waits for the database is the only thing that people have to know, of each run."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.WARNING)
    logger.handlers = [_Waiting()]
    logger.propagate = False
