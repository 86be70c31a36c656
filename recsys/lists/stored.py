"""Ranked lists to judge: given as an array, or kept on disk and read part by part, so that memory
does not grow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.files import scratch_folder

Int32 = NDArray[np.int32]
Rows = tuple[Int32, Int32, NDArray[np.float64]]
"""query[n], item[n] (-1 unknown) and order[n], which rises from the best place to the worst."""

QUERIES_AT_ONCE = 2**14
"""Lists that are sorted and written together."""
PLACE_BYTES = 4
_ROW = np.dtype([("query", "<i4"), ("item", "<i4"), ("order", "<f8")])


@dataclass(frozen=True)
class Lists:
    """Lists to judge, row by row beside the queries of a fold.

    items     int32[Q, k]  best first; -1 = no item there: the list is shorter, or the item is
                           unknown to the catalogue
                           or stands higher in the same list already. Such an entry keeps its place,
                           as a miss.
    listed    bool[Q]      whether there is a list for the query
    warnings               what a reader of the figures must know about the lists, in words
    """

    items: Int32
    listed: NDArray[np.bool_]
    warnings: tuple[str, ...] = ()

    def part(self, start: int, stop: int) -> Int32:
        """int32[stop - start, k]: the lists of these queries."""
        return self.items[start:stop]


@dataclass(frozen=True)
class StoredLists:
    """As `Lists`, with the items in a file without a name that goes when its block ends.

    The file holds item + 1 in 4 bytes a place: what was never written is 0, no item.
    """

    k: int
    descriptor: int
    listed: NDArray[np.bool_]
    warnings: tuple[str, ...] = ()

    def part(self, start: int, stop: int) -> Int32:
        """int32[stop - start, k]: the lists of these queries."""
        width = self.k * PLACE_BYTES
        content = os.pread(self.descriptor, (stop - start) * width, start * width)
        return np.frombuffer(content, np.int32).reshape(-1, self.k) - np.int32(1)

    def whole(self) -> Lists:
        """All of them in memory."""
        return Lists(self.part(0, len(self.listed)), self.listed, self.warnings)


class ListStore:
    """Where lists are put, some queries' after others': the content of a `StoredLists` to come."""

    def __init__(self, descriptor: int, n_queries: int, k: int) -> None:
        os.ftruncate(descriptor, 0)
        os.ftruncate(descriptor, n_queries * k * PLACE_BYTES)
        self._descriptor, self._k = descriptor, k
        self._listed = np.zeros(n_queries, np.bool_)
        self.repeated = self.tied = 0

    def put(self, query: Int32, item: Int32) -> None:
        """Put the rows of whole lists, in the queries' order and each list from its best place
        on."""
        part = query // QUERIES_AT_ONCE
        bounds = np.flatnonzero(np.diff(part, prepend=-1, append=-1))
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            self._put(query[start:stop], item[start:stop])

    def _put(self, query: Int32, item: Int32) -> None:
        first = int(query[0])
        items = np.full((int(query[-1]) + 1 - first, self._k), -1, np.int32)
        _fill(items, query - first, item)
        self.repeated += _blank_repeated(items)
        items += 1
        os.pwrite(self._descriptor, items.tobytes(), first * self._k * PLACE_BYTES)
        self._listed[query] = True

    def stored(self, warnings: tuple[str, ...]) -> StoredLists:
        """What was put."""
        return StoredLists(self._k, self._descriptor, self._listed, warnings)


@contextmanager
def nameless_file() -> Iterator[int]:
    """The descriptor of a temporary file without a name (below TMPDIR) that goes when the block
    ends."""
    with tempfile.TemporaryFile(buffering=0) as stream:
        yield stream.fileno()


def put_as_they_come(parts: Iterable[Rows], store: ListStore) -> bool:
    """Put lists that stand whole and in the queries' order; False, with some of them put, where
    they do not."""
    last = -1
    for query, item, order in parts:
        known = query >= 0
        if not known.all():
            query, item, order = query[known], item[known], order[known]
        if not len(query):
            continue
        if query[0] <= last or not _ordered(query, order):
            return False
        store.put(query, item)
        last = int(query[-1])
    return True


def put_in_any_order(parts: Iterable[Rows], store: ListStore, place_of: Int32) -> bool:
    """Put lists whose rows stand anywhere, laid aside on disk by parts of the queries and sorted
    there; always True.

    Items of equal order stand by `place_of` int32[n_items], their place among all: unknown ones
    last. Such places are counted in `store.tied`.
    """
    with scratch_folder() as folder:
        for query, item, order in parts:
            known = query >= 0
            _lay_aside(folder, query[known], item[known], order[known])
        for path in sorted(folder.iterdir()):
            laid = np.fromfile(path, _ROW)
            known = laid["item"] >= 0
            tie = np.full(len(laid), np.iinfo(np.int32).max, np.int32)
            tie[known] = place_of[laid["item"][known]]
            laid = laid[np.lexsort((tie, laid["order"], laid["query"]))]
            store.tied += _tied(laid)
            store.put(np.ascontiguousarray(laid["query"]), np.ascontiguousarray(laid["item"]))
    return True


def _tied(laid: NDArray[np.void]) -> int:
    """Rows whose order is that of the row before in the same list."""
    order = laid["order"]
    same = (np.diff(laid["query"]) == 0) & (order[1:] == order[:-1])  # infinite ones too
    return int(same.sum())


def _lay_aside(folder: Path, query: Int32, item: Int32, order: NDArray[np.float64]) -> None:
    part = query // QUERIES_AT_ONCE
    sorting = np.argsort(part, kind="stable")
    rows = np.empty(len(sorting), _ROW)
    rows["query"], rows["item"], rows["order"] = query[sorting], item[sorting], order[sorting]
    bounds = np.flatnonzero(np.diff(part[sorting], prepend=-1, append=-1))
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        with (folder / f"{part[sorting[start]]:08d}").open("ab") as stream:
            rows[start:stop].tofile(stream)


def _ordered(query: Int32, order: NDArray[np.float64]) -> bool:
    """Whether rows stand in the queries' order, each list from its best place on, without ties."""
    step = np.diff(query)
    return bool(((step > 0) | ((step == 0) & (order[1:] > order[:-1]))).all())


def _fill(places: Int32, query: Int32, item: Int32) -> None:
    """Put ordered rows into the places of their lists, as many as there are."""
    first = np.flatnonzero(np.diff(query, prepend=-1))
    place = np.arange(len(query)) - np.repeat(first, np.diff(first, append=len(query)))
    there = place < places.shape[1]
    places[query[there], place[there]] = item[there]


def _blank_repeated(items: Int32) -> int:
    """Set every item that stands higher in its own list already to -1, in place; how many there
    were."""
    ordered = np.sort(items, axis=1)
    rows = np.flatnonzero(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1))
    part = items[rows]
    sorting = np.argsort(part, axis=1, kind="stable")
    ordered = np.take_along_axis(part, sorting, axis=1)
    row, place = np.nonzero((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0))
    items[rows[row], sorting[row, place + 1]] = -1
    return len(row)
