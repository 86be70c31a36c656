"""Anybody's parquet, CSV, TSV or JSON lines files: a recipe says which column means what.

    [source]
    kind = "files"
    events = "purchases/*.csv"                       # one path, a glob, or a list of them
    columns = { user = "customer", item = "sku", time = "bought_at", weight = "quantity" }
    time_unit = "iso"
    parts = { valid = "v.csv", test = "t.csv" }      # for the split "given": `events` is train then
    items = { path = "products.csv", key = "sku", label = "name", features = ["brand"] }

The columns that the recipe names under [features] are read too; `features` here keeps others.
Relative paths start at the working directory, as on any command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, PrivateAttr, model_validator

from falconer.pipelines.config import Config
from falconer.pipelines.data.schema import name_of
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.columns import categories
from falconer.pipelines.etl.raw import Raw, feature_column
from falconer.pipelines.etl.sources.declared import (
    Columns,
    EntityTable,
    Features,
    PartFiles,
    Paths,
    TimeUnit,
)
from falconer.pipelines.etl.sources.external import Beside, External
from falconer.pipelines.etl.sources.tables import (
    Table,
    check_file,
    expanded,
    read_table,
    table_pieces,
)

Kind = Literal["event", "user", "item"]


class Files(Config):
    """Event files, and optional tables of users and items."""

    kind: Literal["files"]
    events: Paths
    parts: PartFiles | None = None
    """For the split `given`: `events` are the train files, and these the others."""
    columns: Columns
    features: Features = ()
    time_unit: TimeUnit = "s"
    """How numbers and text in the time column are meant: s, ms, us or ns since 1970 UTC, iso for
    ISO 8601, or a strptime format such as "%d/%m/%Y %H:%M". Date-time columns of a parquet file
    need none. No zone means UTC."""
    types: dict[Literal["user", "item"], Literal["text", "integer"]] = Field(default_factory=dict)
    """What ids are, whatever they look like: a day whose ids happen to be digits is text too."""
    header: bool = True
    """Of text files; false: the first line is data, and columns are called "1", "2", ..."""
    partition: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")
    """Key of the folders that hold a day each, such as `date` for `date=2024-05-31/`; days can be
    appended then. A column that the recipe calls so is the folder's value, not the files'."""
    users: EntityTable | None = None
    items: EntityTable | None = None
    external: tuple[External, ...] = ()
    """Tables whose columns events get, by keys (of events or of a table before) and, where the
    tables have times, as was known then."""
    separator: str | None = Field(default=None, pattern=r"^([\t -~]|[!-~]{2,4})$")
    """Of text files, one character or a few such as "::"; None means comma for .csv and tab for
    .tsv, .txt, .dat and .inter."""
    quote: str = Field(default='"', pattern=r"^[!-~]?$")
    """Of text files; empty means that no character quotes."""

    _lists: Mapping[Kind, frozenset[str]] = PrivateAttr(default_factory=dict)
    """Of each table the columns that hold lists, by our names."""

    @model_validator(mode="after")
    def _quote_is_no_separator(self) -> Files:
        if self.quote and self.quote == self.separator:
            raise ValueError(f"separator and quote are both {self.quote!r}")
        return self

    @model_validator(mode="after")
    def _reads_its_keys(self) -> Files:
        """Of the events, what names rows of the external tables. (Frozen: as `EtlRecipe`.)"""
        given = [name for table in self.external for name in table.columns]
        twice = sorted({name for name in given if [*given, *self.features].count(name) > 1})
        if twice:
            raise ValueError(f"external: {twice[0]} is a column of events or named twice")
        if self.columns.time is None and any(table.time for table in self.external):
            raise ValueError("external: a table with a time needs columns.time of the events")
        there, keys = {theirs for _, theirs in self.columns}, list[str]()
        for table in self.external:
            keys += [name for name in table.on if name not in there]
            there |= set(table.columns)
        if late := sorted(set(keys).intersection(given)):
            raise ValueError(f"external: {late[0]} is a key of a table before the one that has it")
        object.__setattr__(self, "features", tuple(dict.fromkeys([*self.features, *keys])))
        return self

    @model_validator(mode="after")
    def _days_have_no_parts(self) -> Files:
        if self.partition is not None and self.parts is not None:
            raise ValueError("partition and parts do not go together: name one of them")
        return self

    @model_validator(mode="after")
    def _days_have_times(self) -> Files:
        if self.partition is not None and self.columns.time is None:
            raise ValueError(
                "partition needs columns.time, the time of an event; where the files have none, "
                f"columns.time = {self.partition!r} takes the folder's day"
            )
        return self

    @model_validator(mode="after")
    def _tables_have_a_key(self) -> Files:
        for kind, table, key in (
            ("user", self.users, self.columns.user),
            ("item", self.items, self.columns.item),
        ):
            if table is not None and key is None:
                raise ValueError(
                    f"a table of {kind}s needs columns.{kind}, so that events can name them"
                )
        return self

    def reading(
        self,
        event: Iterable[str],
        user: Iterable[str],
        item: Iterable[str],
        lists: Mapping[Kind, Iterable[str]],
    ) -> Files:
        """This source with these features too, some of which are `lists` in their table;
        `ValueError` where one is of a table that there is not."""
        users, items = (
            _with_features(self.users, "user", user),
            _with_features(self.items, "item", item),
        )
        given = {name for table in self.external for name in table.columns}
        wanted = (name for name in event if name not in given)
        features = tuple(dict.fromkeys([*self.features, *wanted]))
        source = self.model_copy(update={"features": features, "users": users, "items": items})
        source._lists = {
            table: frozenset(map(feature_column, names)) for table, names in lists.items()
        }
        return source

    def files(self) -> dict[str, Path]:
        """Name -> path of every file that `read` reads; `DataError` where one is absent or
        empty."""
        paths = [
            *self.event_paths(),
            *(expanded(one.path) for one in (self.users, self.items, *self.external) if one),
        ]
        for path in paths:
            check_file(path)
        return {path.as_posix(): path for path in paths}

    def read(self) -> Raw:
        """Read everything; values stay as they are in the files, for `contract.check` to convert or
        reject."""
        paths = self.event_paths()
        beside = self._beside()
        each = [self._joined(self._events(path), beside) for path in paths]
        events = stack(paths, each)
        users, items = self.entities()
        tables = {"events": events, "users": users, "items": items}
        return Raw(
            events=events.rows,
            users=users.rows if users else None,
            items=items.rows if items else None,
            time_unit=self.time_unit,
            files=tuple(
                (path.as_posix(), part.height) for path, part in zip(paths, each, strict=True)
            ),
            parts=self._parts([table.height for table in each]),
            malformed={
                name: table.malformed
                for name, table in tables.items()
                if table and table.malformed.height
            },
        )

    def table_pieces(
        self, path: Path, n_rows: int, row_groups: Sequence[int] | None = None
    ) -> Iterator[Table]:
        """The pieces of one event file (see `tables.table_pieces`)."""
        columns, days = self._event_columns(path)
        pieces = table_pieces(
            path,
            columns,
            n_rows,
            separator=self.separator,
            quote=self.quote,
            header=self.header,
            row_groups=row_groups,
            lists=self._lists.get("event", ()),
        )
        beside = self._beside()
        return (self._joined(_with_days(piece, days), beside) for piece in pieces)

    def _beside(self) -> list[Beside]:
        return [
            Beside.of(
                table,
                self._table("event", expanded(table.path), table.read_columns()),
                self.time_unit,
            )
            for table in self.external
        ]

    def _joined(self, events: Table, beside: Iterable[Beside]) -> Table:
        """The events with what external tables say of them."""
        ours = {theirs: ours for ours, theirs in self.columns if theirs is not None}
        rows = events.rows
        for table in beside:
            keys = [ours.get(name, feature_column(name)) for name in table.config.on]
            rows = table.joined(rows, keys)
        return Table(rows, events.malformed)

    def _events(self, path: Path) -> Table:
        columns, days = self._event_columns(path)
        return _with_days(self._table("event", path, columns), days)

    def _event_columns(self, path: Path) -> tuple[dict[str, str], dict[str, str]]:
        """Of an event file the columns to read, and the values of those that its folder tells."""
        named = {name: column for name, column in self.columns if column is not None}
        columns = {**named, **_feature_columns(self.features)}
        told = [ours for ours, theirs in columns.items() if theirs == self.partition]
        if not told:
            return columns, {}
        assert self.partition is not None
        if (found := day_of(path.as_posix(), self.partition)) is None:
            raise DataError(f"{path}: is in no folder {self.partition}=DAY")
        return {n: c for n, c in columns.items() if n not in told}, dict.fromkeys(told, found[0])

    def event_paths(self) -> list[Path]:
        """The event files in the order in which they are read."""
        by_part = self.part_paths()
        paths = [path for part in by_part.values() for path in part]
        twice = [path for path in paths if paths.count(path) > 1]
        if twice:
            parts = " and ".join(part for part, found in by_part.items() if twice[0] in found)
            raise DataError(f"{twice[0]}: is named as {parts}; an event file is of one part")
        return paths

    def part_paths(self) -> dict[str, list[Path]]:
        """Name of a `Part` -> its event files; all are train where the source tells no parts."""
        named = {"train": self.events, **(dict(self.parts) if self.parts else {})}
        return {
            part: paths_of("source.events" if part == "train" else f"source.parts.{part}", paths)
            for part, paths in named.items()
            if paths is not None
        }

    def _parts(self, heights: list[int]) -> tuple[tuple[str, int], ...]:
        """Rows by part, from those of each file."""
        if self.parts is None:
            return ()
        left = iter(heights)
        return tuple(
            (part, sum(next(left) for _ in paths)) for part, paths in self.part_paths().items()
        )

    def entities(self) -> tuple[Table | None, Table | None]:
        """The tables of users and of items."""
        return self._entities(self.users, "user"), self._entities(self.items, "item")

    def _entities(self, table: EntityTable | None, kind: Kind) -> Table | None:
        if table is None:
            return None
        label = {} if table.label is None else {"label": table.label}
        columns = {kind: table.key, **label, **_feature_columns(table.features)}
        return self._table(kind, expanded(table.path), columns)

    def _table(self, kind: Kind, path: Path, columns: dict[str, str]) -> Table:
        return read_table(
            path,
            columns,
            separator=self.separator,
            quote=self.quote,
            header=self.header,
            lists=self._lists.get(kind, ()),
        )


def day_of(path: str, partition: str) -> tuple[str, str] | None:
    """The day of a file below a folder `partition=DAY`, and the file's name below that folder."""
    parts = path.split("/")
    for place, part in enumerate(parts[:-1]):
        key, equals, value = part.partition("=")
        if equals and key == partition:
            return value, "/".join(parts[place + 1 :])
    return None


def _with_days(table: Table, days: dict[str, str]) -> Table:
    """The table with columns that hold one text each."""
    columns = [pl.lit(value, pl.String).alias(name) for name, value in days.items()]
    return Table(table.rows.with_columns(columns), table.malformed)


def paths_of(name: str, paths: Paths) -> list[Path]:
    """The files that a recipe's key `name` means, each once; `DataError` where there are none."""
    patterns = [paths] if isinstance(paths, str) else list(paths)
    found = list(dict.fromkeys(path for pattern in patterns for path in expand(pattern)))
    if not found:
        raise DataError(f"{name} names no file")
    return found


def _with_features(
    table: EntityTable | None, kind: str, names: Iterable[str]
) -> EntityTable | None:
    wanted = list(names)
    if table is None and wanted:
        raise ValueError(
            f"features.{kind}.{wanted[0]}: there is no table of {kind}s; name one as source.{kind}s"
        )
    if table is None:
        return None
    features = tuple(dict.fromkeys([*table.features, *wanted]))
    return table.model_copy(update={"features": features})


def _feature_columns(names: tuple[str, ...]) -> dict[str, str]:
    return {feature_column(name): name for name in names}


def expand(pattern: str) -> list[Path]:
    """The files that a path or glob means, sorted by name; a path that exists is never taken for a
    glob."""
    path = expanded(pattern)
    if path.exists() or not any(character in pattern for character in "*?["):
        return [path]
    start = Path(path.anchor)
    try:
        found = sorted(start.glob(str(path.relative_to(start))))
    except ValueError as error:
        raise DataError(f"{pattern}: not a usable pattern ({error})") from error
    if not found:
        raise DataError(
            f"{pattern}: no file fits (relative paths start at the working directory, {Path.cwd()})"
        )
    return found


def stack(paths: list[Path], tables: list[Table]) -> Table:
    """All event files as one, rows numbered on from file to file."""
    first = 0
    rows, malformed = [], []
    for table in tables:
        rows.append(comparable(table.rows, tables).with_columns(pl.col("ordinal") + first))
        malformed.append(table.malformed.with_columns(pl.col("row") + first))
        first += table.height
    try:
        return Table(pl.concat(rows, how="vertical_relaxed"), pl.concat(malformed))
    except pl.exceptions.PolarsError as error:
        schemas = "\n".join(
            f"  - {path}: {_types(table)}" for path, table in zip(paths, tables, strict=True)
        )
        raise DataError(
            f"the event files do not agree in their columns' types:\n{schemas}"
        ) from error


def comparable(rows: pl.DataFrame, tables: Iterable[Table]) -> pl.DataFrame:
    """Ids that are floats here and text in another file, as text of whole numbers: 1 and not
    1.0."""
    mixed = [
        kind
        for kind in ("user", "item")
        if kind in rows.columns
        and rows.schema[kind].is_float()
        and any(table.rows.schema[kind] == pl.String for table in tables)
    ]
    return rows.with_columns(categories(rows[kind]) for kind in mixed)


def _types(table: Table) -> str:
    return ", ".join(
        f"{name_of(name)} {dtype}" for name, dtype in table.rows.schema.items() if name != "ordinal"
    )
