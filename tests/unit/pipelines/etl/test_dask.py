"""A Dask cluster of two processes of this machine does what worker processes do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster

from falconer.pipelines.errors import ConfigError, DataError, WorkerLostError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.workers.on_dask import Dask
from falconer.pipelines.etl.workers.tasks import Stages
from tests.support import shop
from tests.unit.pipelines.etl.test_workers import FIVE, dies, dies_once, files_of, refuses


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
    ):
        yield cluster.scheduler_address


def test_the_cluster_writes_the_bytes_that_one_process_writes(
    tables: Path, tmp_path: Path, address: str
) -> None:
    recipe = shop.recipe(tables, split="leave_last")
    here = build(recipe, tmp_path / "here", buckets=FIVE)
    there = build(recipe, tmp_path / "there", buckets=FIVE, dask=address)
    assert files_of(there) == files_of(here)


def test_what_is_wrong_comes_back_as_it_is(tmp_path: Path, address: str) -> None:
    with Dask(address) as workers:
        assert (workers.n, workers.n_on_a_machine) == (2, 2)
        with pytest.raises(DataError, match=r"^1 is wrong$"):
            Stages(tmp_path, workers).run("wrong", refuses, None, 2)


def test_a_part_whose_worker_died_is_tried_again(tmp_path: Path, address: str) -> None:
    with Dask(address) as workers:
        stages = Stages(tmp_path / "stages", workers)
        assert list(stages.run("squares", dies_once, tmp_path / "died", 3)) == [0, 1, 4]


def test_a_part_of_which_workers_die_is_named(tmp_path: Path, address: str) -> None:
    named = "part 1: its workers of the Dask cluster were lost"
    with Dask(address) as workers, pytest.raises(WorkerLostError, match=named):
        workers.run(dies, None, [1], tmp_path)


def test_a_cluster_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.pipelines.etl.workers.on_dask.TIMEOUT", 0.3)
    with pytest.raises(ConfigError, match="no Dask scheduler answers there"):
        Dask("tcp://127.0.0.1:9")


@pytest.mark.parametrize("wrong", ["nonsense", "", "tcp://host"], ids=["word", "empty", "no port"])
def test_an_address_without_a_port_makes_no_client(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    def made(*_: object, **__: object) -> None:
        pytest.fail("a client was made")

    monkeypatch.setattr("falconer.pipelines.etl.workers.on_dask.Client", made)
    with pytest.raises(ConfigError, match="no Dask scheduler answers there"):
        Dask(wrong)


def test_a_folder_that_a_worker_does_not_see_is_said(address: str) -> None:
    named = "folder is not there, here seen"
    with Dask(address) as workers, pytest.raises(ConfigError, match=named):
        workers.check(Path("/no/such/folder"))
