"""The reference engine: Polars and numpy, plain enough to be read as the definition of each
step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from falconer.pipelines import parquet
from falconer.pipelines.etl import dense
from falconer.pipelines.etl.engines import moments_of
from falconer.pipelines.etl.features import Encoding, Moments, Statistics
from falconer.pipelines.etl.gpu import GpuConfig
from falconer.pipelines.etl.operators import AnyFeature, Bucketize, Counted, Scaled
from falconer.pipelines.etl.side_by_side import blocks, side_by_side


class PolarsEngine:
    """Fits and applies in memory."""

    name = "polars"

    def fit(self, frame: pl.DataFrame, features: Mapping[str, AnyFeature]) -> Statistics:
        """As in `Engine`."""

        def of(name: str) -> pl.DataFrame | Moments | None:
            config = features[name]
            if isinstance(config, Counted):
                return _counts(frame[name])
            if isinstance(config, Scaled) and config.normalize:
                return _moments(_transformed(frame[name], config))
            return None

        found = dict(zip(features, side_by_side(of, features), strict=True))
        return Statistics(
            counts={name: one for name, one in found.items() if isinstance(one, pl.DataFrame)},
            moments={name: one for name, one in found.items() if isinstance(one, Moments)},
        )

    def apply(self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]) -> pl.DataFrame:
        """As in `Engine`."""

        def of(name: str) -> pl.Series:
            return _encoded(frame[name], encodings[name]).alias(name)

        return pl.DataFrame(side_by_side(of, encodings))


def _counts(column: pl.Series) -> pl.DataFrame:
    found = dense.counts(column)
    if found is not None:
        return found
    counts = column.drop_nulls().alias("value").value_counts(name="frequency")
    return counts.cast({"frequency": pl.Int64})


def _transformed(column: pl.Series, config: Scaled) -> pl.Series:
    column = column.fill_null(config.fill)
    if config.clip is not None:
        column = column.clip(*config.clip)
    return column.log1p() if config.log else column


def _moments(column: pl.Series) -> Moments:
    # numpy sums pairwise in one fixed order: the same bytes whatever the number of threads.
    values = column.to_numpy()
    n = len(values)
    if n == 0:
        return Moments(0, 0.0, 0.0)
    mean = float(values.mean())
    squares = math.fsum(np.square(values[rows] - mean).sum() for rows in blocks(n))
    return moments_of(n, mean, math.sqrt(squares / max(n - 1, 1)))


def _encoded(column: pl.Series, encoding: Encoding) -> pl.Series:
    config = encoding.config
    if isinstance(config, Bucketize):
        place = np.searchsorted(
            config.boundaries, column.fill_null(0.0).to_numpy(), side="right"
        ).astype(np.int32)
        return pl.Series(np.where(column.is_null().to_numpy(), np.int32(-1), place))
    if isinstance(config, Scaled):
        return _scaled(_transformed(column, config), encoding.moments)
    return _ids(column, encoding.values)


def _scaled(column: pl.Series, moments: Moments | None) -> pl.Series:
    """Float32, of what was computed in 64 bits."""
    if moments is None:
        return column.cast(pl.Float32)
    values = column.to_numpy()
    scaled = np.empty(len(values), np.float32)
    with np.errstate(over="ignore"):
        for part in blocks(len(values)):
            scaled[part] = (values[part] - moments.mean) / (moments.std or 1.0)
    return pl.Series(pl.from_arrow(parquet.column(scaled)))


def _ids(column: pl.Series, values: pl.Series | None) -> pl.Series:
    if values is None or values.is_empty():
        return pl.repeat(-1, len(column), dtype=pl.Int32, eager=True)
    places = dense.places(column, values)
    if places is not None:
        return places
    ids = pl.DataFrame({"value": values}).with_row_index("id").cast({"id": pl.Int32})
    found = (
        column.alias("value").to_frame().join(ids, on="value", how="left", maintain_order="left")
    )
    return found["id"].fill_null(-1)


def engine(_: GpuConfig) -> PolarsEngine:
    """The engine, which needs no GPU."""
    return PolarsEngine()
