"""Judging lists of recommendations: their hits, the metrics of each query, and means with bootstrap
intervals.

A query's relevant items depend on the view: `all` of its truth, `repeat` = truth that is in its
history, `novel` = truth that is not. A query without a relevant item in the view has no value and
is left out of the means, counted. Relevant items outside the catalogue are left out too, or count
as misses where `EvaluationConfig.outside` says so. A query without a list counts with its misses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines.console import progress
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.errors import DataError
from falconer.pipelines.statistics import bounded
from falconer.pipelines.statistics.bootstrap import Resampling, interval
from falconer.pipelines.statistics.differences import Estimate
from falconer.recsys.judging import slices
from falconer.recsys.judging.config import EvaluationConfig, Outside
from falconer.recsys.judging.lists.off_policy import off_policy
from falconer.recsys.judging.lists.per_query import (
    JudgedLists,
    PerQuery,
    PerQueryWriter,
    per_query_writer,
)
from falconer.recsys.judging.lists.relevance import (
    QUERIES_AT_ONCE,
    found_in,
    queries_and_truths,
    relevant,
)
from falconer.recsys.judging.reports import ListsReport, OffPolicy, SliceEstimate
from falconer.recsys.judging.slices import Slicing
from falconer.recsys.judging.stored import read_report, refuse_another_table, reports_in
from falconer.recsys.judging.subject import Subject
from falconer.recsys.lists.stored import Lists, StoredLists
from falconer.recsys.metrics import bounds_of, definition_of
from falconer.recsys.metrics.accuracy import ndcg
from falconer.recsys.metrics.compute import chosen_metrics, exposures, of_all_lists, per_query
from falconer.recsys.metrics.context import Context, context_of, groups_by
from falconer.recsys.metrics.exposure import Exposure
from falconer.recsys.metrics.ranked import Ranked

Float64 = NDArray[np.float64]

PER_QUERY = "per_query.parquet"
OUTSIDE: Mapping[Outside, str] = {
    "left_out": "items outside the catalogue are left out",
    "misses": "items outside the catalogue count as misses",
}


@dataclass(frozen=True)
class Scope:
    """On what lists are judged: one view of a fold's queries, and groups of them."""

    fold: Fold
    view: View
    slicings: tuple[Slicing, ...] = ()
    outside_counts: bool = False
    """Whether relevant items outside the catalogue count, as misses."""


def judge(
    lists: Lists | StoredLists,
    data: Dataset,
    scope: Scope,
    subject: Subject,
    config: EvaluationConfig,
    *,
    table: Path | None = None,
) -> JudgedLists:
    """Judge `lists` (row by row beside the fold's queries) on the fold's truth in one view, and in
    each slice.

    Queries, truths and lists are read block by block, and the values of each query are written into
    the file `table` (None: into memory), from which means and intervals are made: memory grows by
    some 100 bytes a query only. What the lists give reason to warn of is added to the subject's
    warnings. Raises `DataError` where no query has a relevant item in the view.
    """
    context = _context(data, config)
    names = chosen_metrics(config.metrics, context)
    scope = replace(scope, outside_counts=config.outside == "misses" and scope.view != "repeat")
    blocks = _blocks(lists, data, scope, _with_groups(context, names, data, scope.fold))
    sink = table or pa.BufferOutputStream()
    with per_query_writer(sink, answers=subject.answers) as write_block:
        seen = _write_rows(write_block, blocks, names, scope.slicings, config)
    if not seen.n_evaluated:
        raise DataError(
            f"{data.path}: no query of fold {scope.fold} has a relevant item in view "
            f"{scope.view!r}; choose another"
        )
    found = PerQuery(sink if isinstance(sink, Path) else sink.getvalue())
    metrics, sliced = _estimates(found, seen.n_evaluated, config)
    metrics |= {
        name: Estimate(mean=value, definition=_definition(name))
        for name, value in of_all_lists(seen.shown, names).items()
    }
    metrics = {name: _defined(name, one, context, scope) for name, one in metrics.items()}
    values = _Values(seen, metrics, sliced, off_policy(lists, data, scope.fold, config))
    report = _report(values, data, scope, subject, config)
    warnings = (*report.warnings, *lists.warnings, *values.warnings(scope.view, config))
    return JudgedLists(report.model_copy(update={"warnings": warnings}), found)


@dataclass(frozen=True)
class _Values:
    """What was found of the lists."""

    seen: _Seen
    metrics: Mapping[str, Estimate]
    slices: tuple[SliceEstimate, ...]
    off_policy: OffPolicy | None

    def warnings(self, view: View, config: EvaluationConfig) -> tuple[str, ...]:
        """What the figures give reason for."""
        earned = self.off_policy.warnings if self.off_policy else ()
        return (*self.seen.warnings(view, config), *earned)


def _report(
    values: _Values, data: Dataset, scope: Scope, subject: Subject, config: EvaluationConfig
) -> ListsReport:
    """The values, with whose they are and how they were made."""
    seen = values.seen
    return ListsReport(
        label=subject.label,
        run=subject.run,
        model=subject.model,
        dataset_name=data.card.name,
        dataset_id=data.card.dataset_id,
        content=data.content_id,
        fold=scope.fold,
        view=scope.view,
        k=config.k,
        n_queries=seen.n_queries,
        n_evaluated=seen.n_evaluated,
        n_without_list=seen.n_without_list,
        n_relevant=seen.n_relevant,
        n_outside=seen.n_outside,
        metrics=dict(values.metrics),
        slices=values.slices,
        level=config.level,
        resamples=config.resamples,
        seed=config.seed,
        test_reads=subject.reads.times if subject.reads else None,
        test_lists=subject.reads.lists if subject.reads else None,
        cost=dict(subject.cost),
        answers=subject.answers,
        knobs=subject.knobs,
        by_popularity=subject.by_popularity,
        protocol={**data.card.split.facts, "outside": OUTSIDE[config.outside], **subject.protocol},
        off_policy=values.off_policy,
        warnings=subject.warnings,
    )


def _write_rows(
    write_block: PerQueryWriter,
    blocks: Iterable[_Block],
    names: Sequence[str],
    slicings: Sequence[Slicing],
    config: EvaluationConfig,
) -> _Seen:
    """Write the values of each query, and count over all of them."""
    seen, sliced_metric = _Seen(), slices.sliced_metric(config.k)
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
    lists: Lists | StoredLists, data: Dataset, scope: Scope, context: Context
) -> Iterator[_Block]:
    """The whole fold, block by block; `context` has the groups of all queries."""
    first = 0
    n_queries = data.n_queries(scope.fold)
    parts = progress(
        queries_and_truths(data, scope.fold),
        label=f"judging {n_queries:,} queries, view {scope.view}",
        total=-(-n_queries // QUERIES_AT_ONCE),
        shorter="one --view, fewer metrics and cut-offs take less",
    )
    for keys, queries, truth in parts:
        rows = slice(first, first + len(queries))
        items = lists.part(rows.start, rows.stop)
        in_view = relevant(queries, truth, scope.view, data.n_items)
        yield _Block(
            first=first,
            keys=keys,
            relevant=in_view,
            n_outside=truth.n_outside,
            listed=lists.listed[rows],
            ranked=Ranked(
                items,
                found_in(items, in_view, data.n_items),
                in_view.lengths + (truth.n_outside if scope.outside_counts else 0),
            ),
            context=context.of(
                queries.history, None if context.groups is None else context.groups[rows]
            ),
            strange=_strange(items, queries, scope.view, data.n_items),
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
    """Mean and interval of each column that has a value: of metrics, and of ndcg in a group."""
    drawn = Resampling(n_evaluated, len(found.values), resamples=config.resamples, seed=config.seed)
    for values in found.blocks(found.values):
        drawn.add(values)
    low, high = interval(drawn.means(), level=config.level)
    means, present = drawn.mean(), drawn.present
    metrics, sliced = {}, []
    for i, name in enumerate(found.values):
        if not present[i]:
            continue
        metric, slicing, group = slices.parse(name)
        mean, n, ends = float(means[i]), int(present[i]), (float(low[i]), float(high[i]))
        if bounded.too_few(mean, n) and bounds_of(metric.partition("@")[0]) == (0, 1):
            ends = bounded.share_interval(mean, n, level=config.level)
        if not slicing:
            metrics[name] = Estimate(
                mean=mean, low=ends[0], high=ends[1], definition=_definition(name)
            )
            continue
        sliced.append(
            SliceEstimate(
                metric=metric,
                slicing=slicing,
                group=group,
                n=n,
                mean=mean,
                low=ends[0],
                high=ends[1],
            )
        )
    return metrics, tuple(sliced)


def _defined(name: str, estimate: Estimate, context: Context, scope: Scope) -> Estimate:
    """A definition that speaks of categories says whose they are; and one of relevant items, which
    count."""
    text = estimate.definition
    if name.startswith("miscalibration"):
        text = f"{text} Item feature: {context.category}."
    if scope.outside_counts:
        text = text.replace("in the catalogue and the view", "in the view, in the catalogue or not")
    return estimate.model_copy(update={"definition": text})


def _definition(metric: str) -> str:
    name, _, k = metric.partition("@")
    return definition_of(name, int(k))


def write(directory: Path, judged: JudgedLists) -> None:
    """Write `per_query.parquet` and `report.json` into `directory`."""
    with reports_in(directory, PER_QUERY) as place:
        pq.write_table(
            judged.per_query.table(), place.table, compression="zstd", write_page_checksum=True
        )
        place.put(judged.report)


def read(directory: Path) -> JudgedLists:
    """Read what `write` wrote; `ArtifactError` where it is absent, damaged or of another version,
    and where the table belongs to another report."""
    report = read_report(directory, ListsReport)
    values = PerQuery(directory / PER_QUERY)
    refuse_another_table(directory, report, values.answers)
    return JudgedLists(report, values)
