"""The NVTabular engine: its operators, on pandas without a GPU and on cuDF with one, a column at a
time. The statistics are counted by pandas or cuDF itself, as NVTabular's fits take four times as
long.

The same code chooses by what merlin-core finds. It has not been run to its end on a GPU yet.

Guards, each against a fault seen in 23.8: null keys are replaced by a value that no vocabulary has
(Categorify gives wrong codes for nulls where the index is not 0..n-1, fails where a partition is
all null, and breaks under pandas' copy-on-write), frames have a fresh index, and empty frames and
vocabularies reach no operator.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from falconer.pipelines.compat import importing_nvtabular, quiet
from falconer.pipelines.etl.engines import moments_of
from falconer.pipelines.etl.features import Encoding, Moments, Statistics
from falconer.pipelines.etl.gpu import GpuConfig
from falconer.pipelines.etl.operators import AnyFeature, Bucketize, Counted, Scaled
from falconer.pipelines.files import scratch_folder

with importing_nvtabular():
    from merlin.core.compat import HAS_GPU, cudf
    from merlin.io.worker import clean_worker_cache
    from nvtabular import ops

ON_GPU = cudf is not None and bool(HAS_GPU)
ONE_AT_A_TIME = RLock()
"""The filters of warnings and merlin-core's cache are the process's own, and features may come from
several threads."""
NO_INTEGER = -(2**63)
NO_TEXT = "\0null"
"""Stand for null in keys: a key that has this very value counts as null."""
FIRST_VALUE = 3
"""Categorify keeps 0 for padding, 1 for null and 2 for unseen values."""
BELOW_ALL = -np.finfo(np.float64).max
"""A boundary that only the value standing for null, minus infinity, is below."""


class LogOp64(ops.LogOp):  # type: ignore[misc]
    """ln(1 + x) in float64: NVTabular's own rounds to float32 before it adds 1, and loses small
    values."""

    @property
    def output_dtype(self) -> type[np.float64]:
        """The type that the operator computes in."""
        return np.float64


@dataclass(frozen=True)
class NVTabularEngine:
    """Counts and takes moments in pandas or cuDF, and applies given statistics by NVTabular's
    operators; `memory_limit` is in bytes of a GPU's memory."""

    memory_limit: int | None = None
    name: ClassVar[str] = "nvtabular"

    def fit(self, frame: pl.DataFrame, features: Mapping[str, AnyFeature]) -> Statistics:
        """As in `Engine`."""
        counted = [name for name, config in features.items() if isinstance(config, Counted)]
        scaled = {n: c for n, c in features.items() if isinstance(c, Scaled) and c.normalize}
        if frame.is_empty():
            nothing = {
                name: pl.DataFrame(schema={"value": frame[name].dtype, "frequency": pl.Int64})
                for name in counted
            }
            return Statistics(nothing, dict.fromkeys(scaled, Moments(0, 0.0, 0.0)))
        with self._workplace():
            return Statistics(
                counts={name: _counts(frame[name]) for name in counted},
                moments={
                    name: _moments(_through(_transforming(config), frame[name]))
                    for name, config in scaled.items()
                },
            )

    def apply(self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]) -> pl.DataFrame:
        """As in `Engine`."""
        with self._workplace() as scratch:
            return pl.DataFrame(
                {name: _encoded(frame[name], one, scratch) for name, one in encodings.items()}
            )

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        """A folder for the operators' files, gone afterwards as is merlin-core's cache of them;
        known warnings silent."""
        if ON_GPU:
            choose_spilling(self.memory_limit)
        with ONE_AT_A_TIME, scratch_folder() as scratch, quiet():
            try:
                yield scratch
            finally:
                with suppress(KeyError):  # a worker's cache may be there without that of categories
                    clean_worker_cache("cats")


def _counts(column: pl.Series) -> pl.DataFrame:
    name, missing = column.name, _stand_in(column.dtype)
    counted = _to_device(column.to_frame())[name].value_counts(sort=False)
    found = counted.to_pandas() if ON_GPU else counted
    values = pl.Series(found.index.to_numpy(), dtype=column.dtype)
    counts = pl.DataFrame(
        {"value": values, "frequency": pl.Series(found.to_numpy(), dtype=pl.Int64)}
    )
    return counts.filter(pl.col("value") != missing)


def _moments(values: Any) -> Moments:
    """Of what is left after the mean is taken away, as of a difference of large sums no digit would
    be."""
    n, mean = len(values), float(values.mean())
    apart = values - mean
    rest = float(apart.mean())
    squares = float((apart * apart).sum()) - n * rest**2
    return moments_of(n, mean + rest, math.sqrt(max(squares, 0.0) / max(n - 1, 1)))


def _encoded(column: pl.Series, encoding: Encoding, scratch: Path) -> pl.Series:
    kind = pl.Float32 if encoding.cardinality is None else pl.Int32
    if column.is_empty() or (encoding.values is not None and encoding.values.is_empty()):
        return pl.repeat(-1, len(column), dtype=kind, eager=True)
    found = _through(_operators(column.name, encoding, scratch), column)
    host = pl.Series((found.to_pandas() if ON_GPU else found).to_numpy())
    return (host - _first_id(encoding)).cast(kind)


def _through(operators: list[Any], column: pl.Series) -> Any:
    """The column as it leaves the operators. They are called one after the other, as a workflow
    copies its table at every node and runs all of it once more to learn the types."""
    table = _to_device(column.to_frame())
    for operator in operators:
        table = operator.transform(ops.ColumnSelector([column.name]), table)
    return table[column.name]


def _transforming(config: Scaled) -> list[Any]:
    clip = [] if config.clip is None else [ops.Clip(*config.clip)]
    return [ops.FillMissing(config.fill), *clip, *([LogOp64()] if config.log else [])]


def _operators(name: str, encoding: Encoding, scratch: Path) -> list[Any]:
    config = encoding.config
    if isinstance(config, Bucketize):
        boundaries = [BELOW_ALL, *config.boundaries]
        return [ops.FillMissing(-np.inf), ops.Bucketize({name: boundaries})]
    if isinstance(config, Scaled):
        scaling = [] if encoding.moments is None else [_normalize(name, encoding.moments)]
        return [*_transforming(config), *scaling]
    assert encoding.values is not None
    vocabulary = {name: _to_device(encoding.values.to_frame(name))[name]}
    return [ops.Categorify(vocabs=vocabulary, out_path=str(scratch))]


def _normalize(name: str, moments: Moments) -> Any:
    operator = ops.Normalize()
    operator.means, operator.stds = {name: moments.mean}, {name: moments.std}
    return operator


def _first_id(encoding: Encoding) -> int:
    """What the operator calls our id 0."""
    if isinstance(encoding.config, Counted):
        return FIRST_VALUE
    return 1 if isinstance(encoding.config, Bucketize) else 0


def _stand_in(dtype: pl.DataType) -> int | str:
    return NO_TEXT if dtype == pl.String else NO_INTEGER


def _to_device(frame: pl.DataFrame) -> Any:
    """A pandas or cuDF frame with index 0..n-1, and a value for null in every key column."""
    keys = [name for name, dtype in frame.schema.items() if not dtype.is_float()]
    filled = frame.with_columns(
        pl.col(name).fill_null(_stand_in(frame.schema[name])) for name in keys
    )
    return cudf.DataFrame.from_arrow(as_arrow(filled)) if ON_GPU else filled.to_pandas()


def as_arrow(frame: pl.DataFrame) -> pa.Table:
    """With texts of 32-bit offsets, which every release of cuDF takes."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    small = [
        field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(small))


@cache
def choose_spilling(memory_limit: int | None) -> None:
    """Once in a process, before it has tables on the GPU: from `memory_limit` bytes on (else where
    memory runs out) cuDF moves those that are not in use to the machine's memory."""
    cudf.set_option("spill", val=True)
    if memory_limit is not None:
        cudf.set_option("spill_device_limit", memory_limit)


def engine(gpu: GpuConfig) -> NVTabularEngine:
    """The engine, on the GPU where cuDF finds one."""
    return NVTabularEngine(gpu.limit())
