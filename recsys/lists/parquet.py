"""`recommendations.parquet`: what stands between recommending and judging, ours or anybody's.

Ours has the columns user and item (the source's own ids), rank int32 from 1 and score float32.
Judging takes any parquet file with user, item, and rank or score.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.errors import DataError
from falconer.pipelines.exhaustion import named
from falconer.pipelines.files import atomic_file
from falconer.recsys.lists.ids import IdMatcher
from falconer.recsys.lists.ranked import TopK
from falconer.recsys.lists.stored import (
    Lists,
    ListStore,
    Rows,
    StoredLists,
    nameless_file,
    put_as_they_come,
    put_in_any_order,
)

FILE = "recommendations.parquet"
ABOUT_KEY = b"falconer"
ROWS_AT_ONCE = 2**21


Append = Callable[[pa.Array, TopK], None]


@contextmanager
def writer(
    target: Path, *, user_type: pa.DataType, item_keys: pa.Array, about: Mapping[str, Any]
) -> Iterator[Append]:
    """Yield a function (own user ids of some queries, their lists) that appends one row group to
    `target`.

    `item_keys` are the catalogue's own item ids; `about` (JSON values) goes into the file's
    metadata. The file appears when the block ends without an error.
    """
    schema = pa.schema(
        [
            ("user", user_type),
            ("item", item_keys.type),
            ("rank", pa.int32()),
            ("score", pa.float32()),
        ],
        metadata={ABOUT_KEY: json.dumps(dict(about), sort_keys=True).encode()},
    )

    with (
        atomic_file(target) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd") as file,
    ):

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
    """What `writer` was told about the file; empty for a file from elsewhere. Raises `DataError`
    for no parquet."""
    with _opened(path) as file:
        return parquet.facts_of(file.schema_arrow, ABOUT_KEY, path)


@contextmanager
def stored(
    path: Path, *, user_keys: pa.Array, item_keys: pa.Array, k: int
) -> Iterator[StoredLists]:
    """The first k places of the lists of the users in `user_keys`, for the catalogue `item_keys`,
    in bounded memory.

    A list is ordered by rank where the file has ranks, else by falling score; ties by item id,
    unknown items last. Unknown users, unknown items and repeated items are counted in the warnings.
    The lists lie in a temporary file, 4 bytes a place, until the block ends; rows of a file that is
    not in the queries' order need 16 bytes each there.

    Raises `DataError` where the file is no parquet, lacks a column, has an empty id, a rank or
    score that is no number, ids of a type that cannot be the dataset's, or not one user or item of
    the dataset.
    """
    with nameless_file() as descriptor:
        yield _stored(path, descriptor, user_keys, item_keys, k)


def read(path: Path, *, user_keys: pa.Array, item_keys: pa.Array, k: int) -> Lists:
    """As `stored`, all lists in memory."""
    with stored(path, user_keys=user_keys, item_keys=item_keys, k=k) as lists:
        return lists.whole()


def _stored(
    path: Path, descriptor: int, user_keys: pa.Array, item_keys: pa.Array, k: int
) -> StoredLists:
    store = ListStore(descriptor, len(user_keys), k)
    parts = _Parts(path, user_keys, item_keys)
    if not put_as_they_come(parts, store):
        store = ListStore(descriptor, len(user_keys), k)
        parts = _Parts(path, user_keys, item_keys)
        put_in_any_order(parts, store, _places(item_keys))
    parts.users.refuse_all_unknown()
    parts.items.refuse_all_unknown()
    pa.default_memory_pool().release_unused()  # what the parts took
    return store.stored(_warnings(parts.users, parts.items, store))


class _Parts:
    """The rows of a file, part by part, with the dataset's own numbers for users and items."""

    def __init__(self, path: Path, user_keys: pa.Array, item_keys: pa.Array) -> None:
        with _opened(path) as file:
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
        self._path, self._names = path, _columns(path, schema.names)
        self.users = IdMatcher(path, "user", schema.field("user").type, user_keys)
        self.items = IdMatcher(path, "item", schema.field("item").type, item_keys)
        if n_rows == 0:
            raise DataError(f"{path}: has no rows; recommend anew")

    def __iter__(self) -> Iterator[Rows]:
        with _opened(self._path, of_text_each_once=("user", "item")) as file:
            for row, table in _tables(file, self._names):
                users, items = (
                    self.users.codes(table["user"], row),
                    self.items.codes(table["item"], row),
                )
                yield users, items, _order(self._path, table, self._names[2], row)


@contextmanager
def _opened(path: Path, *, of_text_each_once: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """`DataError` where the file is damaged, at whatever page that shows."""
    try:
        with pq.ParquetFile(
            path, read_dictionary=list(of_text_each_once), page_checksum_verification=True
        ) as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; `falconer recommend RUN` writes one") from error
    except (pa.ArrowException, OSError) as error:
        raise named(error, path) or DataError(
            f"{path}: not a whole parquet file ({error}); write it anew"
        ) from error


def _columns(path: Path, present: list[str]) -> tuple[str, str, str]:
    order = next((name for name in ("rank", "score") if name in present), None)
    missing = [name for name in ("user", "item") if name not in present] + (
        [] if order else ["rank or score"]
    )
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
            table = file.read_row_groups(groups, columns=list(names))
            table.validate(full=True)  # a damaged file can point outside of its own values
            yield before, table
            before, waiting, groups = before + waiting, 0, []


def _order(path: Path, table: pa.Table, name: str, before: int) -> NDArray[np.float64]:
    """float64[n] that rises from the best place to the worst."""
    column = table[name]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"{path}: column {name} is {column.type}; it must hold numbers")
    values = column.cast(pa.float64(), safe=False).to_numpy()
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        raise DataError(
            f"{path}: row {before + bad[0]}: {name} is NaN or empty; nothing can be ranked by it"
        )
    return np.asarray(-values if name == "score" else values, np.float64)


def _places(item_keys: pa.Array) -> NDArray[np.int32]:
    """int32[n_items]: each item's place when they stand by the source's own id, not by ours, which
    follows popularity in train and would favour it in ties."""
    order = pc.sort_indices(item_keys).to_numpy()
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return places


def _warnings(users: IdMatcher, items: IdMatcher, store: ListStore) -> tuple[str, ...]:
    lines = [
        f"rows of {ids.name}s that are not {place}: {ids.n_unknown} (such as "
        f"{ids.unknown_example!r}); {effect}"
        for ids, place, effect in (
            (users, "asked about in this fold", "left out"),
            (items, "in the catalogue", "each keeps its place as a miss"),
        )
        if ids.n_unknown
    ]
    if store.tied:
        lines.append(
            f"places with the rank or score of the place before: {store.tied}; such items stand by "
            "the source's item id"
        )
    if store.repeated:
        lines.append(
            f"items that stand in a list already: {store.repeated}; the best place counts, the "
            "others are misses"
        )
    return tuple(lines)
