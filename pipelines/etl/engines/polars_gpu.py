"""The reference engine's steps as plans of Polars, which cudf-polars runs on an NVIDIA GPU.

Each plan is one column's, so that a GPU holds a column and what becomes of it, and not the table.
Before a row is read every operation is tried: one that cudf-polars cannot translate is refused, or
runs on the CPU where the recipe allows it. Not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import polars as pl

from falconer.pipelines.errors import ConfigError, ExhaustedError, PipelineError
from falconer.pipelines.etl.engines import moments_of
from falconer.pipelines.etl.features import Encoding, Moments, Statistics
from falconer.pipelines.etl.gpu import GpuConfig
from falconer.pipelines.etl.operators import AnyFeature, Bucketize, Counted, Scaled

Collect = Callable[[pl.LazyFrame], pl.DataFrame]
"""Runs a plan. Raises `ComputeError` with the word NotImplementedError where it cannot."""
ELSEWHERE = 'or choose features.engine = "polars"'


@dataclass(frozen=True)
class OnGpu:
    """Runs plans on the first GPU that this process sees, and never on the CPU."""

    memory_limit: int | None
    """In bytes, of the GPU's memory."""

    def __call__(self, plan: pl.LazyFrame) -> pl.DataFrame:
        """As `Collect`."""
        return plan.collect(engine=_gpu(self.memory_limit))


@cache
def _gpu(memory_limit: int | None) -> Any:
    # The executor for tables beyond a GPU's memory would ask for streams and other libraries.
    return pl.GPUEngine(
        executor="in-memory", raise_on_fail=True, memory_resource=_pool(memory_limit)
    )


def _pool(memory_limit: int | None) -> Any:
    """Memory that the driver may move to the machine's own, up to a limit; None for the library's
    choice, which is such memory without a limit."""
    if memory_limit is None:
        return None
    from rmm import mr

    size = memory_limit // 256 * 256
    return mr.PoolMemoryResource(
        mr.ManagedMemoryResource(), initial_pool_size=size, maximum_pool_size=size
    )


@dataclass(frozen=True)
class PolarsGpuEngine:
    """Fits and applies by plans that `collect` runs; `on_cpu` are the operations that it cannot,
    with the reasons."""

    collect: Collect
    on_cpu: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """With the number of operations on the CPU, and which."""
        if not self.on_cpu:
            return "polars-gpu"
        return f"polars-gpu, on the CPU {len(self.on_cpu)} of {len(TRIALS)} operations: " + (
            ", ".join(self.on_cpu)
        )

    def fit(self, frame: pl.DataFrame, features: Mapping[str, AnyFeature]) -> Statistics:
        """As in `Engine`."""
        return Statistics(
            counts={
                name: self._counts(frame[name])
                for name, config in features.items()
                if isinstance(config, Counted)
            },
            moments={
                name: self._moments(frame[name], config)
                for name, config in features.items()
                if isinstance(config, Scaled) and config.normalize
            },
        )

    def apply(self, frame: pl.DataFrame, encodings: Mapping[str, Encoding]) -> pl.DataFrame:
        """As in `Engine`."""
        return pl.DataFrame(
            {name: self._encoded(frame[name], encoding) for name, encoding in encodings.items()}
        )

    def _counts(self, column: pl.Series) -> pl.DataFrame:
        return self._run(f"counts of {_kind(column)}", counts_plan(column))

    def _moments(self, column: pl.Series, config: Scaled) -> Moments:
        """In two passes: the second one takes the squares about the first one's mean, and mends
        that mean by what is left (the corrected two-pass algorithm of Chan, Golub and LeVeque)."""
        n = len(column)
        if n == 0:
            return Moments(0, 0.0, 0.0)
        mean = self._run("sums", sums_plan(column, config, 0.0))["sum"][0] / n
        rest, squares = self._run("sums", sums_plan(column, config, mean)).row(0)
        variance = max(squares - rest * rest / n, 0.0) / (n - 1) if n > 1 else 0.0
        return moments_of(n, mean + rest / n, variance**0.5)

    def _encoded(self, column: pl.Series, encoding: Encoding) -> pl.Series:
        config = encoding.config
        if isinstance(config, Bucketize):
            return self._run("buckets", buckets_plan(column, config)).to_series()
        if isinstance(config, Scaled):
            plan = scaled_plan(column, config, encoding.moments)
            return self._run("scaling", plan).to_series()
        if encoding.values is None or encoding.values.is_empty():
            return pl.repeat(-1, len(column), dtype=pl.Int32, eager=True)
        return self._run(f"ids of {_kind(column)}", ids_plan(column, encoding.values)).to_series()

    def _run(self, operation: str, plan: pl.LazyFrame) -> pl.DataFrame:
        if operation in self.on_cpu:
            return plan.collect()
        try:
            return self.collect(plan)
        except MemoryError as error:
            raise ExhaustedError(
                f"engine polars-gpu: the GPU's memory ran out ({operation}): {_first_line(error)}; "
                "a lower memory_limit makes smaller buckets, and other programs may hold some of it"
            ) from error
        except (pl.exceptions.ComputeError, NotImplementedError, RuntimeError) as error:
            raise PipelineError(
                f"engine polars-gpu: {operation} failed on the GPU: {_first_line(error)}; "
                f"start again, {ELSEWHERE}"
            ) from error


def counts_plan(column: pl.Series) -> pl.LazyFrame:
    """`value` and `frequency` int64 of what is not null."""
    values = column.alias("value").to_frame().lazy().drop_nulls()
    return values.group_by("value").agg(frequency=pl.len().cast(pl.Int64))


def sums_plan(column: pl.Series, config: Scaled, about: float) -> pl.LazyFrame:
    """One row: `sum` and `squares` of the transformed column less `about`."""
    apart = _transformed(config) - about
    return _lazy(column).select(sum=apart.sum(), squares=(apart * apart).sum())


def scaled_plan(column: pl.Series, config: Scaled, moments: Moments | None) -> pl.LazyFrame:
    """The transformed column, float32, scaled where there are moments."""
    value = _transformed(config)
    if moments is not None:
        value = (value - moments.mean) / (moments.std or 1.0)
    return _lazy(column).select(value.cast(pl.Float32))


def buckets_plan(column: pl.Series, config: Bucketize) -> pl.LazyFrame:
    """The number of boundaries at or below each value, int32; -1 for null."""
    boundaries = pl.lit(pl.Series(config.boundaries, dtype=pl.Float64))
    place = boundaries.search_sorted(pl.col("x").fill_null(0.0), side="right").cast(pl.Int32)
    absent = pl.lit(-1, dtype=pl.Int32)
    return _lazy(column).select(x=pl.when(pl.col("x").is_null()).then(absent).otherwise(place))


def ids_plan(column: pl.Series, values: pl.Series) -> pl.LazyFrame:
    """The place of each among `values`, int32; -1 for null and others."""
    ids = pl.DataFrame({"x": values}).with_row_index("id").cast({"id": pl.Int32}).lazy()
    found = _lazy(column).join(ids, on="x", how="left", maintain_order="left")
    return found.select(pl.col("id").fill_null(pl.lit(-1, dtype=pl.Int32)))


def _lazy(column: pl.Series) -> pl.LazyFrame:
    return column.alias("x").to_frame().lazy()


def _transformed(config: Scaled) -> pl.Expr:
    value = pl.col("x").fill_null(config.fill)
    if config.clip is not None:
        value = value.clip(*config.clip)
    return _log1p(value) if config.log else value


def _log1p(value: pl.Expr) -> pl.Expr:
    """ln(1 + x) with all digits of a small x, which cudf-polars' own loses: it takes the logarithm
    of the sum. (Theorem 4 of Goldberg, "What every computer scientist should know about
    floating-point arithmetic", 1991.)"""
    sum_ = value + 1.0
    return pl.when(sum_ == 1.0).then(value).otherwise(value * (sum_.log() / (sum_ - 1.0)))


def _kind(column: pl.Series) -> str:
    return "text" if column.dtype == pl.String else "whole numbers"


_NUMBERS, _TEXT = pl.Series([2, None, 1]), pl.Series(["b", None, "a"])
_FLOATS = pl.Series([0.5, None, 2.0])
_SCALED = Scaled(fill=0.5, clip=(0.0, 1.0), log=True)
TRIALS: Mapping[str, pl.LazyFrame] = {
    "counts of whole numbers": counts_plan(_NUMBERS),
    "counts of text": counts_plan(_TEXT),
    "sums": sums_plan(_FLOATS, _SCALED, 0.0),
    "scaling": scaled_plan(_FLOATS, _SCALED, Moments(3, 1.0, 2.0)),
    "buckets": buckets_plan(_FLOATS, Bucketize(kind="bucketize", boundaries=(0.0, 1.0))),
    "ids of whole numbers": ids_plan(_NUMBERS, _NUMBERS.drop_nulls()),
    "ids of text": ids_plan(_TEXT, _TEXT.drop_nulls()),
}
"""Operation -> a plan of it in small; whether it can be translated depends on no value."""


def tried(collect: Collect, gpu: GpuConfig) -> PolarsGpuEngine:
    """The engine that `collect` runs.

    Raises `ConfigError` where no GPU answers, or an operation cannot be translated and the recipe
    does not allow the CPU for it.
    """
    found = {operation: _reason(collect, plan) for operation, plan in TRIALS.items()}
    on_cpu = {operation: reason for operation, reason in found.items() if reason is not None}
    if on_cpu and not gpu.allow_cpu_fallback:
        told = "; ".join(f"{operation}: {reason}" for operation, reason in on_cpu.items())
        raise ConfigError(
            f"engine polars-gpu: cudf-polars cannot compute {len(on_cpu)} of {len(TRIALS)} "
            f"operations ({told}); set gpu.allow_cpu_fallback = true to run them on the CPU, "
            f"{ELSEWHERE}"
        )
    return PolarsGpuEngine(collect, on_cpu)


def _reason(collect: Collect, plan: pl.LazyFrame) -> str | None:
    """Why a plan cannot be translated; None where it runs."""
    try:
        collect(plan)
    except Exception as error:
        if "NotImplementedError" in f"{type(error).__name__}: {error}":
            return _first_line(error)
        raise ConfigError(
            f"engine polars-gpu: no NVIDIA GPU answers ({_first_line(error)}); `falconer doctor` "
            f"says what is missing, {ELSEWHERE}"
        ) from error
    return None


def _first_line(error: BaseException) -> str:
    """Of an error's text the reason that it names, in one line."""
    lines = str(error).replace("\\n", "\n").splitlines() or [""]
    reasons = [line for line in lines if line.startswith("- ")]
    return (reasons or lines)[0].removeprefix("- ").rstrip('",')[:300] or type(error).__name__


def engine(gpu: GpuConfig) -> PolarsGpuEngine:
    """The engine on this machine's GPU; `ModuleNotFoundError` where cudf-polars is absent, and what
    `tried` raises."""
    import cudf_polars  # noqa: F401

    return tried(OnGpu(gpu.limit()), gpu)
