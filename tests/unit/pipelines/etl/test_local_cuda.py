"""`--dask local-cuda` as far as it goes without a GPU: a cluster of one process, with one thread,
in the place of a GPU's; and what is refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from distributed import LocalCluster

from falconer.pipelines.errors import ConfigError, MissingExtraError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.engines import nvtabular
from falconer.pipelines.etl.gpu import GpuConfig
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.workers import local_cuda
from tests.support import shop
from tests.unit.pipelines.etl.test_workers import files_of

TWO = Buckets(2, 200, 2**20)
FEATURES = {"event": {"price": {"kind": "continuous"}, "store": {"kind": "categorical"}}}


def test_nvtabular_works_on_the_only_thread_of_a_cluster(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVTabular's own fits would give their tasks to the cluster, and wait for ever for the
    thread that they are in."""
    asked: list[float] = []

    def one_worker(device_memory_limit: float) -> Any:
        asked.append(device_memory_limit)
        return LocalCluster(
            n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        )

    monkeypatch.setattr(local_cuda, "start", one_worker)
    recipe = shop.recipe(
        tables, features={"engine": "nvtabular", **FEATURES}, gpu={"memory_limit": "2GB"}
    )
    there = build(recipe, tmp_path / "there", buckets=TWO, dask=local_cuda.LOCAL_CUDA)
    assert asked == [2 * 10**9]
    assert files_of(there) == files_of(build(recipe, tmp_path / "here", buckets=TWO))


def test_threads_of_a_worker_take_turns() -> None:
    """What is silenced and kept in memory is the process's own."""
    engine, inside = nvtabular.NVTabularEngine(), threading.Event()

    def work() -> None:
        with engine._workplace():
            inside.set()

    other = threading.Thread(target=work)
    with engine._workplace():
        other.start()
        assert not inside.wait(0.2)
    other.join()
    assert inside.is_set()


def test_an_engine_without_gpus_is_not_given_any(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='"polars" uses no GPU'):
        build(shop.recipe(tables), tmp_path / "out", dask=local_cuda.LOCAL_CUDA)
    assert not (tmp_path / "out").exists()


def test_without_dask_cuda_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(MissingExtraError, match="--dask local-cuda needs the package 'dask_cuda'"):
        local_cuda.start(0.8)


def test_without_a_gpu_it_is_refused_in_one_line(tmp_path: Path) -> None:
    """By dask-cuda itself, in a process of its own, as it changes parts of Dask."""
    code = """
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.etl.workers.local_cuda import start
try:
    start(0.8)
except ConfigError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error::FutureWarning", "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("--dask local-cuda: no NVIDIA GPU answers (")
    assert done.stdout.count("\n") == 1


def test_cudf_is_told_to_spill_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cudf:
        options: list[tuple[str, object]] = []  # noqa: RUF012

        def set_option(self, name: str, val: object) -> None:
            self.options.append((name, val))

    monkeypatch.setattr(nvtabular, "cudf", Cudf())
    nvtabular.choose_spilling.cache_clear()
    for _ in range(2):
        nvtabular.choose_spilling(10**9)
    nvtabular.choose_spilling.cache_clear()
    assert Cudf.options == [("spill", True), ("spill_device_limit", 10**9)]


def test_the_engine_knows_the_limit_wherever_it_goes() -> None:
    engine = nvtabular.engine(GpuConfig(memory_limit="1.5 GB"))
    assert pickle.loads(pickle.dumps(engine)).memory_limit == 1_500_000_000  # noqa: S301


def test_tables_go_to_cudf_in_types_that_every_release_takes() -> None:
    frame = pl.DataFrame({"f0": ["a", "b"], "f1": [1, 2], "f2": [0.5, None]})
    table = nvtabular.as_arrow(frame)
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double"]
    assert pl.DataFrame(table).equals(frame)
