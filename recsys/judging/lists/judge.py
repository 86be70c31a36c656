"""Judging lists of recommendations: their hits, the metrics of each query, and means with bootstrap
intervals.

A query's relevant items depend on the view: `all` of its truth, `repeat` = truth that is in its
history, `novel` = truth that is not. A query without a relevant item in the view has no value and
is left out of the means, counted. A query without a list counts with its misses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator

from falconer.pipelines.config import Config
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged, Truth
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.errors import ArtifactError, DataError
from falconer.pipelines.files import atomic_file, read_json, write_text
from falconer.pipelines.statistics.bootstrap import Resampling, interval
from falconer.pipelines.statistics.differences import Estimate
from falconer.recsys.contracts import Ranked
from falconer.recsys.judging import slices
from falconer.recsys.judging.lists.per_query import Judged, PerQuery, per_query_writer
from falconer.recsys.judging.reports import REPORT_FORMAT_VERSION, Report, SliceEstimate
from falconer.recsys.judging.slices import Slicing
from falconer.recsys.lists.stored import Lists, StoredLists
from falconer.recsys.metrics import definition_of, known_metrics
from falconer.recsys.metrics.accuracy import ndcg
from falconer.recsys.metrics.compute import chosen_metrics, exposures, of_all_lists, per_query
from falconer.recsys.metrics.context import Context, context_of, groups_by
from falconer.recsys.metrics.exposure import Exposure

Float64 = NDArray[np.float64]

REPORT = "report.json"
PER_QUERY = "per_query.parquet"
QUERIES_AT_ONCE = 2**14
"""Queries that are read and judged together. No value depends on it but popularity_lift, in its
last digits."""
BITMAP_BYTES = 4 * 2**20
"""What the table of (query, item) of one block of queries takes while hits are looked up: it should
stay in a cache."""


class EvaluationConfig(Config):
    """Where the lists are cut, which metrics are computed, and how intervals are made.

    `metrics` holds names without a cut-off; none given: the usual ones. `category` is the item
    feature that miscalibration looks at; None: the dataset's first.
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


def relevant(queries: Queries, truth: Truth, view: View, n_items: int) -> Ragged:
    """The relevant items of each query in the view."""
    if view == "all":
        return truth.items
    in_history = np.isin(_pairs(truth.items, n_items), _pairs(queries.history, n_items))
    kept = in_history if view == "repeat" else ~in_history
    lengths = np.bincount(truth.items.rows[kept], minlength=len(truth))
    return Ragged(
        np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), truth.items.values[kept]
    )


def has_relevant(data: Dataset, fold: Fold, view: View) -> bool:
    """Whether any query of the fold has a relevant item in the view."""
    return any(
        len(relevant(queries, truth, view, data.n_items).values)
        for _, queries, truth in _queries_and_truths(data, fold)
    )


def _queries_and_truths(data: Dataset, fold: Fold) -> Iterator[tuple[pa.Array, Queries, Truth]]:
    """Keys, queries and truths of some queries after others."""
    blocks = zip(
        data.query_blocks(fold, QUERIES_AT_ONCE),
        data.truth_blocks(fold, QUERIES_AT_ONCE),
        strict=True,
    )
    return ((keys, queries, truth) for (keys, queries), truth in blocks)


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
        np.take(
            table, places, out=found[start : start + step], mode="clip"
        )  # the mode that needs no copy of `out`
        table[marked] = False
    return found


def judge(
    lists: Lists | StoredLists,
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
    table: Path | None = None,
) -> Judged:
    """Judge `lists` (row by row beside the fold's queries) on the fold's truth in one view, and in
    each slice.

    Queries, truths and lists are read block by block, and the values of each query are written into
    the file `table` (None: into memory), from which means and intervals are made: memory grows by
    some 100 bytes a query only.

    `warnings` are those about the dataset and the run; what the lists give reason for is added.
    `reads` is how often the test fold was judged on, and for how many different lists.
    Raises `DataError` where no query has a relevant item in the view.
    """
    context = _context(data, config)
    names = chosen_metrics(config.metrics, context)
    blocks = _blocks(lists, data, fold, view, _with_groups(context, names, data, fold))
    sink = table or pa.BufferOutputStream()
    seen = _write_rows(sink, blocks, names, slicings, config)
    if not seen.n_evaluated:
        raise DataError(
            f"{data.path}: no query of fold {fold} has a relevant item in view {view!r}; choose "
            "another"
        )
    found = PerQuery(sink if isinstance(sink, Path) else sink.getvalue())
    metrics, sliced = _estimates(found, seen.n_evaluated, config)
    metrics |= {
        name: Estimate(mean=value, definition=_definition(name))
        for name, value in of_all_lists(seen.shown, names).items()
    }
    report = Report(
        label=label,
        run=run,
        model=model,
        dataset_name=data.card.name,
        dataset_id=data.card.dataset_id,
        fold=fold,
        view=view,
        k=config.k,
        n_queries=seen.n_queries,
        n_evaluated=seen.n_evaluated,
        n_without_list=seen.n_without_list,
        n_relevant=seen.n_relevant,
        n_outside=seen.n_outside,
        metrics={
            name: _naming_the_feature(name, estimate, context) for name, estimate in metrics.items()
        },
        slices=sliced,
        level=config.level,
        resamples=config.resamples,
        seed=config.seed,
        test_reads=reads[0] if reads else None,
        test_lists=reads[1] if reads else None,
        cost=dict(cost or {}),
        warnings=(*warnings, *lists.warnings, *seen.warnings(view, config)),
    )
    return Judged(report, found)


def _write_rows(
    sink: Path | pa.BufferOutputStream,
    blocks: Iterable[_Block],
    names: Sequence[str],
    slicings: Sequence[Slicing],
    config: EvaluationConfig,
) -> _Seen:
    """Write the values of each query, and count over all of them."""
    seen, sliced_metric = _Seen(), slices.sliced_metric(config.k)
    with per_query_writer(sink) as write_block:
        for block in blocks:
            columns = per_query(block.ranked, block.context, names, config.k)
            sliced = slices.columns(
                sliced_metric, ndcg, block.ranked, block.relevant, slicings, first=block.first
            )
            write_block(
                {"user_key": block.keys, "n_relevant": block.ranked.n_relevant} | columns | sliced
            )
            seen.add(block, exposures(block.ranked, block.context, names, config.k))
    return seen


@dataclass(frozen=True)
class _Block:
    """Some queries of the fold, from row `first` on, with their lists."""

    first: int
    keys: pa.Array
    relevant: Ragged
    n_outside: NDArray[np.int64]
    listed: NDArray[np.bool_]
    ranked: Ranked
    context: Context
    strange: int
    """Listed items that the view does not rank."""


def _blocks(
    lists: Lists | StoredLists, data: Dataset, fold: Fold, view: View, context: Context
) -> Iterator[_Block]:
    """The whole fold, block by block; `context` has the groups of all queries."""
    first = 0
    for keys, queries, truth in _queries_and_truths(data, fold):
        rows = slice(first, first + len(queries))
        items = lists.part(rows.start, rows.stop)
        in_view = relevant(queries, truth, view, data.n_items)
        yield _Block(
            first=first,
            keys=keys,
            relevant=in_view,
            n_outside=truth.n_outside,
            listed=lists.listed[rows],
            ranked=Ranked(items, found_in(items, in_view, data.n_items), in_view.lengths),
            context=context.of(
                queries.history, None if context.groups is None else context.groups[rows]
            ),
            strange=_strange(items, queries, view, data.n_items),
        )
        first = rows.stop


def _strange(items: NDArray[np.int32], queries: Queries, view: View, n_items: int) -> int:
    """Number of entries that the view does not rank: they can never be hits there."""
    if view == "all":
        return 0
    old = found_in(items, queries.history, n_items)
    return int((old if view == "novel" else ~old & (items >= 0)).sum())


class _Seen:
    """Counts and sums over the blocks so far."""

    def __init__(self) -> None:
        self.n_queries = self.n_evaluated = self.n_without_list = self.n_relevant = (
            self.n_outside
        ) = 0
        self.shown: dict[int, Exposure] = {}
        self._strange = self._depth = 0

    def add(self, block: _Block, shown: Mapping[int, Exposure]) -> None:
        """Take in one block and what its lists show at each cut-off."""
        evaluated = block.ranked.n_relevant > 0
        self.n_queries += len(evaluated)
        self.n_evaluated += int(evaluated.sum())
        self.n_without_list += int((evaluated & ~block.listed).sum())
        self.n_relevant += int(block.ranked.n_relevant.sum())
        self.n_outside += int(block.n_outside.sum())
        self.shown = {
            k: self.shown[k] + one if k in self.shown else one for k, one in shown.items()
        }
        self._strange += block.strange
        used = (block.ranked.items >= 0).any(axis=0).nonzero()[0]
        self._depth = max(self._depth, int(used.max(initial=-1)) + 1)

    def warnings(self, view: View, config: EvaluationConfig) -> list[str]:
        """What the lists as a whole give reason for."""
        place = "in" if view == "novel" else "not in"
        found = []
        if self._strange:
            found.append(
                f"{self._strange} listed items are {place} the user's history: misses in view "
                f"{view}"
            )
        beyond = [k for k in config.k if k > self._depth]
        if beyond:
            cut_offs = ", ".join(map(str, beyond))
            found.append(
                f"no list holds more than {self._depth} items: figures at {cut_offs} judge these"
            )
        return found


def _context(data: Dataset, config: EvaluationConfig) -> Context:
    """What is known of the items; of no query yet."""
    try:
        return context_of(data, Ragged.of([]), category=config.category)
    except KeyError as error:
        known = [
            feature.name
            for feature in data.card.features
            if feature.table == "item" and feature.cardinality
        ]
        raise DataError(
            f"{data.path}: has no categorical item feature {config.category!r}, only "
            f"{', '.join(known) or 'none'}"
        ) from error


def _with_groups(context: Context, names: Sequence[str], data: Dataset, fold: Fold) -> Context:
    """The context with the groups of all queries, where a metric needs them."""
    if not any(name.startswith("popularity_lift") for name in names):
        return context
    blocks = data.query_blocks(fold, QUERIES_AT_ONCE)
    shares = [np.empty(0), *(context.of(queries.history).popular_share for _, queries in blocks)]
    return context.of(context.history, groups_by(np.concatenate(shares)))


def _estimates(
    found: PerQuery, n_evaluated: int, config: EvaluationConfig
) -> tuple[dict[str, Estimate], tuple[SliceEstimate, ...]]:
    """Mean and interval of each column that has a value: of metrics, and of metrics in a group."""
    drawn = Resampling(n_evaluated, len(found.values), resamples=config.resamples, seed=config.seed)
    for values in found.blocks(found.values):
        drawn.add(values)
    low, high = interval(drawn.means(), level=config.level)
    means, present = drawn.mean(), drawn.present
    metrics, sliced = {}, []
    for i, name in enumerate(found.values):
        if not present[i]:
            continue
        if not slices.is_slice(name):
            metrics[name] = Estimate(
                mean=means[i], low=low[i], high=high[i], definition=_definition(name)
            )
            continue
        metric, slicing, group = slices.parse(name)
        estimate = SliceEstimate(
            metric=metric,
            slicing=slicing,
            group=group,
            n=int(present[i]),
            mean=means[i],
            low=low[i],
            high=high[i],
        )
        sliced.append(estimate)
    return metrics, tuple(sliced)


def _naming_the_feature(name: str, estimate: Estimate, context: Context) -> Estimate:
    """A definition that speaks of categories says whose they are."""
    if not name.startswith("miscalibration"):
        return estimate
    return estimate.model_copy(
        update={"definition": f"{estimate.definition} Item feature: {context.category}."}
    )


def _definition(metric: str) -> str:
    name, _, k = metric.partition("@")
    return definition_of(name, int(k))


def write(directory: Path, judged: Judged) -> None:
    """Write `per_query.parquet` and `report.json` into `directory`."""
    with place(directory) as table:
        pq.write_table(judged.per_query.table(), table, compression="zstd")
        write_report(directory, judged.report)


@contextmanager
def place(directory: Path) -> Iterator[Path]:
    """Where `judge` may write the table of `directory`: it appears when the block, which writes the
    report, ends."""
    with atomic_file(directory / PER_QUERY) as table:
        yield table


def write_report(directory: Path, report: Report) -> None:
    """Write `report.json` into `directory`."""
    write_text(directory / REPORT, report.model_dump_json(indent=2) + "\n")


def remove(directory: Path) -> None:
    """Remove what `write` wrote, if there is any."""
    (directory / REPORT).unlink(missing_ok=True)
    (directory / PER_QUERY).unlink(missing_ok=True)


def read(directory: Path) -> Judged:
    """Read what `write` wrote; `ArtifactError` where it is absent, damaged or of another
    version."""
    values = read_json(directory / REPORT)
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != REPORT_FORMAT_VERSION:
        raise ArtifactError(
            f"{directory / REPORT}: format version {version}; evaluate anew with `falconer "
            "evaluate`"
        )
    try:
        return Judged(Report.model_validate(values), PerQuery(directory / PER_QUERY))
    except (ValidationError, OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(
            f"{directory}: damaged report ({error}); evaluate anew with `falconer evaluate`"
        ) from error
