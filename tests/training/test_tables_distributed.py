"""Tables whose rows are spread over two processes train like those of one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.task import Task
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch.pairs.tables import (
    ShardedTables,
    Tables,
    parameter_groups,
    tables_of,
)
from falconer.recsys.configs.tables import TablesConfig
from falconer.recsys.models import registry
from falconer.recsys.models.dlrm.config import DlrmConfig
from tests.support import tiny
from tests.support.datasets import write_labels_dataset
from tests.support.small_training import FORKS, Batch, Rows, die, new_run, plain, weights
from tests.training.test_distributed import free_port

SHARDED = TablesConfig(gradients="sparse", sharded=True, learning_rate=0.2)
KNOBS: dict[str, Any] = {
    "epochs": 3,
    "clip_norm": 0.5,
    "ema_decay": 0.5,
    "monitor": "error",
    "mode": "min",
}


class Sums(Task[Batch]):
    """Learns a number for each pair of ids, from their vectors; the last of 5 batches has fewer
    rows."""

    def __init__(self, kill_at: int = 0) -> None:
        torch.manual_seed(1)
        self.tables = tables_of([7, 40], 4, SHARDED, std=0.5)
        self.model = torch.nn.Sequential(self.tables, torch.nn.Flatten(), torch.nn.Linear(8, 1))
        draw = torch.Generator().manual_seed(2)
        ids = torch.stack(
            [
                torch.randint(-1, 7, (70,), generator=draw),
                torch.randint(-1, 40, (70,), generator=draw),
            ],
            1,
        )
        self._rows = Rows(ids, ids.float().sum(1, keepdim=True).sin(), size=16)
        self._calls, self._kill_at = 0, kill_at

    @property
    def batches(self) -> Rows:
        return self._rows

    def loss(self, batch: Batch) -> torch.Tensor:
        self._calls += 1
        if self._calls == self._kill_at:
            die()
        return (self.model(batch[0]) - batch[1]).square().mean()

    def size(self, batch: Batch) -> int:
        return len(batch[0])

    def validate(self) -> Mapping[str, float]:
        return {"error": (self.model(self._rows.x) - self._rows.y).square().mean().item()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model, SHARDED)


def member(rank: int, port: int, work: Callable[..., None], *arguments: Any) -> None:
    """One of two processes, as `torchrun` starts them."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    work(rank, *arguments)


def together(work: Callable[..., None], *arguments: Any) -> list[int | None]:
    port = free_port()
    processes = [
        FORKS.Process(target=member, args=(rank, port, work, *arguments)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def train_share(rank: int, path: Path, settings: TrainingConfig, kill_at: int) -> None:
    task = Sums(kill_at)
    assert isinstance(task.tables, ShardedTables)
    assert len(task.tables.weight) in {24, 25}, "half of 49 rows"
    fit(task, settings, Run.open(path))
    if rank == 0:
        (path / "weights").write_bytes(weights(task))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_give_the_curve_and_the_tables_of_one(
    accumulate: int, tmp_path: Path
) -> None:
    """With checkpoints that hold whole tables, and the optimiser's state of all rows."""
    settings = plain(**KNOBS, accumulate=accumulate)
    alone, run, shared = Sums(), new_run(tmp_path), new_run(tmp_path)
    assert isinstance(alone.tables, Tables)
    fit(alone, settings, run)
    assert together(train_share, shared.path, settings, 0) == [0, 0]
    for ours, theirs in zip(
        shared.read_lines("metrics.jsonl"), run.read_lines("metrics.jsonl"), strict=True
    ):
        assert ours == pytest.approx(theirs, rel=1e-4)
    found, expected = (
        (path / "weights").read_bytes() for path in (shared.path, run_with_weights(run, alone))
    )
    np.testing.assert_allclose(
        np.frombuffer(found, np.float32), np.frombuffer(expected, np.float32), atol=1e-5
    )
    ours, theirs = (
        load_file(path / "checkpoints/last.safetensors") for path in (shared.path, run.path)
    )
    assert ours.keys() == theirs.keys()
    assert sum(value.shape[:1] == (49,) for value in ours.values()) == 3, (
        "the table, its average, its sums of squares"
    )
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=1e-4)


def run_with_weights(run: Run, task: Sums) -> Path:
    (run.path / "weights").write_bytes(weights(task))
    return run.path


def test_two_processes_go_on_where_they_were_killed(tmp_path: Path) -> None:
    settings = plain(**KNOBS, checkpoint_every=2)
    whole, killed = new_run(tmp_path), new_run(tmp_path)
    assert together(train_share, whole.path, settings, 0) == [0, 0]
    assert together(train_share, killed.path, settings, 9) == [-9, -9]
    assert together(train_share, killed.path, settings, 0) == [0, 0]
    for name in ("metrics.jsonl", "weights"):
        assert (killed.path / name).read_bytes() == (whole.path / name).read_bytes()


def train_model(rank: int, path: Path, data: Path, config: DlrmConfig) -> None:
    scorer = registry.resolve("dlrm", "torch").train(config, Dataset.open(data), Run.open(path))
    if rank == 0:
        scorer.save(path)


def test_a_registered_model_is_the_one_of_a_single_process(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "data", n_rows=400, n_users=20, n_items=10)
    knobs = {**tiny.TINY["dlrm"], "tables": SHARDED.model_copy(update={"learning_rate": None})}
    knobs["training"] = knobs["training"].model_copy(
        update={"epochs": 2, "optimizer": "sgd", "momentum": 0.0}
    )
    alone, shared = new_run(tmp_path), new_run(tmp_path)
    registry.resolve("dlrm", "torch").train(DlrmConfig(**knobs), data, alone).save(alone.path)
    assert together(train_model, shared.path, data.path, DlrmConfig(**knobs)) == [0, 0]
    ours, theirs = (load_file(path / "model.safetensors") for path in (shared.path, alone.path))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-4, rtol=1e-3)


def look_up(rank: int, path: Path) -> None:
    """Other ids in each process, none in the second one's second lookup, and a table of one row."""
    torch.distributed.init_process_group("gloo")
    torch.manual_seed(3)
    tables = tables_of([5, 9], 3, SHARDED)
    ids = torch.tensor([[[0, 8], [0, -1]], [[4, 2], [4, 2]]][rank])
    found = tables(ids)
    (found * (1 + rank)).sum().backward()
    torch.save(
        {"found": found.detach(), "gradient": tables.weight.grad.to_dense()}, path / f"{rank}.pt"
    )
    assert tables(ids[: 1 - rank]).shape == (1 - rank, 2, 3)
    assert tables_of([0], 3, SHARDED)(torch.tensor([[-1]])).tolist() == [[[0.0, 0.0, 0.0]]]
    torch.distributed.destroy_process_group()


def test_a_lookup_and_its_gradient_are_those_of_one_table(tmp_path: Path) -> None:
    assert together(look_up, tmp_path) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    torch.manual_seed(3)
    tables = Tables([5, 9], 3, sparse=True)
    every = tables(torch.tensor([[0, 8], [0, -1], [4, 2], [4, 2]]))
    assert torch.equal(every.detach(), torch.cat([first["found"], second["found"]]))
    (every * torch.tensor([1.0, 1.0, 2.0, 2.0])[:, None, None]).sum().backward()
    expected = (
        tables.weight.grad.to_dense() / 2
    )  # as the mean over processes, which the loop multiplies with
    assert torch.equal(first["gradient"], expected[0::2])
    assert torch.equal(second["gradient"], expected[1::2])
