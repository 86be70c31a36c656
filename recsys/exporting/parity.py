"""Whether a graph answers as the model that it was made of: both are asked queries of a dataset,
and edge cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs, Queries, Ragged
from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.exporting.parity import Parity, blocks_of, parity_of
from falconer.recsys.backends.torch.graphs import Form, Graph
from falconer.recsys.contracts import CatalogScorer
from falconer.recsys.exporting.inputs import Arrays, as_known_by_id, inputs_of

ITEMS_A_QUERY = 5
"""Items, drawn at random, with which a query is asked as pairs."""
EDGE_CASES = 16
"""Queries that are also asked as if the user were unknown, the history empty, or both."""
EXAMPLE_ROWS = 3
FOLDS: tuple[Fold, ...] = ("test", "valid")

Float32 = NDArray[np.float32]


class Questions:
    """Rows to ask a scorer and its graph alike: edge cases, and `n` queries of the dataset (in the
    task `labels`, rows), drawn with the seed.

    Raises `ArtifactError` where the dataset has none.
    """

    def __init__(
        self, scorer: Any, form: Form, graph: Graph, data: Dataset, *, n: int, seed: int
    ) -> None:
        self._scorer, self._form, self._graph = scorer, form, graph
        self._known = (
            scorer.items_known
            if isinstance(scorer, CatalogScorer)
            else np.ones(data.n_items, np.bool_)
        )
        queries, self._item = (
            self._of_rows(data, n, seed)
            if data.card.task == "labels"
            else self._of_lists(data, n, seed)
        )
        self._queries = as_known_by_id(queries, data)

    def example(self) -> Arrays:
        """The graph's inputs for a few rows with histories, to trace it with."""
        rows = np.argsort(-self._queries.history.lengths, kind="stable")[:EXAMPLE_ROWS]
        return self._inputs(self._queries.take(rows), self._item[rows])

    def compare(self, answer: Callable[[Mapping[str, NDArray[Any]]], Float32]) -> Parity:
        """`answer` gives the graph's scores for its inputs."""
        return parity_of(
            (self._expected(queries, item), answer(self._inputs(queries, item)))
            for queries, item in self._blocks()
        )

    def _blocks(self) -> Iterator[tuple[Queries, NDArray[np.int32]]]:
        for start, stop in blocks_of(len(self._queries)):
            yield self._queries.slice(start, stop), self._item[start:stop]

    def _expected(self, queries: Queries, item: NDArray[np.int32]) -> Float32:
        if self._form == "catalogue":
            scores: Float32 = self._scorer.score(queries)[:, self._known]
        else:
            scores = self._scorer.score_pairs(Pairs(queries, np.arange(len(queries)), item))
        return scores

    def _inputs(self, queries: Queries, item: NDArray[np.int32]) -> Arrays:
        return inputs_of(self._graph.inputs, queries, item, self._known)

    def _of_lists(self, data: Dataset, n: int, seed: int) -> tuple[Queries, NDArray[np.int32]]:
        random, fold = np.random.default_rng(seed), _fold(data)
        queries = replace(data.queries(fold), candidates=None)
        queries = queries.take(_some(random, len(queries), n))
        if self._form == "pairs":
            queries = queries.take(np.repeat(np.arange(len(queries)), ITEMS_A_QUERY))
        queries = with_edge_cases(queries)
        return queries, random.choice(np.flatnonzero(self._known), len(queries)).astype(np.int32)

    def _of_rows(self, data: Dataset, n: int, seed: int) -> tuple[Queries, NDArray[np.int32]]:
        pairs = data.pairs(_fold(data))
        rows = _some(np.random.default_rng(seed), len(pairs), n)
        queries, item = pairs.queries.take(pairs.query[rows]), pairs.item[rows]
        first = item[:EDGE_CASES]
        item = np.concatenate([np.full_like(first, -1), first, first, item])
        return with_edge_cases(queries), item


def _fold(data: Dataset) -> Fold:
    """A fold that has a row; nothing of its truth is read."""
    for fold in FOLDS:
        if data.has_fold(fold) and (
            len(data.pairs(fold)) if data.card.task == "labels" else data.n_queries(fold)
        ):
            return fold
    raise ArtifactError(
        f"{data.path}: has no queries to compare the graph with the model on; choose one with "
        "--data DIR"
    )


def _some(random: np.random.Generator, n: int, wanted: int) -> NDArray[np.int64]:
    return np.sort(random.permutation(n)[:wanted])


def with_edge_cases(queries: Queries) -> Queries:
    """The first queries with an empty history, as of an unknown user, and as both; then all as they
    are."""
    n = min(EDGE_CASES, len(queries))
    asked = queries.take(np.concatenate([np.tile(np.arange(n), 3), np.arange(len(queries))]))
    strange, silent = (
        np.repeat(kinds, [n, n, n, len(queries)]) for kinds in ([0, 1, 1, 0], [1, 0, 1, 0])
    )
    times = asked.history_times
    return replace(
        asked,
        user=np.where(strange, np.int32(-1), asked.user),
        history=_emptied(asked.history, silent > 0),
        history_times=None if times is None else _emptied(times, silent > 0),
    )


def _emptied(rows: Ragged, emptied: NDArray[np.bool_]) -> Ragged:
    return rows.keep(~emptied[rows.rows])
