"""Evaluated runs side by side: who leads, if anyone does, and one page on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from falconer.pipelines.console import say
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.files import write_text
from falconer.pipelines.runs import RUN_FILE, Run
from falconer.pipelines.statistics.differences import Difference, paired_differences
from falconer.vision.data.source import Fold
from falconer.vision.detection.judging import compare as of_boxes
from falconer.vision.detection.judging.report import JudgedDetector
from falconer.vision.detection.stages import read_judged as read_detector
from falconer.vision.judging.compare import (
    LOWER_IS_BETTER,
    JudgedRun,
    read_judged,
    refuse_other_pictures,
)
from falconer.vision.reporting.comparison_page import comparison_page
from falconer.vision.runs import Kind, kind_of
from falconer.vision.stages.evaluate import REPORT, VALUES
from falconer.vision.stages.experiments import POOLED

DECIDES = {"classes": "top1", "tags": "right_tags", "boxes": "map@.5"}
"""The metric of each task that decides where none is named."""

J = TypeVar("J", JudgedRun, JudgedDetector)


def compare(
    paths: Sequence[Path], *, out: Path, fold: Fold | None = None, metric: str | None = None
) -> Path:
    """Print evaluated runs, best first, with their paired differences, and write a page on them;
    returns it.

    Runs of classifiers (their test fold, if no other is named), or folders of cross-validations; or
    runs of detectors (the split that they were judged on last). Raises `ConfigError` or
    `ArtifactError` where they were not judged on the same pictures.
    """
    if len(paths) < 2:
        raise ConfigError("two runs or more are wanted to compare")
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise ConfigError("classifiers and detectors are not judged alike; compare one kind")
    (kind,) = kinds
    if kind == "detector":
        return _compare_detectors(paths, out=out, fold=fold, metric=metric or DECIDES["boxes"])
    return _compare_classifiers(paths, out=out, fold=fold, metric=metric)


def _kind(path: Path) -> Kind:
    if not (path / RUN_FILE).is_file() and (path / POOLED / REPORT).is_file():
        return "classifier"
    kind = kind_of(Run.open(path))
    if kind is None:
        raise ConfigError(f"{path}: is no run of pictures")
    return kind


def _compare_classifiers(
    paths: Sequence[Path], *, out: Path, fold: Fold | None, metric: str | None
) -> Path:
    found = [
        read_judged(
            path / ((fold or "test") if (path / RUN_FILE).is_file() else POOLED),
            report=REPORT,
            values=VALUES,
        )
        for path in paths
    ]
    refuse_other_pictures(found)
    metric = metric or DECIDES[found[0].report.task]
    means = {id(one): _sign(metric) * one.values(metric).mean() for one in found}
    found = _labelled(sorted(found, key=lambda one: -means[id(one)]))
    return _written(out, found, paired_differences(found, metric), metric)


def _sign(metric: str) -> int:
    """-1 for what is better the lower it is."""
    return -1 if metric in LOWER_IS_BETTER else 1


def _compare_detectors(paths: Sequence[Path], *, out: Path, fold: Fold | None, metric: str) -> Path:
    found = [read_detector(Run.open(path)) for path in paths]
    split = "val" if fold == "valid" else fold
    for path, one in zip(paths, found, strict=True):
        if split not in (None, one.report.fold):
            raise ConfigError(
                f"{path}: was judged on {one.report.fold}; judge it with `falconer vision detector "
                f"evaluate {path} --split {split}`"
            )
    of_boxes.refuse_other_pictures(found, metric)
    found = sorted(_labelled(found), key=lambda one: -one.report.metrics[metric].mean)
    return _written(out, found, of_boxes.differences(found, metric), metric)


def _labelled(found: Sequence[J]) -> list[J]:
    """Labels that are used twice get the run's own end."""
    labels = [one.report.label for one in found]
    return [
        one
        if labels.count(one.report.label) == 1
        else replace(
            one,
            report=one.report.model_copy(
                update={"label": f"{one.report.label} {str(one.report.run)[-6:]}"}
            ),
        )
        for one in found
    ]


def _written(
    out: Path,
    found: Sequence[JudgedRun] | Sequence[JudgedDetector],
    differences: Sequence[Difference],
    metric: str,
) -> Path:
    best = found[0].report
    say(f"{metric}, {best.n} pictures of {best.fold}")
    behind = {one.second: one for one in differences if one.first == best.label}
    width = 2 + max(len(one.report.label) for one in found)
    for report in (one.report for one in found):
        value = report.metrics[metric]
        say(f"{report.label.ljust(width)}{value.mean:.4f}{value.ends}")
        if report.label in behind:
            say(f"  {_behind(behind[report.label])}")
    write_text(out, comparison_page(found, differences, metric))
    return out


def _behind(gap: Difference) -> str:
    bound, sign = "<=" if gap.p_is_bound else "=", _sign(gap.metric)
    low, high = sorted((sign * gap.low, sign * gap.high))
    return (
        f"{sign * gap.difference:.4f} behind the first ({low:.4f} to {high:.4f}, p {bound} "
        f"{gap.p_holm:.4f}): {gap.in_words}"
    )
