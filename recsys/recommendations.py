"""`recommendations.parquet`: what stands between recommending and judging, ours or anybody's.

Ours has the columns user and item (the source's own ids), rank int32 from 1 and score float32. Judging takes any
parquet file with user, item, and rank or score.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.files import atomic_file
from recsys.ranking import TopK

FILE = "recommendations.parquet"
ABOUT_KEY = b"falconer"
ROWS_AT_ONCE = 2**22
LISTS_AT_ONCE = 2**15


Append = Callable[[pa.Array, TopK], None]
Rows = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]
"""query[n], item[n] (-1 unknown) and order[n], which rises from the best place to the worst."""
Places = tuple[NDArray[np.int32], NDArray[np.bool_]]


@dataclass(frozen=True)
class Lists:
    """Lists to judge, row by row beside the queries of a fold.

    items     int32[Q, k]  best first; -1 = no item there: the list is shorter, or the item is unknown to the catalogue
                           or stands higher in the same list already. Such an entry keeps its place, as a miss.
    listed    bool[Q]      whether the file has a list for the query
    warnings               what a reader of the figures must know about the file, in words
    """

    items: NDArray[np.int32]
    listed: NDArray[np.bool_]
    warnings: tuple[str, ...] = ()


@contextmanager
def writer(target: Path, *, user_type: pa.DataType, item_keys: pa.Array, about: Mapping[str, Any]) -> Iterator[Append]:
    """Yield a function (own user ids of some queries, their lists) that appends one row group to `target`.

    `item_keys` are the catalogue's own item ids; `about` (JSON values) goes into the file's metadata. The file appears
    when the block ends without an error.
    """
    schema = pa.schema(
        [("user", user_type), ("item", item_keys.type), ("rank", pa.int32()), ("score", pa.float32())],
        metadata={ABOUT_KEY: json.dumps(dict(about), sort_keys=True).encode()},
    )

    with atomic_file(target) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as file:

        def write(user_keys: pa.Array, lists: TopK) -> None:
            row, place = np.nonzero(lists.items >= 0)
            columns = [
                user_keys.take(pa.array(row)),
                item_keys.take(pa.array(lists.items[row, place])),
                pa.array((place + 1).astype(np.int32)),
                pa.array(lists.scores[row, place]),
            ]
            file.write_table(pa.table(columns, schema=schema))

        yield write


def about(path: Path) -> dict[str, Any]:
    """What `writer` was told about the file; empty for a file from elsewhere. Raises `DataError` for no parquet."""
    with _opened(path) as file:
        text = (file.schema_arrow.metadata or {}).get(ABOUT_KEY, b"{}")
        return dict(json.loads(text))


def read(path: Path, *, user_keys: pa.Array, item_keys: pa.Array, k: int) -> Lists:
    """Read the first k places of the lists of the users in `user_keys`, for the catalogue `item_keys`.

    A list is ordered by rank where the file has ranks, else by falling score; ties by item id, unknown items last.
    Unknown users, unknown items and repeated items are counted in the warnings.

    Memory: 4 bytes a place, and a part of the file, where lists stand whole in the queries' order, as ours do; the
    whole file where they do not.

    Raises `DataError` where the file is no parquet, lacks a column, has an empty id, a rank or score that is no
    number, ids of a type that cannot be the dataset's, or not one user or item of the dataset.
    """
    with _opened(path) as file:
        names = _columns(path, file.schema_arrow.names)
        for in_places in (_in_places_as_they_come, _in_places):
            users = _Matcher(path, "user", file.schema_arrow.field("user").type, user_keys)
            items = _Matcher(path, "item", file.schema_arrow.field("item").type, item_keys)
            if file.metadata.num_rows == 0:
                raise DataError(f"{path}: has no rows; recommend anew")
            parts = (
                (users.codes(table["user"], row), items.codes(table["item"], row), _order(path, table, names[2], row))
                for row, table in _tables(file, names)
            )
            found = in_places(parts, len(user_keys), k)
            if found is not None:
                break
    assert found is not None
    users.refuse_all_unknown()
    items.refuse_all_unknown()
    places, listed = found
    repeated = _blank_repeated(places)
    return Lists(places, listed, _warnings(users, items, repeated))


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; `falconer recommend RUN` writes one") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a whole parquet file ({error}); write it anew") from error


def _columns(path: Path, present: list[str]) -> tuple[str, str, str]:
    order = next((name for name in ("rank", "score") if name in present), None)
    missing = [name for name in ("user", "item") if name not in present] + ([] if order else ["rank or score"])
    if missing or order is None:
        raise DataError(
            f"{path}: has no column {', '.join(missing)}, only {', '.join(present) or 'none'}; "
            "name the columns user, item, and rank (1 is best) or score (highest is best)"
        )
    return "user", "item", order


def _tables(file: pq.ParquetFile, names: tuple[str, str, str]) -> Iterator[tuple[int, pa.Table]]:
    """The file in parts of whole row groups, each with the number of rows before it."""
    groups: list[int] = []
    before = waiting = 0
    for group in range(file.num_row_groups):
        groups.append(group)
        waiting += file.metadata.row_group(group).num_rows
        if waiting >= ROWS_AT_ONCE or (group == file.num_row_groups - 1 and waiting):
            yield before, file.read_row_groups(groups, columns=list(names))
            before, waiting, groups = before + waiting, 0, []


class _Matcher:
    """Turns one id column of the file into row numbers of the dataset's own ids, and counts what is unknown.

    Ids of the same kind are compared as they are; text against whole numbers is compared as text, which loses nothing.
    """

    def __init__(self, path: Path, name: str, given: pa.DataType, keys: pa.Array) -> None:
        self._path, self.name, self._given, self._own = path, name, given, keys
        plain = _plain_type(given)
        if plain is None:
            raise DataError(f"{path}: column {name} is {given}; ids must be text or whole numbers")
        same = plain == _plain_type(keys.type)
        self._compared: pa.DataType = plain if same else pa.string()
        self._keys = keys.cast(self._compared)
        self._all_unknown = True
        self.n_unknown = 0
        self.unknown_example: Any = None

    def codes(self, column: pa.ChunkedArray, before: int) -> NDArray[np.int32]:
        """int32[n]: the row in the dataset's ids, -1 = unknown."""
        nulls = pc.is_null(column, nan_is_null=True)
        if pc.any(nulls).as_py():
            raise DataError(
                f"{self._path}: row {before + pc.index(nulls, True).as_py()}: {self.name} is empty; remove such rows"
            )
        found = pc.index_in(self._plain(column), value_set=self._keys)
        codes = np.asarray(pc.fill_null(found, -1).to_numpy(), np.int32)
        self._count(column, codes)
        return codes

    def _plain(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        try:
            whole = column.cast(pa.int64()) if pa.types.is_floating(self._given) else column
            return whole.cast(self._compared)
        except pa.ArrowInvalid as error:
            raise DataError(f"{self._path}: column {self.name}: {error}; ids must be text or whole numbers") from error

    def _count(self, column: pa.ChunkedArray, codes: NDArray[np.int32]) -> None:
        unknown = np.flatnonzero(codes < 0)
        self.n_unknown += len(unknown)
        self._all_unknown &= len(unknown) == len(codes)
        if len(unknown) and self.unknown_example is None:
            self.unknown_example = column[int(unknown[0])].as_py()

    def refuse_all_unknown(self) -> None:
        """Raise `DataError` where no row of the file has an id of the dataset."""
        if self._all_unknown:
            own = self._own[0].as_py() if len(self._own) else None
            raise DataError(
                f"{self._path}: not one {self.name} is in the dataset: the file has {self._given} such as "
                f"{self.unknown_example!r}, the dataset {self._own.type} such as {own!r}; "
                "write the ids as the dataset's source has them, or judge on the dataset that they belong to"
            )


def _plain_type(given: pa.DataType) -> pa.DataType | None:
    """string or int64, as which ids of this type are compared; None where ids cannot have it."""
    if pa.types.is_dictionary(given):
        return _plain_type(given.value_type)
    if pa.types.is_string(given) or pa.types.is_large_string(given):
        return pa.string()
    if pa.types.is_integer(given) or pa.types.is_floating(given):
        return pa.int64()
    return None


def _order(path: Path, table: pa.Table, name: str, before: int) -> NDArray[np.float64]:
    """float64[n] that rises from the best place to the worst."""
    column = table[name]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"{path}: column {name} is {column.type}; it must hold numbers")
    values = column.cast(pa.float64(), safe=False).to_numpy()
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        raise DataError(f"{path}: row {before + bad[0]}: {name} is NaN or empty; nothing can be ranked by it")
    return np.asarray(-values if name == "score" else values, np.float64)


def _in_places_as_they_come(parts: Iterable[Rows], n_queries: int, k: int) -> Places | None:
    """As `_in_places`, holding one part at a time; None where lists do not stand whole and in the queries' order."""
    places, listed = np.full((n_queries, k), -1, np.int32), np.zeros(n_queries, np.bool_)
    last = -1
    for query, item, order in parts:
        known = query >= 0
        query, item, order = query[known], item[known], order[known]
        if not len(query):
            continue
        if query[0] <= last or not _ordered(query, order):
            return None
        _put(places, query, item)
        listed[query] = True
        last = int(query[-1])
    return places, listed


def _ordered(query: NDArray[np.int32], order: NDArray[np.float64]) -> bool:
    """Whether rows stand in the queries' order, each list from its best place on, without ties."""
    step = np.diff(query)
    return bool(((step > 0) | ((step == 0) & (np.diff(order) > 0))).all())


def _put(places: NDArray[np.int32], query: NDArray[np.int32], item: NDArray[np.int32]) -> None:
    """Put ordered rows into the places of their lists, as many as there are."""
    first = np.flatnonzero(np.diff(query, prepend=-1))
    place = np.arange(len(query)) - np.repeat(first, np.diff(first, append=len(query)))
    there = place < places.shape[1]
    places[query[there], place[there]] = item[there]


def _in_places(parts: Iterable[Rows], n_queries: int, k: int) -> Places:
    """int32[n_queries, k] items at their places, -1 elsewhere; bool[n_queries] which query has any row."""
    query, item, order = (np.concatenate(column) for column in zip(*parts, strict=True))
    known = query >= 0
    if not known.all():
        query, item, order = query[known], item[known], order[known]
    if not _ordered(query, order):
        unknown_last = np.where(item < 0, np.iinfo(np.int32).max, item)
        sorting = np.lexsort((unknown_last, order, query))
        query, item = query[sorting], item[sorting]
    places, listed = np.full((n_queries, k), -1, np.int32), np.zeros(n_queries, np.bool_)
    _put(places, query, item)
    listed[query] = True
    return places, listed


def _blank_repeated(items: NDArray[np.int32]) -> int:
    """Set every item that stands higher in its own list already to -1, in place; how many there were."""
    count = 0
    for start in range(0, len(items), LISTS_AT_ONCE):
        part = items[start : start + LISTS_AT_ONCE]
        sorting = np.argsort(part, axis=1, kind="stable")
        ordered = np.take_along_axis(part, sorting, axis=1)
        row, place = np.nonzero((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0))
        part[row, sorting[row, place + 1]] = -1
        count += len(row)
    return count


def _warnings(users: _Matcher, items: _Matcher, repeated: int) -> tuple[str, ...]:
    lines = [
        f"rows of {ids.name}s that are not {place}: {ids.n_unknown} (such as {ids.unknown_example!r}); {effect}"
        for ids, place, effect in (
            (users, "asked about in this fold", "left out"),
            (items, "in the catalogue", "each keeps its place as a miss"),
        )
        if ids.n_unknown
    ]
    if repeated:
        lines.append(f"items that stand in a list already: {repeated}; the best place counts, the others are misses")
    return tuple(lines)
