"""One window as a durable workflow: a process that is killed goes on at its next step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from dbos import DBOS, SetWorkflowID

from falconer.pipelines.config import parse
from falconer.pipelines.console import say, warn
from falconer.pipelines.errors import (
    ConfigError,
    ExhaustedError,
    MissingExtraError,
    PipelineError,
)
from falconer.workflows.retraining import (
    champions,
    database,
    decisions,
    failures,
    judging,
    lock,
    signing,
    steps,
    store,
)
from falconer.workflows.retraining.config import Pipeline, Window
from falconer.workflows.retraining.places import DECISION, LAST_STEP, Places
from falconer.workflows.retraining.steps import Job

INTERRUPTED = 130


def retrain(pipeline: Pipeline, window: Window) -> dict[str, Any]:
    """Retrain and judge one window; returns its decision. A window that has one is not run again;
    what a killed or failed run left undone behind the decision is done.

    Raises `BusyError` where another process is at it, and a `PipelineError` where a step failed for
    another reason than its input: the champion goes on serving.
    """
    places = Places.of(pipeline)
    if not places.finished(window.name):
        with failures.noted(places, window.name), lock.locked(pipeline):
            _refuse_lost_records(places, window)
            _bring_to_its_end(pipeline, window)
    return decisions.read(places, window.name)


def let_run_again(pipeline: Pipeline, window: Window) -> None:
    """Let a refused window be run again, by the next `retrain`: its data came late, or were mended.
    One that is not decided needs nothing.

    Raises `ConfigError` where it was decided otherwise or could not be run now, and `BusyError`
    while another process retrains: then nothing has changed.
    """
    places = Places.of(pipeline)
    with lock.locked(pipeline):
        if not (places.window(window.name) / DECISION).exists():
            return
        decisions.refusal(places, window.name)
        _refuse_lost_records(places, window)
        _refuse_past(places, window)
        _refuse_overlap(places, window)
        store.cancel(pipeline, window)
        decisions.set_aside(places, window.name)


def _bring_to_its_end(pipeline: Pipeline, window: Window) -> None:
    places = Places.of(pipeline)
    decision = places.window(window.name) / DECISION
    if not decision.exists():
        _refuse_past(places, window)
        _refuse_overlap(places, window)
    store.cancel_outdated(pipeline, window)
    with store.launched(pipeline):
        _finish_others()
        if not decision.exists():
            _announce(pipeline, window)
            _start(retrain_window, pipeline, window)
        elif not places.finished(window.name):
            _start(finish_window, pipeline, window)


def _refuse_lost_records(places: Places, window: Window) -> None:
    """Without its key, or with a decision that cannot be read, no verdict could be made: that is
    told before hours of training, not behind them."""
    signing.key_of(places)
    decisions.tests_before(places, window.name)


def _refuse_past(places: Places, window: Window) -> None:
    """A champion from a later window has seen what happened in this one: its figures there would be
    those of a leak."""
    now = champions.current(places)
    if now is not None and now.champion.window > window.name:
        raise ConfigError(
            f"{window.name}: the champion {now.champion.label} was judged on "
            f"{now.champion.window}, and has seen what happened here; there is no fair comparison"
        )


def _refuse_overlap(places: Places, window: Window) -> None:
    """Where `start` or `days` was changed, a day could be judged on twice."""
    for name in places.decided():
        last = places.last_day(name)
        before = name < window.name and last is not None and last >= window.first
        within = window.name < name < window.end.isoformat()
        if (before or within) and decisions.read(places, name)["outcome"] != "refused":
            raise ConfigError(
                f"{window.name}: some of its days are of window {name}, which is decided, and none "
                f"is judged on twice; mend `start` and `days`: a window begins where {name} ends"
            )


def _announce(pipeline: Pipeline, window: Window) -> None:
    n = len(pipeline.models.challengers)
    say(
        f"{window.name}: {n} models to train and to judge; each says how long it takes (fewer "
        "models.challengers take less; what Ctrl-C ends goes on with the same command)"
    )


def _start(workflow: Callable[..., Any], pipeline: Pipeline, window: Window) -> None:
    """A workflow whose id holds the window and the attempt: one that failed is not taken for the
    result of the next."""
    prefix = database.prefix(pipeline, window)
    attempt = len(database.workflows(pipeline, prefix=prefix)) + 1
    with SetWorkflowID(f"{prefix}{attempt}"):
        _result(DBOS.start_workflow(workflow, pipeline.model_dump(mode="json"), window.name))


def _finish_others() -> None:
    """Let what a killed process left come to its end, one after the other."""
    for one in DBOS.list_workflows(status=list(database.UNFINISHED), app_version=database.VERSION):
        say(f"going on with {one.workflow_id}, which was cut off")
        _result(DBOS.retrieve_workflow(one.workflow_id))


def _result(handle: Any) -> None:
    """Wait for a workflow. Ctrl-C ends the process at once: its step would run to its end else, and
    whatever it leaves is swept or continued the next time."""
    try:
        handle.get_result()
    except KeyboardInterrupt:
        warn("interrupted; the same command goes on where this one stopped")
        os._exit(INTERRUPTED)


@DBOS.workflow()
def retrain_window(values: dict[str, Any], name: str) -> dict[str, Any]:
    """All steps of one window, each recorded when it is done."""
    pipeline = parse(Pipeline, values, "the stored pipeline")
    job = Job(pipeline, pipeline.window(name))
    seated: list[str] = _step("seat", steps.seat, job)["labels"]
    refused = _refused(job, seated)
    _step("gather", steps.gather, job, seated, refused)
    decided: dict[str, Any] = _step("decide", steps.decide, job)
    _conclude(job, decided)
    return decided


@DBOS.workflow()
def finish_window(values: dict[str, Any], name: str) -> dict[str, Any]:
    """What a run that failed behind its decision still owes: nothing is judged anew, since the
    champion of now may be that decision's own."""
    pipeline = parse(Pipeline, values, "the stored pipeline")
    job = Job(pipeline, pipeline.window(name))
    decided: dict[str, Any] = _step("decided", steps.decided, job)
    if decided["overtaken"]:
        _step(LAST_STEP, steps.publish, job)
    else:
        _conclude(job, decided)
    return decided


def _conclude(job: Job, decided: dict[str, Any]) -> None:
    _step("crown", steps.crown, job, decided)
    if job.pipeline.recommend is not None:
        _step("recommend", steps.recommend, job, decided)
    _step(LAST_STEP, steps.publish, job)


def _refused(job: Job, seated: list[str]) -> dict[str, Any] | None:
    """Everything up to the reports; returns what refused the window, if something did."""
    for name, step, *arguments in _plan(job, seated):
        result = _step(name, _blaming_input(step), job, *arguments)
        if result.get("damage") or result.get("refused"):
            return {"damage": result.get("damage", [])}
    return None


def _plan(job: Job, seated: list[str]) -> list[tuple[Any, ...]]:
    labels = list(job.labels)
    return [
        ("watch", steps.watch),
        ("build", steps.build),
        *((f"train {label}", steps.train, label) for label in labels),
        *(
            (f"judge {label}", steps.judge, label)
            for label in (*labels, *seated, judging.RANDOM, judging.REVERSED)
        ),
    ]


def _step(name: str, step: Callable[..., dict[str, Any]], job: Job, *arguments: Any) -> Any:
    """Run a step durably, and note how long it took and whether it was done already."""

    def run() -> dict[str, Any]:
        started = time.perf_counter()
        say(f"-- {job.window.name}: {name}")
        result = step(job, *arguments)
        steps.note(job, name, time.perf_counter() - started, result)
        return result

    return DBOS.run_step({"name": name}, run)


def _blaming_input(step: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The step, whose failure refuses the window instead of failing the workflow; a full disk or
    memory, a wrong recipe and an absent package say nothing about the input."""

    def run(job: Job, *arguments: Any) -> dict[str, Any]:
        try:
            return step(job, *arguments)
        except (ConfigError, ExhaustedError, MissingExtraError):
            raise
        except PipelineError as error:
            return {"damage": [str(error)]}

    return run
