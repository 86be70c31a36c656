"""The same recipes trained with several seeds: how much of the metric is the seed's luck."""

from __future__ import annotations

import numpy as np

from falconer.pipelines.console import say
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.files import write_json
from falconer.pipelines.models.saved import hash_of
from falconer.workflows.retraining import decisions, judging, lock, steps
from falconer.workflows.retraining.calibration import Calibration
from falconer.workflows.retraining.config import Pipeline, Window, label_of
from falconer.workflows.retraining.places import CALIBRATION
from falconer.workflows.retraining.steps import Job

DIGITS = 9
"""As in a decision."""


def calibrate(pipeline: Pipeline, window: Window, *, seeds: int) -> Calibration:
    """Train every challenger with seeds 0, 1, ... on the window's dataset, judge each, and keep the
    deviation between them for the verdicts to come.

    What is trained and judged already is not done again, so that a killed calibration goes on.
    Raises `DataError` where the window's data is refused, `BusyError` while a retrain runs.
    """
    if seeds < 2:
        raise ConfigError(f"a deviation takes 2 seeds, not {seeds}")
    job = Job(pipeline, window)
    with lock.locked(pipeline):
        refused = steps.watch(job)["refused"]
        if refused:
            raise DataError(f"{window.name}: nothing to calibrate on: {'; '.join(refused)}")
        steps.build(job)
        n = len(pipeline.models.challengers)
        say(
            f"{n * seeds} trainings: {n} models with {seeds} seeds each; each says how long it "
            "takes (fewer --seeds take less, and what is done is kept)"
        )
        means = {label_of(one): _means(job, one, seeds) for one in pipeline.models.challengers}
        found = Calibration(
            window=window.name,
            metric=pipeline.rule.metric,
            view=pipeline.rule.view,
            seeds=seeds,
            means=means,
            seed_deviation=max(map(_deviation, means.values())),
        )
        write_json(job.places.registry / CALIBRATION, found.model_dump(mode="json"))
    return found


def _means(job: Job, recipe: str, seeds: int) -> tuple[float, ...]:
    label, rule = label_of(recipe), job.pipeline.rule
    found = []
    for seed in range(seeds):
        say(f"-- calibration: {label}, seed {seed}")
        overrides = (*job.pipeline.models.set, f"model.seed={seed}")
        run, _ = steps.trained(job, recipe, overrides)
        out = job.places.registry / "calibration" / f"{label}-{seed}"
        judging.judge(run, job.data, out, rule, k=job.pipeline.k, model=hash_of(run / "model"))
        found.append(decisions.read_measured(out, label, rule).mean)
    return tuple(float(f"{mean:.{DIGITS}g}") for mean in found)


def _deviation(means: tuple[float, ...]) -> float:
    return float(f"{np.std(means, ddof=1):.{DIGITS}g}")
