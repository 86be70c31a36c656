"""The NVTabular engine: a workflow of its operators, on pandas without a GPU and on cuDF with one.

The same code chooses by what merlin-core finds. It has not been run to its end on a GPU yet.

Guards, each against a fault seen in 23.8: null keys are replaced by a value that no vocabulary has
(Categorify gives wrong codes for nulls where the index is not 0..n-1, fails where a partition is
all null, and breaks under pandas' copy-on-write), frames are one partition with a fresh index, and
empty frames and vocabularies reach no operator.
"""

from __future__ import annotations

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

from falconer.pipelines import parquet
from falconer.pipelines.compat import importing_nvtabular, quiet
from falconer.pipelines.etl.engines import moments_of
from falconer.pipelines.etl.features import Encoding, Moments, Statistics
from falconer.pipelines.etl.gpu import GpuConfig
from falconer.pipelines.etl.operators import AnyFeature, Bucketize, Counted, Scaled
from falconer.pipelines.files import scratch_folder

with importing_nvtabular():
    import dask
    import nvtabular
    from merlin.core.compat import HAS_GPU, cudf
    from merlin.core.utils import Serial
    from merlin.io import Dataset
    from merlin.io.worker import clean_worker_cache
    from nvtabular import ops

ON_GPU = cudf is not None and bool(HAS_GPU)
ONE_AT_A_TIME = RLock()
"""Dask's configuration, the filters of warnings and merlin-core's cache are the process's own, and
a worker of a Dask cluster may have several threads."""
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
    """Fits with one workflow a table, and applies given statistics with another; `memory_limit` is
    in bytes of a GPU's memory."""

    memory_limit: int | None = None
    name: ClassVar[str] = "nvtabular"

    def fit(self, frame: pl.DataFrame, features: Mapping[str, AnyFeature]) -> Statistics:
        """As in `Engine`."""
        counted = [name for name, config in features.items() if isinstance(config, Counted)]
        scaled = {n: c for n, c in features.items() if isinstance(c, Scaled) and c.normalize}
        if frame.is_empty() or not (counted or scaled):
            nothing = {
                name: pl.DataFrame(schema={"value": frame[name].dtype, "frequency": pl.Int64})
                for name in counted
            }
            return Statistics(nothing, dict.fromkeys(scaled, Moments(0, 0.0, 0.0)))
        stages = {name: (ops.Normalize(), ops.Normalize()) for name in scaled}
        with self._workplace() as scratch:
            nodes = [
                _transformed(name, config) >> stages[name][0] >> stages[name][1]
                for name, config in scaled.items()
            ]
            nodes += [counted >> ops.Categorify(out_path=str(scratch))] if counted else []
            nvtabular.Workflow(_joined(nodes)).fit(
                _dataset(_to_device(frame.select(*counted, *scaled)))
            )
            return Statistics(
                counts={name: _counts(scratch, name, frame[name].dtype) for name in counted},
                moments={name: _moments(name, len(frame), *stages[name]) for name in scaled},
            )

    def apply(self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]) -> pl.DataFrame:
        """As in `Engine`."""
        possible = {
            n: e for n, e in encodings.items() if len(frame) and (e.values is None or len(e.values))
        }
        encoded = self._apply(frame.select(possible.keys()), possible) if possible else {}
        unknown = pl.repeat(-1, len(frame), eager=True)
        return pl.DataFrame(
            {
                name: encoded.get(name, unknown).cast(
                    pl.Float32 if encoding.cardinality is None else pl.Int32
                )
                for name, encoding in encodings.items()
            }
        )

    def _apply(
        self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]
    ) -> dict[str, pl.Series]:
        with self._workplace() as scratch:
            workflow = nvtabular.Workflow(
                _joined([_node(name, e, scratch) for name, e in encodings.items()])
            )
            table = _to_device(frame)
            workflow.fit_schema(_dataset(table.head(1)).schema)
            encoded = workflow.transform(table)
            return {
                name: _from_device(encoded[name]) - _first_id(e) for name, e in encodings.items()
            }

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        """A folder for the operators' files, gone afterwards as is merlin-core's cache of them;
        known warnings silent.

        All within runs in this thread: on a worker of a Dask cluster merlin-core would give its
        tasks to that cluster, and wait for them in the thread that they need.
        """
        if ON_GPU:
            choose_spilling(self.memory_limit)
        with (
            ONE_AT_A_TIME,
            scratch_folder() as scratch,
            quiet(),
            Serial(),
            dask.config.set(scheduler="synchronous"),
        ):
            try:
                yield scratch
            finally:
                with suppress(KeyError):  # a worker's cache may be there without that of categories
                    clean_worker_cache("cats")


def _transformed(name: str, config: Scaled) -> Any:
    node = [name] >> ops.FillMissing(config.fill)
    if config.clip is not None:
        node = node >> ops.Clip(*config.clip)
    return node >> LogOp64() if config.log else node


def _moments(name: str, n: int, first: Any, second: Any) -> Moments:
    """Of the two fits the second, taken on what the first centred and scaled, brought back to the
    column's scale.

    Normalize takes the variance as a difference of sums, which has no digits left where the mean is
    large; on a centred column it has them all.
    """
    scale = first.stds[name] if first.stds[name] > 0 else 1.0
    return moments_of(n, first.means[name] + second.means[name] * scale, second.stds[name] * scale)


def _counts(scratch: Path, name: str, dtype: pl.DataType) -> pl.DataFrame:
    """What Categorify's fit wrote: one file a column, with the value and its number of rows."""
    counts = pl.DataFrame(parquet.read(scratch / "categories" / f"unique.{name}.parquet"))
    counts = counts.select(
        value=pl.col(name).cast(dtype), frequency=pl.col(f"{name}_size").cast(pl.Int64)
    )
    return counts.filter(pl.col("value").is_not_null() & (pl.col("value") != _stand_in(dtype)))


def _node(name: str, encoding: Encoding, scratch: Path) -> Any:
    config = encoding.config
    if isinstance(config, Bucketize):
        boundaries = [BELOW_ALL, *config.boundaries]
        return [name] >> ops.FillMissing(-np.inf) >> ops.Bucketize({name: boundaries})
    if isinstance(config, Scaled):
        node = _transformed(name, config)
        return node if encoding.moments is None else node >> _normalize(name, encoding.moments)
    assert encoding.values is not None
    vocabulary = {name: _to_device(encoding.values.to_frame(name))[name]}
    return [name] >> ops.Categorify(vocabs=vocabulary, out_path=str(scratch))


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


def _from_device(column: Any) -> pl.Series:
    return pl.Series((column.to_pandas() if ON_GPU else column).to_numpy())


def _dataset(table: Any) -> Any:
    return Dataset(table, cpu=not ON_GPU)


def _joined(nodes: list[Any]) -> Any:
    joined, *others = nodes
    for node in others:
        joined = joined + node
    return joined


def engine(gpu: GpuConfig) -> NVTabularEngine:
    """The engine, on the GPU where cuDF finds one."""
    return NVTabularEngine(gpu.limit())
