"""The engine polars-gpu, its plans run by Polars itself; and what it refuses, by plans that fail as
cudf-polars lets them fail."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import polars as pl
import polars.testing
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import (
    ConfigError,
    ExhaustedError,
    MissingExtraError,
    PipelineError,
)
from falconer.pipelines.etl import build as stage
from falconer.pipelines.etl import identity
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.engines import engine_of
from falconer.pipelines.etl.engines.polars_gpu import TRIALS, OnGpu, PolarsGpuEngine, tried
from falconer.pipelines.etl.features import Encoding
from falconer.pipelines.etl.gpu import USUAL, GpuConfig
from falconer.pipelines.etl.operators import Bucketize, Categorical, Continuous
from tests.support import shop
from tests.support.engines import assert_parity, column, frame, many_rows, plans_on_cpu

ALLOWED = GpuConfig(allow_cpu_fallback=True)
JOIN = "LEFT JOIN"
ROWS = frame([("a", 1, 0.1, 0.2, 0.3, 0.4), ("b", 2, None, 1.0, 2.0, -3.0), (None,) * 6])


class WithoutJoins:
    """Runs plans, but for joins: those it refuses in the words of cudf-polars. Counts what ran."""

    def __init__(self) -> None:
        self.ran = 0

    def __call__(self, plan: pl.LazyFrame) -> pl.DataFrame:
        if JOIN in plan.explain():
            raise pl.exceptions.ComputeError(
                "'cuda' conversion failed: NotImplementedError: (\"Query execution with GPU not "
                "possible: unsupported operations.\\nThe errors were:\\n- NotImplementedError: "
                'join of that kind", [])'
            )
        self.ran += 1
        return plan.collect()


class OutOfOrder:
    """Runs the trials' plans, then fails with an error."""

    def __init__(self, error: Exception) -> None:
        self.error, self.left = error, len(TRIALS)

    def __call__(self, plan: pl.LazyFrame) -> pl.DataFrame:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return plan.collect()


def test_logarithms_of_small_numbers_keep_their_digits() -> None:
    config = Continuous(kind="continuous", clip=(-0.5, 1e6), log=True, normalize=False)
    values = [1e-12, 3e-9, -1e-10, 1e-300, 0.0, 1.0, 1e6, -0.5]
    found = plans_on_cpu().apply(column("logged", values), {"logged": Encoding(config)})
    assert found["logged"].to_list() == pytest.approx([math.log1p(x) for x in values], rel=1e-6)


def test_one_boundary_and_one_row_are_enough() -> None:
    encoding = Encoding(Bucketize(kind="bucketize", boundaries=(0.0,)))
    for value, bucket in ((-1.0, 0), (0.0, 1), (None, -1)):
        found = plans_on_cpu().apply(column("bucket", [value]), {"bucket": encoding})
        assert found["bucket"].to_list() == [bucket]


def test_what_cannot_be_translated_is_refused_by_name_before_a_row_is_read() -> None:
    with pytest.raises(ConfigError) as refused:
        tried(WithoutJoins(), USUAL)
    message = str(refused.value)
    assert "cannot compute 2 of 7 operations" in message
    assert "ids of text: NotImplementedError: join of that kind" in message
    assert "gpu.allow_cpu_fallback = true" in message
    assert "\n" not in message


def test_what_is_allowed_on_the_cpu_is_counted_and_said() -> None:
    collect = WithoutJoins()
    engine = tried(collect, ALLOWED)
    assert engine.name == (
        "polars-gpu, on the CPU 2 of 7 operations: ids of whole numbers, ids of text"
    )
    collect.ran = 0
    assert_parity(engine, engine_of("polars"), ROWS, ROWS.reverse())
    assert collect.ran > 0


def test_nothing_runs_on_the_cpu_unless_its_trial_said_so() -> None:
    """A plan that fails although its trial ran is an error, and not a silent change of place."""
    untranslated = pl.exceptions.ComputeError("'cuda' conversion failed: NotImplementedError: no")
    engine = tried(OutOfOrder(untranslated), ALLOWED)
    with pytest.raises(PipelineError, match="counts of text failed on the GPU"):
        engine.fit(ROWS, {"text": Categorical(kind="categorical")})


def test_a_gpu_whose_memory_is_full_is_told_as_such() -> None:
    engine = tried(OutOfOrder(MemoryError("std::bad_alloc: out_of_memory: RMM failure")), USUAL)
    with pytest.raises(ExhaustedError, match=r"GPU's memory ran out \(sums\).*lower memory_limit"):
        engine.fit(ROWS, {"plain": Continuous(kind="continuous")})


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient"),
        pl.exceptions.ComputeError("'cuda' conversion failed: NVMLError_LibraryNotFound: NVML"),
    ],
    ids=["driver", "library"],
)
def test_without_a_gpu_the_engine_is_refused_in_one_line(error: Exception) -> None:
    def fail(_: pl.LazyFrame) -> pl.DataFrame:
        raise error

    with pytest.raises(ConfigError, match="no NVIDIA GPU answers") as refused:
        tried(fail, ALLOWED)
    assert "\n" not in str(refused.value)
    assert 'features.engine = "polars"' in str(refused.value)


def test_without_cudf_polars_nothing_is_read(tmp_path: Path) -> None:
    tables = shop.write(tmp_path, shop.events())
    with pytest.raises(MissingExtraError, match=r"'cudf_polars'.*scripts/gpu-polars"):
        build(shop.recipe(tables, engine="polars-gpu"), tmp_path / "out")
    with pytest.raises(MissingExtraError, match=r"'cudf_polars'.*scripts/gpu-polars"):
        engine_of("polars-gpu")
    assert not (tmp_path / "out").exists()


def test_an_unknown_size_of_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="a size like"):
        GpuConfig(memory_limit="much").limit()


def test_a_dataset_of_its_plans_equals_that_of_the_reference(
    tables: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "CUDF_POLARS", ("not-there", "polars"))
    monkeypatch.setattr(stage, "engine_of", lambda *_: plans_on_cpu())
    found = Dataset.open(build(shop.recipe(tables, engine="polars-gpu"), tmp_path))
    assert found.card.config["features"]["engine"] == "polars-gpu"
    assert found.card.content.keys() == data.card.content.keys()
    for name in data.card.content:
        if name.endswith(".parquet"):
            one, other = (pl.read_parquet(each.path / name) for each in (found, data))
            pl.testing.assert_frame_equal(one, other, rel_tol=1e-6, abs_tol=1e-7)


def test_what_is_said_of_gpus_decides_nothing_that_a_dataset_holds(tables: Path) -> None:
    plain, told = shop.recipe(tables), shop.recipe(tables, gpu={"memory_limit": "8GB"})
    assert identity.dataset_id(plain, [], None) == identity.dataset_id(told, [], None)


def test_the_engine_goes_to_other_processes() -> None:
    engine = PolarsGpuEngine(OnGpu(2**30), {"sums": "no"})
    assert pickle.loads(pickle.dumps(engine)) == engine  # noqa: S301


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_reference() -> None:
    engine = engine_of("polars-gpu")
    assert engine.name == "polars-gpu"
    assert_parity(engine, engine_of("polars"), ROWS, ROWS.reverse())
    assert_parity(engine, engine_of("polars"), ROWS.clear(), ROWS)
    rows = many_rows()
    assert_parity(engine, engine_of("polars"), rows[:10_000], rows[10_000:])
