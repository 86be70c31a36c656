"""When windows are run: by a cron expression, or one after the other for the past."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from croniter import croniter

from falconer.pipelines.console import say, warn
from falconer.pipelines.errors import ConfigError, PipelineError
from falconer.workflows.retraining import champions, mirror, notify
from falconer.workflows.retraining.config import Pipeline, Window
from falconer.workflows.retraining.lock import BusyError
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import Places

LONGEST_SLEEP = 30.0
"""Seconds: a clock that is set, or a machine that slept, is noticed this soon."""


def told(pipeline: Pipeline, window: Window) -> dict[str, object]:
    """`retrain`, and whoever the pipeline names is told how it ended."""
    known = Places.of(pipeline).finished(window.name)
    try:
        decision = retrain(pipeline, window)
    except BusyError:
        raise
    except PipelineError as error:
        message = {"pipeline": pipeline.name, "window": window.name, "outcome": "failed"}
        notify.tell(pipeline, {**message, "reason": str(error)})
        raise
    for trouble in mirror.mend(Places.of(pipeline)):
        warn(f"warning: {trouble}")
    if not known:
        names = ("pipeline", "window", "outcome", "reason", "challenger", "sha256")
        message = {name: decision[name] for name in names}
        notify.tell(pipeline, {**message, "serves": _serving(pipeline)})
    return decision


def _serving(pipeline: Pipeline) -> str | None:
    """Who serves now, for people."""
    now = champions.current(Places.of(pipeline))
    return f"{now.champion.label} of window {now.champion.window}" if now else None


def backfill(pipeline: Pipeline, first: date, last: date, today: date) -> list[dict[str, object]]:
    """Run every window that begins from `first` to `last` and is over, in order; those with a
    decision are left alone."""
    windows = pipeline.between(first, min(last, today - timedelta(pipeline.days)))
    if not windows:
        raise ConfigError(
            f"no window of {pipeline.name} begins from {first} to {last} and is over on {today}"
        )
    return [told(pipeline, window) for window in windows]


def serve(
    load: Callable[[], Pipeline],
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
    times: int | None = None,
) -> None:
    """Run the newest window whenever the cron expression says so; `times` None = for ever.

    Windows that were missed are not made up for, except the newest: it is run at the start. A
    window that failed is tried again at the next time. `load` reads the pipeline file, each time,
    so that an edit counts from the next time on; while that cannot be read, nothing is run.
    """
    pipeline, done = load(), 0
    while True:
        try:
            pipeline = load()
        except PipelineError as error:
            warn(f"warning: nothing is run: {error}")
        else:
            _run_newest(pipeline, now().date())
        done += 1
        if times is not None and done >= times:
            return
        _wait_until(croniter(pipeline.cron, now()).get_next(datetime), now, sleep)


def _run_newest(pipeline: Pipeline, today: date) -> None:
    try:
        window = pipeline.newest(today)
        places = Places.of(pipeline)
        decided = places.decided()
        if decided and decided[-1] > window.name:
            warn(f"warning: {decided[-1]} is decided, and the clock says {today}: was it set back?")
            return
        if places.finished(window.name):
            say(f"{window.name}: decided already")
            return
        decision = told(pipeline, window)
        say(f"{window.name}: {decision['outcome']}: {decision['reason']}")
    except PipelineError as error:
        warn(f"warning: {error}")


def _wait_until(
    moment: datetime, now: Callable[[], datetime], sleep: Callable[[float], None]
) -> None:
    while (left := (moment - now()).total_seconds()) > 0:
        sleep(min(left, LONGEST_SLEEP))
