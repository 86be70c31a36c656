"""The report on a classifier's answers: means with intervals, classes, confusion, calibration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.statistics import bounded
from falconer.pipelines.statistics.bootstrap import interval, resampled_means
from falconer.pipelines.statistics.differences import Estimate
from falconer.vision.data.source import Fold, Task
from falconer.vision.judging.calibration import Calibration, calibration
from falconer.vision.judging.metrics import (
    average_precision,
    per_picture,
    per_unit_of_tags,
    sigmoid,
)

REPORT_FORMAT_VERSION = 1
DEFINITIONS: Mapping[str, str] = {
    "top1": "share of pictures whose true class has the highest probability",
    "top5": "share of pictures whose true class is among the five most probable",
    "log_loss": "mean of -log of the true class's probability, after the temperature",
    "balanced": "mean of the classes' recalls",
    "macro_f1": "mean of the classes' F1",
    "map": "mean of the tags' average precisions",
    "right_tags": "share of the tags that are rightly given, or rightly left out",
    "tags_log_loss": "mean of -log of the probability of what is true, summed over tags",
}

UNBOUNDED = ("log_loss", "tags_log_loss")


class JudgeConfig(Config):
    """How intervals are made."""

    resamples: int = Field(default=1000, ge=100, le=100_000)
    level: float = Field(default=0.95, gt=0.5, lt=1)
    seed: int = Field(default=0, ge=0)


class ClassReport(Config):
    """One class (or tag): its pictures, and how they were answered. NaN is None."""

    name: str
    n: int
    """Pictures that have it."""
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None = None


class VisionReport(Config):
    """What a run's classifier does on a fold of pictures."""

    format_version: int = REPORT_FORMAT_VERSION
    label: str
    run: str | None
    model: str | None
    task: Task
    dataset_id: str
    content: str | None = None
    """Not told: pictures are known by the dataset's id alone."""
    fold: str
    n: int
    """Pictures; of clips, clips."""
    classes: tuple[str, ...]
    metrics: dict[str, Estimate]
    per_class: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...] = ()
    """Rows are true classes, columns answers."""
    calibration: Calibration | None = None
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    seed_of_training: int | None = None
    level: float
    resamples: int
    seed: int


def judged_classes(
    logits: NDArray[np.float32], labels: NDArray[np.int64], n_classes: int, config: JudgeConfig
) -> tuple[dict[str, Estimate], NDArray[np.int64], Calibration]:
    """Metrics with intervals over the pictures, the confusion matrix and the calibration.

    `logits` float32[n, C] are after the temperature; n > 0.
    """
    values = per_picture(logits, labels)
    answers = logits.argmax(axis=1)
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (labels, answers), 1)
    metrics = {name: estimate(name, values[name][:, None], config) for name in values}
    right, there = (answers == labels).astype(np.float64), np.eye(n_classes)[labels]
    recalls = np.where(there > 0, right[:, None], np.nan)
    metrics["balanced"] = estimate("balanced", recalls, config)
    f1 = [one.f1 for one in class_reports(confusion, [str(n) for n in range(n_classes)])]
    known = [value for value in f1 if value is not None]
    metrics["macro_f1"] = Estimate(
        mean=float(np.mean(known)) if known else 0.0, definition=DEFINITIONS["macro_f1"]
    )
    return metrics, confusion, calibration(logits, labels)


def estimate(name: str, values: NDArray[np.float64], config: JudgeConfig) -> Estimate:
    """The mean of the columns' means, float64[n, m], NaN left out, with its interval: percentiles
    over pictures drawn with replacement, and of few values between 0 and 1 the exact one."""
    values = values[:, ~np.isnan(values).all(axis=0)]
    means, counts = np.nanmean(values, axis=0), (~np.isnan(values)).sum(axis=0)
    shares = list(zip(means.tolist(), counts.tolist(), strict=True))
    if name not in UNBOUNDED and any(bounded.too_few(*share) for share in shares):
        low, high = bounded.interval_of_mean(shares, level=config.level)
    else:
        drawn = resampled_means(values, resamples=config.resamples, seed=config.seed)
        low, high = _percentiles(drawn.mean(axis=1), len(values), config)
    return Estimate(mean=float(means.mean()), low=low, high=high, definition=DEFINITIONS[name])


def _percentiles(drawn: NDArray[np.float64], n: int, config: JudgeConfig) -> tuple[float, float]:
    low, high = interval(drawn[:, None], level=config.level, n=np.array([n]))
    return float(low[0]), float(high[0])


def class_reports(
    confusion: NDArray[np.int64], classes: tuple[str, ...] | list[str]
) -> tuple[ClassReport, ...]:
    """Precision, recall and F1 of each class, from counts int64[C, C] of (true, answer)."""
    return tuple(
        _class_report(name, int(own), int(row), int(column))
        for name, own, row, column in zip(
            classes, confusion.diagonal(), confusion.sum(1), confusion.sum(0), strict=True
        )
    )


def _class_report(
    name: str, right: int, there: int, given: int, average: float | None = None
) -> ClassReport:
    return ClassReport(
        name=name,
        n=there,
        precision=right / given if given else None,
        recall=right / there if there else None,
        f1=2 * right / (there + given) if there + given else None,
        average_precision=average,
    )


def judged_tags(
    logits: NDArray[np.float32],
    tags: NDArray[np.bool_],
    classes: tuple[str, ...],
    thresholds: tuple[float, ...],
    config: JudgeConfig,
) -> tuple[dict[str, Estimate], tuple[ClassReport, ...]]:
    """mAP with its bootstrap interval over pictures, and each tag at its threshold; n > 0."""
    precisions = np.array(
        [average_precision(logits[:, t], tags[:, t]) for t in range(tags.shape[1])]
    )
    rng = np.random.default_rng(config.seed)
    drawn = []
    for _ in range(config.resamples):
        rows = rng.integers(0, len(tags), len(tags))
        values = [average_precision(logits[rows, t], tags[rows, t]) for t in range(tags.shape[1])]
        drawn.append(_mean(np.array(values)))
    low, high = _percentiles(np.array(drawn), len(tags), config)
    found = Estimate(mean=_mean(precisions), definition=DEFINITIONS["map"])
    if low < high:  # draws that are all the same say nothing about chance
        found = found.model_copy(update={"low": low, "high": high})
    limits = thresholds or (0.5,) * tags.shape[1]
    given = sigmoid(logits) >= np.array(limits)
    reports = tuple(
        _class_report(
            name,
            int((given[:, t] & tags[:, t]).sum()),
            int(tags[:, t].sum()),
            int(given[:, t].sum()),
            None if np.isnan(precisions[t]) else float(precisions[t]),
        )
        for t, name in enumerate(classes)
    )
    units = per_unit_of_tags(logits, tags, limits)
    return {
        "map": found,
        "right_tags": estimate("right_tags", units["right_tags"][:, None], config),
        "log_loss": estimate("tags_log_loss", units["log_loss"][:, None], config),
    }, reports


def _mean(values: NDArray[np.float64]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else 0.0


def best_thresholds(logits: NDArray[np.float32], tags: NDArray[np.bool_]) -> tuple[float, ...]:
    """Of each tag, the probability with the highest F1 on these pictures; 0.5 for a tag that none
    has. Halfway to the next lower probability, so that a hair less is still given."""
    found = []
    for probabilities, truth in zip(sigmoid(logits).T, tags.T, strict=True):
        order = np.argsort(-probabilities, kind="stable")
        hits = np.cumsum(truth[order])
        ends = np.append(np.diff(probabilities[order]) != 0, [True])
        f1 = np.where(ends, 2 * hits / (np.arange(1, len(truth) + 1) + truth.sum()), -1.0)
        best = int(f1.argmax())
        if not truth.any():
            found.append(0.5)
            continue
        last = probabilities[order[best]]
        following = probabilities[order[best + 1]] if best + 1 < len(truth) else 0.0
        found.append(float((last + following) / 2))
    return tuple(found)


def fold_name(fold: Fold | None) -> str:
    """The fold's name in a report; "all" without one."""
    return fold or "all"
