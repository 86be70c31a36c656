"""Judging lists of recommendations: their hits, the metrics of each query, and means with bootstrap intervals.

A query's relevant items depend on the view: `all` of its truth, `repeat` = truth that is in its history, `novel` =
truth that is not. A query without a relevant item in the view has no value and is left out of the means, counted. A
query without a list counts with its misses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator

from pipelines.config import Config
from pipelines.data.dataset import Dataset
from pipelines.data.queries import Queries, Ragged, Truth
from pipelines.data.schema import Fold, View
from pipelines.errors import ArtifactError, DataError
from pipelines.files import atomic_file, read_json
from recsys import slices
from recsys.api import Ranked
from recsys.lists import Lists
from recsys.metrics import definition_of, known_metrics
from recsys.metrics.accuracy import ndcg
from recsys.metrics.compute import chosen_metrics, exposures, of_all_lists, per_query
from recsys.metrics.context import Context, context_of
from recsys.resampling import Resampling, interval
from recsys.results import REPORT_FORMAT_VERSION, Estimate, Report, SliceEstimate
from recsys.slices import Slicing

Float64 = NDArray[np.float64]

REPORT = "report.json"
PER_QUERY = "per_query.parquet"
BITMAP_BYTES = 4 * 2**20
"""What the table of (query, item) of one block of queries takes while hits are looked up: it should stay in a cache."""


class EvaluationConfig(Config):
    """Where the lists are cut, which metrics are computed, and how intervals are made.

    `metrics` holds names without a cut-off; none given: the usual ones. `category` is the item feature that
    miscalibration looks at; None: the dataset's first.
    """

    k: tuple[int, ...] = (1, 5, 10, 20, 50, 100)
    metrics: tuple[str, ...] = ()
    category: str | None = None
    resamples: int = Field(default=1000, ge=100)
    level: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("k")
    @classmethod
    def _cut_offs(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if not k or min(k) < 1:
            raise ValueError("needs at least one cut-off, each 1 or more")
        return tuple(sorted(set(k)))

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = known_metrics()
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return tuple(name for name in known if name in names)


@dataclass(frozen=True)
class Judged:
    """A report, and the table behind it: user_key, n_relevant, one float64 column a metric and a group of a slicing.

    NaN = no value: the metric is undefined for the query, or the query takes no part in the group.
    """

    report: Report
    per_query: pa.Table

    def values(self, metric: str) -> Float64:
        """float64[n_evaluated]: the metric ("ndcg@10") of the evaluated queries, in the queries' order.

        Raises `ArtifactError` where the metric was not judged, and where a query has no value of it.
        """
        names = [name for name in self.per_query.column_names[2:] if not slices.is_slice(name)]
        if metric not in names:
            known = ", ".join(names)
            raise ArtifactError(
                f"{self.report.label}: has no {metric!r} a query, only {known}; evaluate it with that k"
            )
        values = np.asarray(self.per_query[metric].to_numpy()[self._evaluated], np.float64)
        absent = int(np.isnan(values).sum())
        if absent:
            raise ArtifactError(
                f"{self.report.label}: {absent} of {len(values)} queries have no {metric}, so it cannot be compared "
                "query by query; choose another metric"
            )
        return values

    @property
    def _evaluated(self) -> NDArray[np.bool_]:
        return np.asarray(self.per_query["n_relevant"].to_numpy() > 0)


def relevant(queries: Queries, truth: Truth, view: View, n_items: int) -> Ragged:
    """The relevant items of each query in the view."""
    if view == "all":
        return truth.items
    in_history = np.isin(_pairs(truth.items, n_items), _pairs(queries.history, n_items))
    kept = in_history if view == "repeat" else ~in_history
    lengths = np.bincount(truth.items.rows[kept], minlength=len(truth))
    return Ragged(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), truth.items.values[kept])


def has_relevant(data: Dataset, fold: Fold, view: View) -> bool:
    """Whether any query of the fold has a relevant item in the view."""
    return len(relevant(data.queries(fold), data.truth(fold), view, data.n_items).values) > 0


def _pairs(items: Ragged, n_items: int) -> NDArray[np.int64]:
    return items.rows * n_items + items.values.astype(np.int64)


def found_in(items: NDArray[np.int32], rows: Ragged, n_items: int) -> NDArray[np.bool_]:
    """bool[Q, K]: whether each item (-1 never) is among its own query's row of `rows`."""
    found = np.empty(items.shape, np.bool_)
    width = n_items + 1  # column 0 is what -1 falls on, and stays False
    step = max(1, BITMAP_BYTES // width)
    table = np.zeros(step * width, np.bool_)
    for start in range(0, len(items), step):
        part, block = items[start : start + step], rows.slice(start, min(start + step, len(items)))
        marked = block.rows * width + block.values.astype(np.int64) + 1
        table[marked] = True
        places = np.arange(len(part))[:, None] * width + 1 + part
        np.take(table, places, out=found[start : start + step], mode="clip")  # the mode that needs no copy of `out`
        table[marked] = False
    return found


def judge(
    lists: Lists,
    data: Dataset,
    *,
    fold: Fold,
    view: View,
    label: str,
    config: EvaluationConfig,
    run: str | None = None,
    model: str | None = None,
    cost: Mapping[str, float] | None = None,
    slicings: Sequence[Slicing] = (),
    warnings: Sequence[str] = (),
    reads: tuple[int, int] | None = None,
) -> Judged:
    """Judge `lists` (row by row beside the fold's queries) on the fold's truth in one view, and in each slice.

    `warnings` are those about the dataset and the run; what the lists give reason for is added. `reads` is how often
    the test fold was judged on, and for how many different lists.
    Raises `DataError` where no query has a relevant item in the view.
    """
    queries, truth = data.queries(fold), data.truth(fold)
    in_view = relevant(queries, truth, view, data.n_items)
    evaluated = in_view.lengths > 0
    if not evaluated.any():
        raise DataError(f"{data.path}: no query of fold {fold} has a relevant item in view {view!r}; choose another")
    ranked = Ranked(lists.items, found_in(lists.items, in_view, data.n_items), in_view.lengths)
    context = _context(data, queries.history, config)
    names = chosen_metrics(config.metrics, context)
    columns = per_query(ranked, context, names, config.k)
    sliced = slices.columns(slices.sliced_metric(config.k), ndcg, ranked, in_view, slicings)
    shown = of_all_lists(exposures(ranked, context, names, config.k), names)
    metrics = _estimates(columns, evaluated, config) | {
        name: Estimate(mean=value, definition=_definition(name)) for name, value in shown.items()
    }
    metrics = {name: _naming_the_feature(name, estimate, context) for name, estimate in metrics.items()}
    report = Report(
        label=label,
        run=run,
        model=model,
        dataset_name=data.card.name,
        dataset_id=data.card.dataset_id,
        fold=fold,
        view=view,
        k=config.k,
        n_queries=len(queries),
        n_evaluated=int(evaluated.sum()),
        n_without_list=int((evaluated & ~lists.listed).sum()),
        n_relevant=int(in_view.lengths.sum()),
        n_outside=int(truth.n_outside.sum()),
        metrics=metrics,
        slices=_slice_estimates(sliced, evaluated, config),
        level=config.level,
        resamples=config.resamples,
        seed=config.seed,
        test_reads=reads[0] if reads else None,
        test_lists=reads[1] if reads else None,
        cost=dict(cost or {}),
        warnings=(
            *warnings,
            *lists.warnings,
            *_view_warnings(lists, queries, view, data),
            *_depth_warnings(lists, config),
        ),
    )
    keys = {"user_key": data.query_keys(fold), "n_relevant": in_view.lengths}
    return Judged(report, pa.table(keys | columns | sliced))


def _context(data: Dataset, history: Ragged, config: EvaluationConfig) -> Context:
    try:
        return context_of(data, history, category=config.category)
    except KeyError as error:
        known = [feature.name for feature in data.card.features if feature.table == "item" and feature.cardinality]
        raise DataError(
            f"{data.path}: has no categorical item feature {config.category!r}, only {', '.join(known) or 'none'}"
        ) from error


def _estimates(
    columns: Mapping[str, Float64], evaluated: NDArray[np.bool_], config: EvaluationConfig
) -> dict[str, Estimate]:
    """Mean and interval of each column that has a value."""
    return {
        name: Estimate(mean=mean, low=low, high=high, definition=_definition(name))
        for name, mean, low, high, _ in _with_intervals(columns, evaluated, config)
    }


def _slice_estimates(
    columns: Mapping[str, Float64], evaluated: NDArray[np.bool_], config: EvaluationConfig
) -> tuple[SliceEstimate, ...]:
    """The same of each column that `slices.columns` made."""
    found = []
    for name, mean, low, high, n in _with_intervals(columns, evaluated, config):
        metric, slicing, group = slices.parse(name)
        found.append(SliceEstimate(metric=metric, slicing=slicing, group=group, n=n, mean=mean, low=low, high=high))
    return tuple(found)


def _with_intervals(
    columns: Mapping[str, Float64], evaluated: NDArray[np.bool_], config: EvaluationConfig
) -> list[tuple[str, float, float, float, int]]:
    """(name, mean, low, high, number of queries with a value) of each column that has a value."""
    known = {name: column[evaluated] for name, column in columns.items()}
    known = {name: column for name, column in known.items() if not np.isnan(column).all()}
    if not known:
        return []
    values = np.stack(list(known.values()), axis=1)
    drawn = Resampling(len(values), len(known), resamples=config.resamples, seed=config.seed)
    drawn.add(values)
    low, high = interval(drawn.means(), level=config.level)
    means, present = drawn.mean(), drawn.present
    return [(name, means[i], low[i], high[i], int(present[i])) for i, name in enumerate(known)]


def _naming_the_feature(name: str, estimate: Estimate, context: Context) -> Estimate:
    """A definition that speaks of categories says whose they are."""
    if not name.startswith("miscalibration"):
        return estimate
    return estimate.model_copy(update={"definition": f"{estimate.definition} Item feature: {context.category}."})


def _definition(metric: str) -> str:
    name, _, k = metric.partition("@")
    return definition_of(name, int(k))


def _view_warnings(lists: Lists, queries: Queries, view: View, data: Dataset) -> list[str]:
    """Entries that the view does not rank can never be hits there: say so where a file holds any."""
    if view == "all":
        return []
    old = found_in(lists.items, queries.history, data.n_items)
    strange = int((old if view == "novel" else ~old & (lists.items >= 0)).sum())
    place = "in" if view == "novel" else "not in"
    return [f"{strange} listed items are {place} the user's history: misses in view {view}"] if strange else []


def _depth_warnings(lists: Lists, config: EvaluationConfig) -> list[str]:
    depth = int((lists.items >= 0).any(axis=0).nonzero()[0].max(initial=-1)) + 1
    beyond = [k for k in config.k if k > depth]
    if not beyond:
        return []
    return [f"no list holds more than {depth} items: figures at {', '.join(map(str, beyond))} judge these"]


def write(directory: Path, judged: Judged) -> None:
    """Write `per_query.parquet` and `report.json` into `directory`; neither appears unless both are whole."""
    with atomic_file(directory / PER_QUERY) as table, atomic_file(directory / REPORT) as report:
        pq.write_table(judged.per_query, table, compression="zstd")
        report.write_text(judged.report.model_dump_json(indent=2) + "\n", encoding="utf-8")


def remove(directory: Path) -> None:
    """Remove what `write` wrote, if there is any."""
    (directory / REPORT).unlink(missing_ok=True)
    (directory / PER_QUERY).unlink(missing_ok=True)


def read(directory: Path) -> Judged:
    """Read what `write` wrote; `ArtifactError` where it is absent, damaged or of another version."""
    values = read_json(directory / REPORT)
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != REPORT_FORMAT_VERSION:
        raise ArtifactError(f"{directory / REPORT}: format version {version}; evaluate anew with `falconer evaluate`")
    try:
        return Judged(Report.model_validate(values), pq.read_table(directory / PER_QUERY))
    except (ValidationError, OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{directory}: damaged report ({error}); evaluate anew with `falconer evaluate`") from error
