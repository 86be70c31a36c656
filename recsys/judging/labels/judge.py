"""Judging predictions: the metrics of all rows, with bootstrap intervals over users, or over rows
where there are none.

Each metric comes as a value for each unit whose mean is the metric
(`falconer.recsys.metrics.linear`), so that intervals, paired differences and tests are those of
means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold, Target
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.statistics.bootstrap import interval, resampled_means
from falconer.pipelines.statistics.differences import Estimate
from falconer.recsys.judging import slices
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.labels import slices as groups
from falconer.recsys.judging.labels.calibration import error_by_chance
from falconer.recsys.judging.reports import Bin, LabelsReport, SliceEstimate, Unit
from falconer.recsys.judging.stored import (
    ANEW,
    ANSWERS_KEY,
    read_report,
    refuse_another_table,
    reports_in,
)
from falconer.recsys.judging.subject import Subject
from falconer.recsys.metrics import BINARY_METRICS, RATING_METRICS
from falconer.recsys.metrics.labels import N_BINS, bins_of
from falconer.recsys.metrics.linear import row_values
from falconer.recsys.metrics.tables import metric_of_rows

Float64 = NDArray[np.float64]

PER_UNIT = "per_unit.parquet"
UNIT = "unit"
MAIN_METRIC: Mapping[Target, str] = {"binary": "roc_auc", "rating": "rmse"}
"""What decides where no other is named."""
MOST_UNITS = 20_000
"""Rows without users: where there are more, so many groups of them, by their number, are
resampled."""
CALIBRATION = "expected_calibration_error"
OF_PROBABILITIES = ("log_loss", CALIBRATION)


@dataclass(frozen=True)
class JudgedLabels:
    """A report, and the table behind it: `unit`, and one float64 column a metric, whose mean is the
    metric."""

    report: LabelsReport
    per_unit: pa.Table

    @property
    def keys(self) -> pa.Table:
        """The units, in order."""
        return self.per_unit.select([UNIT])

    @property
    def groups(self) -> tuple[str, ...]:
        """Columns of groups."""
        return tuple(name for name in self.per_unit.column_names if slices.is_slice(name))

    def group(self, name: str) -> Float64:
        """float64[n_units], NaN for a unit that has no row in the group."""
        return np.asarray(self.per_unit[name].to_numpy(), np.float64)

    def labelled(self, label: str) -> JudgedLabels:
        """The same under another label."""
        return replace(self, report=self.report.model_copy(update={"label": label}))

    def values(self, metric: str) -> Float64:
        """float64[n_units]; `ArtifactError` where the metric has no value."""
        if metric not in self.report.metrics:
            known = ", ".join(self.report.metrics)
            raise ArtifactError(
                f"{self.report.label}: has no {metric!r}, only {known}; choose one of them"
            )
        return np.asarray(self.per_unit[metric].to_numpy(), np.float64)


def judge(
    score: Float64, data: Dataset, fold: Fold, subject: Subject, config: EvaluationConfig
) -> JudgedLabels:
    """Judge `score` float64[P], row by row beside the fold's labels. Of `config` the bootstrap and
    `metrics`, those of other packages, are used."""
    target = data.card.target
    assert target is not None
    labels = data.labels(fold).astype(np.float64)
    unit, keys, codes = _units(data, fold)
    probable = target == "binary" and bool(((score >= 0) & (score <= 1)).all())
    names = (*(BINARY_METRICS if target == "binary" else RATING_METRICS), *config.metrics)
    columns = _columns(names, labels, score, codes if unit == "user" else None, probable=probable)
    table = {name: by_unit(values, codes, len(keys)) for name, values in columns.items()}
    metrics = _estimates(table, config)
    if CALIBRATION in metrics:
        chance = error_by_chance(labels, score, codes, resamples=config.resamples, seed=config.seed)
        metrics[CALIBRATION] = _lowered(metrics[CALIBRATION], chance)
    parts = list(groups.judged(MAIN_METRIC[target], data, fold, labels, score, codes))
    values = _Values(
        labels,
        unit,
        len(keys),
        metrics,
        reliability(labels, score) if probable else (),
        groups.estimates(parts, config),
        _score_warnings(target, probable=probable),
    )
    columns = {UNIT: keys, **table, **{part.column: part.by_unit for part in parts}}
    return JudgedLabels(_report(values, data, fold, subject, config), pa.table(columns))


@dataclass(frozen=True)
class _Values:
    """What was found of the predictions."""

    labels: Float64
    unit: Unit
    n_units: int
    metrics: dict[str, Estimate]
    bins: tuple[Bin, ...]
    slices: tuple[SliceEstimate, ...]
    warnings: tuple[str, ...]


def _report(
    values: _Values, data: Dataset, fold: Fold, subject: Subject, config: EvaluationConfig
) -> LabelsReport:
    """The values, with whose they are and how they were made."""
    assert data.card.target is not None
    return LabelsReport(
        label=subject.label,
        run=subject.run,
        model=subject.model,
        dataset_name=data.card.name,
        dataset_id=data.card.dataset_id,
        content=data.content_id,
        fold=fold,
        target=data.card.target,
        n_rows=len(values.labels),
        mean_label=float(values.labels.mean()),
        unit=values.unit,
        n_units=values.n_units,
        metrics=values.metrics,
        bins=values.bins,
        slices=values.slices,
        level=config.level,
        resamples=config.resamples,
        seed=config.seed,
        test_reads=subject.reads.times if subject.reads else None,
        test_lists=subject.reads.lists if subject.reads else None,
        cost=dict(subject.cost),
        answers=subject.answers,
        knobs=subject.knobs,
        protocol={**data.card.split.facts, **subject.protocol},
        warnings=(*subject.warnings, *values.warnings),
    )


def _units(data: Dataset, fold: Fold) -> tuple[Unit, pa.Array, NDArray[np.int64]]:
    """What is resampled: its kind, the units' keys, and the unit of each row, int64[P]."""
    users = data.pair_users(fold)
    if users is not None:
        encoded = users.dictionary_encode()
        return "user", encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)
    ordinals = data.pair_ordinals(fold)
    groups = ordinals % MOST_UNITS if len(ordinals) > MOST_UNITS else ordinals
    keys, codes = np.unique(groups, return_inverse=True)
    return (
        ("row" if len(keys) == len(ordinals) else "group of rows"),
        pa.array(keys),
        codes.astype(np.int64),
    )


def _columns(
    names: Sequence[str],
    labels: Float64,
    score: Float64,
    users: NDArray[np.int64] | None,
    *,
    probable: bool,
) -> dict[str, Float64]:
    """Metric -> values of the rows, for the metrics that have a value."""
    possible = [
        name
        for name in names
        if (users is not None or name != "gauc") and (probable or name not in OF_PROBABILITIES)
    ]
    found = {name: row_values(name, labels, score, users) for name in possible}
    return {name: values for name, values in found.items() if values is not None}


def by_unit(values: Float64, codes: NDArray[np.int64], n_units: int) -> Float64:
    """float64[n_units]: what each unit adds to the rows' mean, brought to that mean: the mean of
    these is the same."""
    mean = values.mean()
    return np.asarray(
        mean + np.bincount(codes, weights=values - mean, minlength=n_units) * n_units / len(values)
    )


def _estimates(table: Mapping[str, Float64], config: EvaluationConfig) -> dict[str, Estimate]:
    if not table:
        return {}
    stacked = np.stack(list(table.values()), axis=1)
    means = resampled_means(stacked, resamples=config.resamples, seed=config.seed)
    low, high = interval(means, level=config.level, n=np.count_nonzero(~np.isnan(stacked), axis=0))
    return {
        name: _estimate(name, float(values.mean()), float(low[place]), float(high[place]))
        for place, (name, values) in enumerate(table.items())
    }


def _estimate(name: str, mean: float, low: float, high: float) -> Estimate:
    """With the interval cut at what the metric can be."""
    definition = metric_of_rows(name)
    assert definition is not None
    least, most = groups.bounds(name)
    low, high = max(low, least), min(high, most)
    return Estimate(mean=mean, low=low, high=high, definition=definition.sentence(1))


def _lowered(estimate: Estimate, chance: float) -> Estimate:
    """The lower end less what chance gives to a calibrated model, so that the interval holds 0 for
    one."""
    assert estimate.low is not None
    return estimate.model_copy(update={"low": max(0.0, estimate.low - chance)})


def reliability(labels: Float64, score: Float64) -> tuple[Bin, ...]:
    """The bins of `expected_calibration_error` that hold a row."""
    place = bins_of(score)
    n = np.bincount(place, minlength=N_BINS)
    sums = [np.bincount(place, weights=values, minlength=N_BINS) for values in (score, labels)]
    return tuple(
        Bin(n=int(n[one]), score=float(sums[0][one] / n[one]), label=float(sums[1][one] / n[one]))
        for one in np.flatnonzero(n)
    )


def _score_warnings(target: Target, *, probable: bool) -> tuple[str, ...]:
    if target == "rating" or probable:
        return ()
    return (
        "scores outside 0 to 1 are no probabilities: there is no "
        f"{' and no '.join(OF_PROBABILITIES)}",
    )


def write(directory: Path, judged: JudgedLabels) -> None:
    """Write `per_unit.parquet` and `report.json` into `directory`."""
    answers = judged.report.answers
    metadata = {ANSWERS_KEY: answers} if answers else None
    with reports_in(directory, PER_UNIT) as place:
        table = judged.per_unit.replace_schema_metadata(metadata)
        pq.write_table(table, place.table, compression="zstd", write_page_checksum=True)
        place.put(judged.report)


def read(directory: Path) -> JudgedLabels:
    """Read what `write` wrote; `ArtifactError` where it is absent, damaged or of another version,
    and where the table belongs to another report."""
    report = read_report(directory, LabelsReport)
    with parquet.damage_named(directory / PER_UNIT, ArtifactError, ANEW):
        table = parquet.read(directory / PER_UNIT)
    answers = (table.schema.metadata or {}).get(ANSWERS_KEY)
    refuse_another_table(directory, report, answers.decode() if answers else None)
    return JudgedLabels(report, table)
