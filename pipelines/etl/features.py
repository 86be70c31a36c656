"""The feature plan: which columns become features and how, and the fitted statistics, which are
ours.

An engine counts and applies (`falconer.pipelines.etl.engines`); the plan orders, keeps and stores
what was counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import polars as pl
import polars.selectors as cs
from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from falconer.pipelines.config import Config
from falconer.pipelines.data.dataset import Dataset, write_table
from falconer.pipelines.data.schema import Feature, table_file, vocabulary_file
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.etl.column_operators import ColumnOperator, TimePart
from falconer.pipelines.etl.grouped_operators import GroupOperator, TargetEncoding
from falconer.pipelines.etl.operators import (
    AnyFeature,
    Bucketize,
    Counted,
    DifferenceLag,
    FeatureConfig,
    Listed,
    OfLists,
    columns_of,
    encoded_names,
    numbers_of,
)
from falconer.pipelines.etl.raw import feature_column
from falconer.pipelines.files import identity_of, read_json, write_json

Table = Literal["event", "user", "item"]
TABLES: tuple[Table, ...] = ("event", "user", "item")
ENCODER = "encoder/encoder.json"


EngineName = Literal["nvtabular", "polars", "polars-gpu"]


def usual_engine() -> EngineName:
    """NVTabular where it is installed, else Polars; both give the same dataset."""
    return "polars" if find_spec("nvtabular") is None else "nvtabular"


_ADAPTER: TypeAdapter[AnyFeature] = TypeAdapter(FeatureConfig)


class FeaturesConfig(Config):
    """The features of each table by the source's column names, and the engine that computes
    them."""

    engine: EngineName = Field(default_factory=usual_engine)
    event: dict[str, FeatureConfig] = Field(default_factory=dict)
    user: dict[str, FeatureConfig] = Field(default_factory=dict)
    item: dict[str, FeatureConfig] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> FeaturesConfig:
        names = [n for _, name, c in self.each() for n in {name, *encoded_names(name, c)}]
        if any("\0" in name for name in names):
            raise ValueError("a feature's name holds a zero byte; rename the column in the source")
        twice = sorted(name for name, n in Counter(names).items() if n > 1)
        if twice:
            raise ValueError(
                f"several features, or places of a list, are called {', '.join(twice)}; give one "
                "another name, and say by `column` what it reads"
            )
        of_events = TimePart | DifferenceLag | TargetEncoding
        timed = [n for t, n, c in self.each() if isinstance(c, of_events) and t != "event"]
        if timed:
            raise ValueError(
                f"{timed[0]}: only events have a time and a label; put it under [features.event]"
            )
        return self

    def each(self) -> Iterator[tuple[Table, str, AnyFeature]]:
        """(table, name, configuration) of every feature."""
        for table in TABLES:
            for name, config in self.of(table).items():
                yield table, name, config

    def of(self, table: Table) -> Mapping[str, AnyFeature]:
        """The features of one table."""
        return {"event": self.event, "user": self.user, "item": self.item}[table]

    def columns(self, table: Table) -> list[str]:
        """The source's columns that the features of one table are made of."""
        named = (columns_of(name, config) for name, config in self.of(table).items())
        return list(dict.fromkeys(name for names in named for name in names))

    def lists(self, table: Table) -> set[str]:
        """The source's columns that hold lists; `ValueError` where another feature reads one as a
        text or number."""
        each = self.of(table).items()
        whole = [c for c in each if isinstance(c[1], OfLists) and c[1].separator is None]
        found = {column for name, config in whole for column in columns_of(name, config)}
        for name, config in each:
            mixed = found.intersection(columns_of(name, config))
            if mixed and (name, config) not in whole:
                raise ValueError(
                    f"features.{table}.{name}: {min(mixed)} holds lists for another feature; the "
                    'kinds "list" and "value_count" read these, all with a separator or none'
                )
        return found

    def numeric(self) -> dict[str, list[str]]:
        """The columns that must hold numbers, by the source's table: what the contract check is
        told."""
        return {
            f"{table}s": [
                feature_column(column)
                for name, config in self.of(table).items()
                for column in numbers_of(name, config)
            ]
            for table in TABLES
        }


@dataclass(frozen=True)
class Moments:
    """Of a continuous column after fill, clip and log, on train: number of rows, mean, and standard
    deviation (n - 1).

    A `std` of 0 stands for a constant column, which is centred and not scaled.
    """

    n: int
    mean: float
    std: float

    def rounded(self) -> tuple[str, str]:
        """Mean and standard deviation to six digits, which all engines agree on."""
        return f"{self.mean:.5e}", f"{self.std:.5e}"


@dataclass(frozen=True)
class Statistics:
    """What an engine counts: `counts` name -> frame of `value` and `frequency` int64 in any order,
    and `moments`; `states` are what operators of columns and of groups learnt, and medians."""

    counts: Mapping[str, pl.DataFrame]
    moments: Mapping[str, Moments]
    states: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoding:
    """One column's fitted encoding: `values` by id for a categorical column, `moments` for a
    normalised one."""

    config: AnyFeature
    values: pl.Series | None = None
    moments: Moments | None = None
    state: Any = None
    """What an operator of columns or of groups learnt, or the median that stands for null."""
    ancestry: tuple[str, ...] = ()
    """The hashes of the encodings that this one continues."""

    @cached_property
    def lineage(self) -> tuple[str, ...]:
        """One hash per generation, the last of this encoding itself."""
        own = identity_of(
            {
                "config": self.config.model_dump(mode="json"),
                "values": None if self.values is None else self.values.to_list(),
                "moments": None if self.moments is None else self.moments.rounded(),
                **self.learnt(),
            }
        )
        return self.ancestry if self.ancestry[-1:] == (own,) else (*self.ancestry, own)

    def learnt(self) -> dict[str, Any]:
        """The state, of a table a hash of it; none where nothing was learnt."""
        if isinstance(self.state, pl.DataFrame):
            return {"state": _rounded_hash(self.state)}
        return {} if self.state is None else {"state": self.state}

    @property
    def cardinality(self) -> int | None:
        """Number of ids; None for a continuous column."""
        if isinstance(self.config, ColumnOperator):
            return self.config.cardinality(self.state)
        if isinstance(self.config, Bucketize):
            return len(self.config.boundaries) + 1
        return None if self.values is None else len(self.values)


def _rounded_hash(table: pl.DataFrame) -> str:
    """Of numbers to six digits, which all engines agree on."""
    rounded = table.with_columns(cs.float().round_sig_figs(6))
    return identity_of({name: column.to_list() for name, column in rounded.to_dict().items()})


@dataclass(frozen=True)
class Encoder:
    """All fitted encodings, by table and name."""

    encodings: Mapping[Table, Mapping[str, Encoding]]

    def features(self) -> tuple[Feature, ...]:
        """The encoded columns, as the dataset card lists them."""
        return tuple(
            Feature(
                name=column,
                table=table,
                kind="continuous" if encoding.cardinality is None else "categorical",
                cardinality=encoding.cardinality,
                lineage=encoding.lineage,
                list=name if isinstance(encoding.config, Listed) else None,
            )
            for table, encodings in self.encodings.items()
            for name, encoding in encodings.items()
            for column in encoded_names(name, encoding.config)
        )

    def identity(self) -> str:
        """A hash of the names and configurations, and of the categories with their ids."""
        return identity_of(
            {
                f"{table}.{name}": [
                    encoding.config.model_dump(mode="json"),
                    None if encoding.values is None else encoding.values.to_list(),
                    *encoding.learnt().values(),
                ]
                for table, encodings in self.encodings.items()
                for name, encoding in encodings.items()
            }
        )

    def save(self, root: Path) -> None:
        """Write `encoder/encoder.json`, `encoder/vocab-<feature>.parquet` and, of what is a table,
        `encoder/table-<feature>.parquet` below `root`."""
        described: dict[str, dict[str, Any]] = {table: {} for table in self.encodings}
        for table, encodings in self.encodings.items():
            for name, encoding in encodings.items():
                described[table][name] = {
                    "config": encoding.config.model_dump(mode="json"),
                    "moments": vars(encoding.moments) if encoding.moments else None,
                    **encoding.learnt(),
                }
                if isinstance(encoding.state, pl.DataFrame):
                    learnt = encoding.state.to_arrow(compat_level=pl.CompatLevel.oldest())
                    write_table(root, table_file(name), learnt)
                if encoding.values is not None:
                    vocabulary = pl.DataFrame({"value": encoding.values}).with_row_index("id")
                    write_table(
                        root, vocabulary_file(name), vocabulary.cast({"id": pl.Int32}).to_arrow()
                    )
        (root / ENCODER).parent.mkdir(exist_ok=True)
        write_json(root / ENCODER, described)

    @classmethod
    def of_dataset(cls, data: Dataset) -> Encoder:
        """The encoder that a dataset was made with."""
        described = read_json(data.path / ENCODER)
        return cls(
            {
                table: {
                    name: _encoding_of(data, name, values)
                    for name, values in described[table].items()
                }
                for table in TABLES
            }
        )


def _encoding_of(data: Dataset, name: str, described: Mapping[str, Any]) -> Encoding:
    ancestry = next(one.lineage for one in data.card.features if name in (one.list, one.name))
    try:
        config = _ADAPTER.validate_python(described["config"])
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ConfigError(f"{data.path}: feature {name} cannot be read: {reason}") from error
    values = (
        pl.DataFrame(data.table(vocabulary_file(name)))["value"]
        if isinstance(config, Counted)
        else None
    )
    return Encoding(
        config,
        values,
        Moments(**described["moments"]) if described["moments"] else None,
        pl.DataFrame(data.table(table_file(name)))
        if isinstance(config, GroupOperator)
        else described.get("state"),
        ancestry,
    )


def fit(
    statistics: Statistics,
    features: Mapping[str, AnyFeature],
    parent: Mapping[str, Encoding],
) -> dict[str, Encoding]:
    """The encodings of one table from what the engine counted on train.

    A feature that `parent` has keeps its statistics, and its categories their ids; new categories
    are appended. Raises `ConfigError` where such a feature is configured otherwise than in the
    parent.
    """
    for name in features.keys() & parent.keys():
        if features[name] != parent[name].config:
            raise ConfigError(
                f"feature {name}: the dataset that this one extends has {parent[name].config!r}; "
                "keep that, or "
                "leave out `extends` to open a new lineage"
            )
    return {
        name: _fit(name, config, statistics, parent.get(name)) for name, config in features.items()
    }


def _fit(
    name: str, config: AnyFeature, statistics: Statistics, parent: Encoding | None
) -> Encoding:
    if isinstance(config, Counted):
        values = _ordered(statistics.counts[name], config, parent)
        return Encoding(config, values, ancestry=parent.ancestry if parent else ())
    if parent is not None:
        return parent
    return Encoding(config, moments=statistics.moments.get(name), state=statistics.states.get(name))


def _ordered(counts: pl.DataFrame, config: Counted, parent: Encoding | None) -> pl.Series:
    frequent = counts.filter(pl.col("frequency") >= config.min_count)
    values = frequent.sort(["frequency", "value"], descending=[True, False])["value"]
    if parent is not None and parent.values is not None and len(parent.values):
        new = values.filter(~values.is_in(parent.values.implode()))
        values = pl.concat([parent.values, new])
    return values if config.max_size is None else values.head(config.max_size)
