"""Evaluated detectors side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.vision.detection.judging.report import DetectionReport, JudgedDetector, difference
from falconer.vision.detection.stages import read_judged


def table(run_paths: Sequence[Path], metric: str) -> str:
    """Best first, each with its interval, and the paired interval of its distance to the best.

    Raises `ArtifactError` where runs were judged on other pictures, `ConfigError` for a metric that
    a run has not.
    """
    judged = [read_judged(Run.open(path)) for path in run_paths]
    _refuse_other_data([one.report for one in judged], metric)
    ordered = sorted(judged, key=lambda one: -one.report.metrics[metric].mean)
    best = ordered[0]
    width = 2 + max(len(_name(one.report)) for one in ordered)
    lines = [f"{metric}, {best.report.n_pictures} pictures of {best.report.fold}"]
    for one in ordered:
        value = one.report.metrics[metric]
        line = (
            f"{_name(one.report).ljust(width)}{value.mean:.4f} ({value.low:.4f} to "
            f"{value.high:.4f})"
        )
        lines.append(line + ("" if one is best else _behind(best, one, metric)))
    return "\n".join(lines)


def _name(report: DetectionReport) -> str:
    return f"{report.label} ({report.run})"


def _behind(best: JudgedDetector, other: JudgedDetector, metric: str) -> str:
    gap, low, high = difference(best, other, metric)
    note = "" if low > 0 else ", within the noise"
    return f"  {gap:.4f} behind the first ({low:.4f} to {high:.4f}{note})"


def _refuse_other_data(reports: Sequence[DetectionReport], metric: str) -> None:
    first = reports[0]
    for report in reports:
        if (report.dataset_id, report.fold) != (first.dataset_id, first.fold):
            raise ArtifactError(
                f"{report.run}: judged on {report.dataset_name} {report.fold}, and {first.run} on "
                f"{first.dataset_name} {first.fold}, other pictures or boxes; evaluate both on one"
            )
        if metric not in report.metrics:
            raise ConfigError(f"{report.run}: has no {metric}, only {', '.join(report.metrics)}")
