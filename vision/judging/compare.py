"""Classifiers that were judged on the same pictures, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.config import Config, parse
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.files import read_json
from falconer.pipelines.statistics.differences import PairedDifference, paired_differences
from falconer.pipelines.statistics.significance import holm
from falconer.vision.judging.report import JudgeConfig, VisionReport, estimate

Float64 = NDArray[np.float64]
PER_PICTURE = ("top1", "top5", "right_tags", "log_loss")
LOWER_IS_BETTER = ("log_loss",)


@dataclass(frozen=True)
class JudgedRun:
    """A report and the values behind its means: float64[n] of each metric, in the order of
    `names`."""

    report: VisionReport
    names: Sequence[str]
    columns: Mapping[str, Float64]

    def values(self, metric: str) -> Float64:
        """float64[n]; `ConfigError` for a metric that is no mean over pictures."""
        if metric not in self.columns:
            raise ConfigError(
                f"{metric}: is not kept for each picture; there are {', '.join(self.columns)}"
            )
        return self.columns[metric]


def read_judged(folder: Path, *, report: str, values: str) -> JudgedRun:
    """What `falconer vision evaluate` wrote; `ArtifactError` where it is not there."""
    found = parse(VisionReport, dict(read_json(folder / report)), str(folder / report))
    with parquet.damage_named(folder / values, ArtifactError, "evaluate the run anew"):
        table = parquet.read(folder / values)
    columns = {name: table[name].to_numpy() for name in PER_PICTURE if name in table.column_names}
    return JudgedRun(found, table["name"].to_pylist(), columns)


def refuse_other_pictures(judged: Sequence[JudgedRun]) -> None:
    """`ConfigError` where not all were judged on the same pictures."""
    first = judged[0]
    for one in judged[1:]:
        if list(one.names) != list(first.names) or one.report.fold != first.report.fold:
            raise ConfigError(
                f"{one.report.label} and {first.report.label} were not judged on the same pictures "
                f"({one.report.dataset_id}, {one.report.fold} and {first.report.dataset_id}, "
                f"{first.report.fold})"
            )


def over_seeds(label: str, judged: Sequence[JudgedRun]) -> JudgedRun:
    """Several seeds of one recipe as one: the mean of each picture's values over the seeds, with
    intervals over pictures."""
    refuse_other_pictures(judged)
    report = judged[0].report
    config = JudgeConfig(resamples=report.resamples, level=report.level, seed=report.seed)
    columns = {
        name: np.mean([one.columns[name] for one in judged], axis=0) for name in judged[0].columns
    }
    metrics = {name: estimate(name, values[:, None], config) for name, values in columns.items()}
    about = {"label": label, "metrics": metrics, "seed_of_training": None, "run": None}
    return JudgedRun(report.model_copy(update=about), judged[0].names, columns)


class AgainstFirst(Config):
    """One variant beside the whole recipe: each seed's value, and the paired difference."""

    label: str
    seeds: tuple[float, ...]
    difference: PairedDifference | None


def against_first(
    groups: Mapping[str, Sequence[JudgedRun]], metric: str
) -> tuple[list[JudgedRun], list[AgainstFirst]]:
    """Each group's mean over its seeds, and its difference (first - it) from the first group, with
    p-values corrected for the number of groups (Holm)."""
    means = [over_seeds(label, judged) for label, judged in groups.items()]
    found = [paired_differences([means[0], one], metric)[0] for one in means[1:]]
    corrected = holm([one.p_randomisation for one in found])
    differences: list[PairedDifference | None] = [None]
    for one, p in zip(found, corrected, strict=True):
        differences.append(one.model_copy(update={"p_holm": p}))
    rows = [
        AgainstFirst(
            label=label,
            seeds=tuple(float(one.values(metric).mean()) for one in judged),
            difference=difference,
        )
        for (label, judged), difference in zip(groups.items(), differences, strict=True)
    ]
    return means, rows
