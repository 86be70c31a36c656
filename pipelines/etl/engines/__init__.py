"""Engines compute and apply the statistics of the feature plan; the plan owns them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import polars as pl

from falconer.pipelines.etl.column_operators import ColumnOperator
from falconer.pipelines.etl.columns import flat
from falconer.pipelines.etl.features import (
    Encoding,
    Moments,
    Statistics,
    Table,
)
from falconer.pipelines.etl.gpu import USUAL, GpuConfig
from falconer.pipelines.etl.inputs import canonical, continued
from falconer.pipelines.etl.lists import in_places
from falconer.pipelines.etl.medians import asks, filled_by, median_counts, with_medians
from falconer.pipelines.etl.operators import AnyFeature, Listed, applied, encoded_names
from falconer.pipelines.extras import missing_engine

MODULES: Mapping[str, str] = {
    "nvtabular": "falconer.pipelines.etl.engines.nvtabular",
    "polars": "falconer.pipelines.etl.engines.polars",
    "polars-gpu": "falconer.pipelines.etl.engines.polars_gpu",
}

APART = ("polars", "nvtabular")
"""Engines that take features one by one as soon as all at once."""


class Engine(Protocol):
    """Frames have the types of `features.canonical`: int64, string or float64, with nulls."""

    name: str

    def fit(self, frame: pl.DataFrame, features: Mapping[str, AnyFeature]) -> Statistics:
        """Count the categories of the categorical columns (nulls apart), and take the moments of
        those to normalise."""

    def apply(self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]) -> pl.DataFrame:
        """The encoded columns, row by row beside `frame`: int32 ids, or float32."""


def engine_of(name: str, gpu: GpuConfig = USUAL) -> Engine:
    """Import an engine by name; `MissingExtraError` where its package is absent, `ConfigError`
    where it needs a GPU and none answers."""
    try:
        return completed(importlib.import_module(MODULES[name]).engine(gpu))
    except ModuleNotFoundError as error:
        raise missing_engine(name, error.name or name) from error


def groups_of(engine: Engine, features: Mapping[str, AnyFeature]) -> list[Mapping[str, AnyFeature]]:
    """The features in the groups that an engine is best given."""
    if engine.name in APART:
        return [{name: config} for name, config in features.items()]
    return [features] if features else []


def completed(engine: Engine) -> Engine:
    """The engine with all around it that is the same on every one."""
    return WithColumnOperators(WithLists(NeutralNames(engine)))


def encoded(
    rows: pl.DataFrame,
    features: Mapping[str, AnyFeature],
    table: Table,
    engine: Engine,
    encodings: Mapping[str, Encoding],
) -> pl.DataFrame:
    """The encoded features of rows of one table, beside them, by encodings that are fitted.

    Raises `DataError` where a column is missing, or holds text where whole numbers were.
    """
    return engine.apply(continued(canonical(rows, features, table), encodings), encodings)


class WithColumnOperators:
    """An engine beside which the operators work that are the same on every engine: other packages'
    and some of ours."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.name = engine, engine.name

    def fit(self, frame: pl.DataFrame, features: Mapping[str, AnyFeature]) -> Statistics:
        """As in `Engine`."""
        ours = {n: c for n, c in features.items() if not isinstance(c, ColumnOperator)}
        states = {
            name: config.fit(frame[name])
            for name, config in features.items()
            if isinstance(config, ColumnOperator)
        }
        return replace(self._engine.fit(_columns(frame, ours), ours), states=states)

    def apply(self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]) -> pl.DataFrame:
        """As in `Engine`."""
        ours = {
            n: filled(e) for n, e in encodings.items() if not isinstance(e.config, ColumnOperator)
        }
        columns = dict(self._engine.apply(_columns(frame, ours), ours).to_dict())
        for name, encoding in encodings.items():
            if isinstance(encoding.config, ColumnOperator):
                columns[name] = applied(name, encoding.config, frame[name], encoding.state)
        made = [one for name, e in encodings.items() for one in encoded_names(name, e.config)]
        return pl.DataFrame({name: columns[name] for name in made})


class WithLists:
    """An engine that is given the values of lists one below the other: a list's ids are those of
    its values."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.name = engine, engine.name

    def fit(self, frame: pl.DataFrame, features: Mapping[str, AnyFeature]) -> Statistics:
        """As in `Engine`."""
        others = {n: c for n, c in features.items() if not isinstance(c, Listed)}
        found = self._engine.fit(_columns(frame, others), others)
        counts = {
            name: self._engine.fit(flat(frame[name]).to_frame(), {name: config}).counts[name]
            for name, config in features.items()
            if isinstance(config, Listed)
        }
        return replace(found, counts={**found.counts, **counts})

    def apply(self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]) -> pl.DataFrame:
        """As in `Engine`, with a column for each place of a list."""
        others = {n: e for n, e in encodings.items() if not isinstance(e.config, Listed)}
        columns = self._engine.apply(_columns(frame, others), others).get_columns()
        for name, encoding in encodings.items():
            if isinstance(encoding.config, Listed):
                lists, names = frame[name], encoded_names(name, encoding.config)
                ids = self._engine.apply(flat(lists).to_frame(), {name: encoding})[name]
                columns += in_places(lists, ids, names)
        # By name: of a list of columns, Polars renames one that is called "".
        return pl.DataFrame({column.name: column for column in columns})


def filled(encoding: Encoding) -> Encoding:
    """With the number that stands for null, where that was learnt."""
    if not asks(encoding.config):
        return encoding
    return replace(encoding, config=filled_by(encoding.config, encoding.state))


def _columns(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """These columns, by their very names: `select` would read "*" and "^...$" as patterns."""
    return pl.DataFrame({name: frame.get_column(name) for name in names})


class NeutralNames:
    """An engine that is told f0, f1, ... for the columns' names: NVTabular makes columns of its own
    beside those that it is given (`order`, `labels`, ...), and a name may hold any character.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self.name = engine, engine.name

    def fit(self, frame: pl.DataFrame, features: Mapping[str, AnyFeature]) -> Statistics:
        """As in `Engine`."""
        names = _neutral(frame.columns)
        found = self._engine.fit(frame.rename(names), {names[n]: c for n, c in features.items()})
        own = {neutral: name for name, neutral in names.items()}
        return Statistics(
            {own[name]: counts for name, counts in found.counts.items()},
            {own[name]: moments for name, moments in found.moments.items()},
        )

    def apply(self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]) -> pl.DataFrame:
        """As in `Engine`."""
        names = _neutral(frame.columns)
        found = self._engine.apply(
            frame.rename(names), {names[name]: encoding for name, encoding in encodings.items()}
        )
        return found.rename({names[name]: name for name in encodings})


def _neutral(names: Sequence[str]) -> dict[str, str]:
    return {name: f"f{place}" for place, name in enumerate(names)}


def fitted(
    engine: Engine,
    features: Mapping[str, AnyFeature],
    pieces: Callable[[], Iterable[pl.DataFrame]],
) -> Statistics:
    """The statistics of all rows of train, which come in pieces as `Engine` wants them; they are
    not read where there is nothing to fit."""
    filled, medians = with_medians(features, (median_counts(features, one) for one in pieces()))
    parts = (engine.fit(piece, filled) for piece in pieces()) if features else ()
    return all_together(parts, filled, medians)


def all_together(
    parts: Iterable[Statistics], features: Mapping[str, AnyFeature], medians: Mapping[str, float]
) -> Statistics:
    """The statistics of all parts of a table's rows, with the medians that were taken before."""
    whole: Statistics | None = None
    for part in parts:
        whole = part if whole is None else together(whole, part, features)
    whole = whole or Statistics({}, {})
    return replace(whole, states={**whole.states, **medians})


def together(one: Statistics, other: Statistics, features: Mapping[str, AnyFeature]) -> Statistics:
    """The statistics of two parts of a table's rows."""
    counts = {
        name: pl.concat([found, other.counts[name]])
        .group_by("value")
        .agg(pl.col("frequency").sum())
        for name, found in one.counts.items()
    }
    moments = {name: _pooled(found, other.moments[name]) for name, found in one.moments.items()}
    states = {
        name: config.pooled(one.states[name], other.states[name])
        for name, config in features.items()
        if isinstance(config, ColumnOperator)
    }
    return Statistics(counts, moments, states)


def _pooled(a: Moments, b: Moments) -> Moments:
    """The moments of both samples (Chan, Golub and LeVeque 1983)."""
    if not a.n or not b.n:
        return a if a.n else b
    n, apart = a.n + b.n, b.mean - a.mean
    squares = a.std**2 * (a.n - 1) + b.std**2 * (b.n - 1) + apart**2 * a.n * b.n / n
    return moments_of(n, a.mean + apart * b.n / n, (squares / (n - 1)) ** 0.5)


def moments_of(n: int, mean: float, std: float) -> Moments:
    """Moments by the one rule for columns without spread: a standard deviation that rounding may
    have made, or that one row leaves undefined, is 0."""
    return Moments(n, mean, std if n > 1 and std > 1e-12 * abs(mean) else 0.0)
