"""The judging of a detector on one split: metrics with intervals over pictures, and error kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.config import Config
from falconer.pipelines.statistics.differences import Estimate
from falconer.vision.detection.judging.average_precision import AveragePrecision, Found, Truth
from falconer.vision.detection.judging.errors import error_kinds

FORMAT_VERSION = 1
RESAMPLES, LEVEL = 500, 0.95
DEFINITIONS = {
    "map": "mean over classes and the overlaps 0.5, 0.55, ... 0.95 of COCO's average precision",
    "map@.5": "mean over classes of COCO's average precision at an overlap of 0.5",
    "map@.75": "mean over classes of COCO's average precision at an overlap of 0.75",
    "recall": "mean over classes and overlaps of the share of true boxes found, with so many "
    "detections of a class in each picture",
    "map ": "as map, for true boxes below 32 x 32 pixels (small), below 96 x 96, and others",
    "ap@.5": "COCO's average precision of one class at an overlap of 0.5",
}


class DetectionReport(Config):
    """The content of `report.json` of a detector."""

    format_version: int = FORMAT_VERSION
    label: str
    run: str | None
    model: str | None = "ssd"
    dataset_name: str
    dataset_id: str
    """Of the annotations and the files that they name."""
    fold: str
    classes: tuple[str, ...]
    n_pictures: int
    n_boxes: int
    metrics: dict[str, Estimate]
    threshold: float | None
    """Score from which on `errors` counts, chosen on the validation split; None without one."""
    errors: dict[str, int]
    rejected: dict[str, int]
    """Reason -> how many annotations were set aside."""
    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def n(self) -> int:
        """What intervals are over: the pictures."""
        return self.n_pictures


@dataclass(frozen=True)
class JudgedDetector:
    """A report, with the true boxes and the detections of each picture that it is about."""

    report: DetectionReport
    truths: Sequence[Truth]
    founds: Sequence[Found]

    @cached_property
    def precision(self) -> AveragePrecision:
        """For any weights of the pictures."""
        return AveragePrecision(self.truths, self.founds, self.report.classes)


def estimates(
    precision: AveragePrecision, *, resamples: int, level: float, seed: int
) -> dict[str, Estimate]:
    """Each metric with its percentile interval over resampled pictures (Efron 1979).

    Metrics that are undefined (no such true box) are left out; resamples in which one is undefined
    do not count for it. Where all resamples are the same, they say nothing about chance, and there
    is no interval.
    """
    point = precision.metrics()
    drawn = [
        precision.metrics(weights)
        for weights in picture_weights(precision.n_pictures, resamples=resamples, seed=seed)
    ]
    found = {}
    for name, value in point.items():
        if np.isfinite(value):
            values = np.array([one[name] for one in drawn])
            low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
            found[name] = Estimate(mean=value, definition=definition_of(name))
            if low < high:
                found[name] = found[name].model_copy(
                    update={"low": min(float(low), value), "high": max(float(high), value)}
                )
    return found


def picture_weights(n: int, *, resamples: int, seed: int) -> NDArray[np.float64]:
    """float64[resamples, n]: how often each picture is drawn, n with replacement each time."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def definition_of(metric: str) -> str:
    """What a metric is, in words."""
    return next(
        DEFINITIONS[key]
        for key in sorted(DEFINITIONS, key=len, reverse=True)
        if metric == key or metric.startswith(key)
    )


def judge(
    truths: Sequence[Truth],
    founds: Sequence[Found],
    facts: DetectionReport,
) -> DetectionReport:
    """Fill the metrics and errors of a report whose other facts are given."""
    precision = AveragePrecision(truths, founds, facts.classes)
    metrics = estimates(precision, resamples=facts.resamples, level=facts.level, seed=facts.seed)
    errors = {} if facts.threshold is None else error_kinds(truths, founds, facts.threshold)
    return facts.model_copy(update={"metrics": metrics, "errors": errors})
