"""The dataset directory's writer, and the handle that everyone upstairs reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from falconer.pipelines import files, parquet
from falconer.pipelines.data import layers
from falconer.pipelines.data.queries import Logged, Pairs, Queries, Ragged, Truth
from falconer.pipelines.data.schema import (
    FORMAT_VERSION,
    FORMER_TASK,
    LAYERED_VERSION,
    LOGGED,
    DatasetCard,
    Feature,
    Fold,
    column_of,
    name_of,
)
from falconer.pipelines.data.table_files import TableFile
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import identity_of, read_json, sha256_of, write_json

CARD = "dataset.json"


class Dataset:
    """A complete dataset directory, read lazily; each file's checksum is verified when it is first
    read."""

    def __init__(self, path: Path, card: DatasetCard) -> None:
        self.path = path
        self.card = card

    def __repr__(self) -> str:
        card = self.card
        return (
            f"Dataset {card.name}: {card.n_users:,} users, {card.n_items:,} items, for {card.task}"
        )

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Open `path`; raises `ArtifactError` where it is no dataset, or one of another format
        version."""
        if not (path / CARD).is_file():
            raise ArtifactError(
                f"{path}: not a dataset directory (no {CARD}); `falconer etl RECIPE` writes one"
            )
        values = read_json(path / CARD)
        version = values.get("format_version") if isinstance(values, dict) else None
        if version not in (FORMAT_VERSION, LAYERED_VERSION):
            raise ArtifactError(
                f"{path / CARD}: format version {version}, this release reads {FORMAT_VERSION} and "
                f"{LAYERED_VERSION}; rebuild it with `falconer etl`"
            )
        if values.get("task") == FORMER_TASK:
            raise ArtifactError(
                f"{path / CARD}: built by an older release, which called the task labels "
                f"{FORMER_TASK}; rebuild it with `falconer etl RECIPE`"
            )
        try:
            return cls(path, DatasetCard.model_validate(values))
        except ValidationError as error:
            raise ArtifactError(
                f"{path / CARD}: damaged: {error.error_count()} wrong values; rebuild it"
            ) from error

    @property
    def n_users(self) -> int:
        """Number of users in the vocabulary."""
        return self.card.n_users

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue."""
        return self.card.n_items

    @cached_property
    def train(self) -> pa.Table:
        """The train events by (time, ordinal): user int32, item int32, ordinal int64 and what else
        there is."""
        return pa.concat_tables([self.table(name) for name in self._train_names()])

    def train_files(self) -> list[Path]:
        """The files of the train events in their order, each checked, for readers that take a part
        at a time."""
        return [self._checked(name) for name in self._train_names()]

    def _train_names(self) -> list[str]:
        names = sorted(name for name in self.card.content if name.startswith("train/"))
        if not names:
            raise ArtifactError(
                f"{self.path / CARD}: damaged: it names no train file; run `falconer etl`"
            )
        return names

    def train_column(self, name: str) -> NDArray[Any]:
        """One column of the train events as an array: ours of that name (`schema`), else the event
        feature's; `ArtifactError` where there is neither."""
        names = self.train.column_names
        found = [column for column in (name, column_of(name)) if column in names]
        if not found:
            raise ArtifactError(
                f"{self.path}: train has no column {name!r}, only {', '.join(map(name_of, names))}"
            )
        return cast(NDArray[Any], self.train.column(found[0]).to_numpy())

    @cached_property
    def users(self) -> pa.Table:
        """User table: id, key, label, encoded features; row i is user id i."""
        return self.table("users.parquet")

    @cached_property
    def items(self) -> pa.Table:
        """Item table: id, key, label, encoded features; row i is item id i."""
        return self.table("items.parquet")

    @property
    def content_id(self) -> str:
        """A hash of what its files hold, whatever recipe and path they came from."""
        return identity_of(self.card.content)

    def has_fold(self, fold: Fold) -> bool:
        """Whether the split has this fold."""
        return any(self.has_table(f"{part}/{fold}.parquet") for part in ("queries", "pairs"))

    def queries(self, fold: Fold) -> Queries:
        """The fold's queries, with the encoded features of their users beside them (-1 or NaN where
        neither train nor the source's table of users has the user)."""
        return self._queries_of(self._fold_table("queries", fold))

    def query_blocks(self, fold: Fold, size: int) -> Iterator[tuple[pa.Array, Queries]]:
        """Keys and queries as `query_keys` and `queries` give them, `size` at a time, in bounded
        memory."""
        return map(self._keys_and_queries, self._fold_blocks("queries", fold, size))

    def query_blocks_of(self, path: Path, size: int) -> Iterator[tuple[pa.Array, Queries]]:
        """As `query_blocks`, of any file with the columns of `query_columns`."""
        return map(self._keys_and_queries, _blocks(path, size))

    def _keys_and_queries(self, table: pa.Table) -> tuple[pa.Array, Queries]:
        return table.column("user_key").combine_chunks(), self._queries_of(table)

    def n_queries(self, fold: Fold) -> int:
        """Number of the fold's queries."""
        if (file := self._fold_file("queries", fold)) is not None:
            return int(pq.read_metadata(file).num_rows)
        return int(self._fold_table("queries", fold).num_rows)

    def queries_id(self, fold: Fold) -> str:
        """A hash of what the fold's queries hold."""
        name = self._fold_name("queries", fold)
        if name in self.card.content:
            return self.card.content[name]
        return identity_of(layers.files_of(self.card.content, name))

    def query_key_type(self, fold: Fold) -> pa.DataType:
        """Type of what `query_keys` gives."""
        file = self._fold_file("queries", fold)
        schema = self._fold_table("queries", fold).schema if file is None else pq.read_schema(file)
        return schema.field("user_key").type

    def _queries_of(self, table: pa.Table) -> Queries:
        user = table.column("user").to_numpy().astype(np.int32, copy=False)
        names = set(table.column_names)
        return Queries(
            user=user,
            history=_ragged(table, "history", np.int32),
            history_times=_ragged(table, "history_times", np.int64)
            if "history_times" in names
            else None,
            time=table.column("time").to_numpy() if "time" in names else None,
            features=self._features_of(table, user),
            candidates=_ragged(table, "candidates", np.int32) if "candidates" in names else None,
        )

    def query_keys(self, fold: Fold) -> pa.Array:
        """The source's own user id of each query, unique within the fold."""
        file = self._fold_file("queries", fold)
        table = (
            self._fold_table("queries", fold)
            if file is None
            else parquet.read(file, ["user_key"], memory_map=True)
        )
        return table.column("user_key").combine_chunks()

    def truth(self, fold: Fold) -> Truth:
        """What happened after each query, row by row beside `queries(fold)`."""
        return _truth_of(self._fold_table("truth", fold))

    def truth_blocks(self, fold: Fold, size: int) -> Iterator[Truth]:
        """Truths as `truth` gives them, `size` at a time, in bounded memory: beside
        `query_blocks`."""
        return map(_truth_of, self._fold_blocks("truth", fold, size))

    def logged(self, fold: Fold) -> Logged | None:
        """What another recommender showed in the fold's window; None where that was not logged."""
        if fold != "test" or LOGGED not in self.card.content:
            return None
        table = self.table(LOGGED)
        query, *others = (
            table.column(name).to_numpy() for name in ("query", "item", "reward", "propensity")
        )
        return Logged(query.astype(np.int64), *others)

    def pairs(self, fold: Fold) -> Pairs:
        """The fold's rows of the task `labels`, a query each (see `Pairs`); -1 where a source has
        no users or items."""
        table = self._fold_table("pairs", fold)
        n = table.num_rows
        user = _ids_or_unknown(table, "user")
        queries = Queries(
            user=user,
            history=Ragged(np.zeros(n + 1, np.int64), np.empty(0, np.int32)),
            time=table.column("time").to_numpy() if "time" in table.column_names else None,
            features=self._features_of(table, user),
        )
        item = _ids_or_unknown(table, "item")
        features = self._features_of(table, item, ("item",))
        return Pairs(queries, np.arange(n, dtype=np.int64), item, features)

    def labels(self, fold: Fold) -> NDArray[np.float32]:
        """float32[P]: the label of each row of `pairs(fold)`; 0 or 1 where the target is binary."""
        return cast(
            NDArray[np.float32], self._fold_table("labels", fold).column("label").to_numpy()
        )

    def pair_ordinals(self, fold: Fold) -> NDArray[np.int64]:
        """int64[P]: the source's row number of each row of `pairs(fold)`, by which predictions name
        it."""
        return cast(NDArray[np.int64], self._fold_table("pairs", fold).column("ordinal").to_numpy())

    def pair_users(self, fold: Fold) -> pa.Array | None:
        """The source's own user id of each row of `pairs(fold)`; None where the source has no
        users."""
        table = self._fold_table("pairs", fold)
        return (
            table.column("user_key").combine_chunks() if "user_key" in table.column_names else None
        )

    def table(self, name: str) -> pa.Table:
        """Any table of the directory, with its changes where it has some (`layers`);
        `ArtifactError` where it is absent or a checksum differs."""
        if layers.base_of(name) in self.card.content:
            return layers.read(self.card.content, name, self._file_table)
        return self._file_table(name)

    def _file_table(self, name: str) -> pa.Table:
        return parquet.read(self._checked(name), memory_map=True)

    def has_table(self, name: str) -> bool:
        """Whether the directory has that table."""
        return layers.holds(self.card.content, name)

    def check(self, name: str) -> None:
        """Raise `ArtifactError` where a file is absent or its checksum differs."""
        self._checked(name)

    def _checked(self, name: str) -> Path:
        path = self.path / name
        expected = self.card.content.get(name)
        if expected is None or not path.is_file():
            raise ArtifactError(f"{path}: missing from the dataset; rebuild it with `falconer etl`")
        if sha256_of(path) != expected:
            raise ArtifactError(
                f"{path}: damaged (its checksum is not the one in {CARD}); rebuild it with "
                "`falconer etl`"
            )
        return path

    def verify(self) -> None:
        """Check every file against its checksum; raises `ArtifactError` for the first that
        differs."""
        for name, expected in self.card.content.items():
            path = self.path / name
            if not path.is_file() or sha256_of(path) != expected:
                raise ArtifactError(
                    f"{path}: missing or damaged; rebuild the dataset with `falconer etl`"
                )

    def _fold_table(self, part: str, fold: Fold) -> pa.Table:
        return self.table(self._fold_name(part, fold))

    def _fold_blocks(self, part: str, fold: Fold, size: int) -> Iterator[pa.Table]:
        """Of a table with changes, which is small enough for memory, slices."""
        if (file := self._fold_file(part, fold)) is not None:
            yield from _blocks(file, size)
            return
        table = self._fold_table(part, fold)
        for start in range(0, table.num_rows, size):
            yield table.slice(start, size)

    def _fold_file(self, part: str, fold: Fold) -> Path | None:
        """The table's file; None where it has changes."""
        name = self._fold_name(part, fold)
        return self._checked(name) if name in self.card.content else None

    def _fold_name(self, part: str, fold: Fold) -> str:
        if not self.has_fold(fold):
            raise ArtifactError(
                f"{self.path}: the split {self.card.split.protocol!r} has no fold {fold!r}"
            )
        if not self.has_table(name := f"{part}/{fold}.parquet"):
            raise ArtifactError(
                f"{self.path}: a dataset of the task {self.card.task} has no {part}"
            )
        return name

    def _features_of(
        self, table: pa.Table, ids: NDArray[np.int32], of: Sequence[str] = ("user", "event")
    ) -> dict[str, NDArray[Any]]:
        """The features of users and of the context, or of items, beside the rows of `table`, which
        are of these ids."""
        columns = {
            f.name: self._feature_of(f, table, ids) for f in self.card.features if f.table in of
        }
        return {name: column for name, column in columns.items() if column is not None}

    def _feature_of(
        self, feature: Feature, rows: pa.Table, ids: NDArray[np.int32]
    ) -> NDArray[Any] | None:
        if feature.column in rows.column_names:
            return cast(NDArray[Any], rows.column(feature.column).to_numpy())
        if feature.table == "event":
            return None
        entities = self.users if feature.table == "user" else self.items
        values = entities.column(feature.column).to_numpy()
        unknown = (
            values.dtype.type(-1)
            if np.issubdtype(values.dtype, np.integer)
            else values.dtype.type(np.nan)
        )
        return np.where(ids >= 0, values[ids.clip(0)] if len(values) else unknown, unknown)


def _blocks(path: Path, size: int) -> Iterator[pa.Table]:
    """A file, `size` rows at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=size, use_threads=False):
            yield pa.Table.from_batches([batch])


def _ids_or_unknown(table: pa.Table, name: str) -> NDArray[np.int32]:
    if name not in table.column_names:
        return np.full(table.num_rows, -1, dtype=np.int32)
    return cast(NDArray[np.int32], table.column(name).to_numpy())


def _truth_of(table: pa.Table) -> Truth:
    return Truth(_ragged(table, "items", np.int32), table.column("n_outside").to_numpy())


def _ragged(table: pa.Table, name: str, dtype: type[np.generic]) -> Ragged:
    column = table.column(name).combine_chunks()
    offsets = column.offsets.to_numpy().astype(np.int64)
    values = column.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
    return Ragged(offsets - offsets[0], values.astype(dtype, copy=False))


def write_table(
    root: Path, name: str, table: pa.Table | Mapping[str, Any], *, nulls: bool = True
) -> None:
    """Write one parquet file below `root`, with bytes that depend on the content only; `nulls` as
    in `TableFile`."""
    if not isinstance(table, pa.Table):
        table = pa.table(
            {
                column: parquet.column(values) if isinstance(values, np.ndarray) else values
                for column, values in table.items()
            }
        )
    with TableFile(root, name, nulls=nulls) as file:
        file.add(table)


def checksums(root: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Relative path -> sha256 of every file of a dataset but its card, sorted by path; `known` ones
    are not read again."""
    known = known or {}
    found = files.checksums(root, leave_out=(CARD, *known))
    return dict(sorted({**found, **known}.items()))


def write_card(root: Path, card: DatasetCard) -> None:
    """Write `dataset.json`: the last file of a dataset directory."""
    write_json(root / CARD, card.model_dump(mode="json"))
