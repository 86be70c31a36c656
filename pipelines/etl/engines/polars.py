"""The reference engine: Polars and numpy, plain enough to be read as the definition of each
step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from falconer.pipelines.etl import dense
from falconer.pipelines.etl.engines import moments_of
from falconer.pipelines.etl.features import Encoding, Moments, Statistics
from falconer.pipelines.etl.gpu import GpuConfig
from falconer.pipelines.etl.operators import AnyFeature, Bucketize, Counted, Scaled


class PolarsEngine:
    """Fits and applies in memory."""

    name = "polars"

    def fit(self, frame: pl.DataFrame, features: Mapping[str, AnyFeature]) -> Statistics:
        """As in `Engine`."""
        return Statistics(
            counts={
                name: _counts(frame[name]) for name, c in features.items() if isinstance(c, Counted)
            },
            moments={
                name: _moments(_transformed(frame[name], c))
                for name, c in features.items()
                if isinstance(c, Scaled) and c.normalize
            },
        )

    def apply(self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]) -> pl.DataFrame:
        """As in `Engine`."""
        return pl.DataFrame(
            [_encoded(frame[name], encoding).alias(name) for name, encoding in encodings.items()]
        )


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
    if len(values) == 0:
        return Moments(0, 0.0, 0.0)
    return moments_of(
        len(values), float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    )


def _encoded(column: pl.Series, encoding: Encoding) -> pl.Series:
    config = encoding.config
    if isinstance(config, Bucketize):
        place = np.searchsorted(
            config.boundaries, column.fill_null(0.0).to_numpy(), side="right"
        ).astype(np.int32)
        return pl.Series(np.where(column.is_null().to_numpy(), np.int32(-1), place))
    if isinstance(config, Scaled):
        return _scaled(_transformed(column, config), encoding.moments).cast(pl.Float32)
    return _ids(column, encoding.values)


def _scaled(column: pl.Series, moments: Moments | None) -> pl.Series:
    return column if moments is None else (column - moments.mean) / (moments.std or 1.0)


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
