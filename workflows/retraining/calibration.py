"""What of the metric is the seed's luck, as it was measured, and the rule that takes it in."""

from __future__ import annotations

from falconer.pipelines.config import Config, parse
from falconer.pipelines.console import warn
from falconer.pipelines.files import read_json
from falconer.workflows.retraining.config import Pipeline, Rule
from falconer.workflows.retraining.places import CALIBRATION, Places


class Calibration(Config):
    """What `calibrate.calibrate` measured, and on what."""

    window: str
    metric: str
    view: str
    seeds: int
    means: dict[str, tuple[float, ...]]
    """Challenger -> the metric of each seed, on the same users."""
    seed_deviation: float
    """The largest standard deviation between the seeds of one challenger."""


def calibrated(pipeline: Pipeline) -> Rule:
    """The pipeline's rule; where it has no `seed_deviation`, with that of the last calibration.

    A calibration of another metric or view is of no use, which is a warning.
    """
    rule = pipeline.rule
    path = Places.of(pipeline).registry / CALIBRATION
    if rule.seed_deviation or not path.exists():
        return rule
    found = parse(Calibration, read_json(path), str(path))
    if (found.metric, found.view) != (rule.metric, rule.view):
        warn(
            f"warning: {path} is of {found.metric} ({found.view}), not of {rule.metric} "
            f"({rule.view}): calibrate again"
        )
        return rule
    return rule.model_copy(update={"seed_deviation": found.seed_deviation, "seeds": found.seeds})
