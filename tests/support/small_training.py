"""A small regression to train in tests, whose process can be killed at any step or write."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from falconer.pipelines import runs
from falconer.pipelines.runs import Run
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.result import FitResult
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.pipelines.training.task import Task
from falconer.pipelines.training.torch import fit

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "torch._dynamo",
        "tests.support.small_training",
        "falconer.recsys.models.ncf.on_torch.training",
        "falconer.recsys.stages",
        "falconer.vision.stages.train",
    ]
)

Batch = tuple[torch.Tensor, torch.Tensor]


class Rows:
    """Batches of rows in an order that follows from (seed, epoch)."""

    def __init__(
        self, x: torch.Tensor, y: torch.Tensor, *, size: int, shard: Shard | None = None
    ) -> None:
        self.x, self.y, self.batch_size, self.shard = x, y, size, shard or current_shard()

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Batch]:
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(number))
        for place in range(start, len(self)):
            rows = order[place * self.batch_size : (place + 1) * self.batch_size]
            rows = rows[self.shard.rows(len(rows))]
            yield self.x[rows], self.y[rows]


class Regression(Task[Batch]):
    """A two-layer network with dropout and batch statistics, fitted to a noisy curve by least
    squares."""

    def __init__(
        self, *, n: int = 70, size: int = 8, dropout: float = 0.2, kill_at: int = 0
    ) -> None:
        torch.manual_seed(1)
        parts = [
            torch.nn.Linear(3, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(8, 1),
        ]
        self.model = torch.nn.Sequential(
            *(parts if dropout else [parts[0], torch.nn.Tanh(), parts[3]])
        )
        x = torch.randn(n, 3)
        self._rows = Rows(x, x.sum(1, keepdim=True).sin() + 0.1 * torch.randn(n, 1), size=size)
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
        error = (self.model(self.batches.x) - self.batches.y).square().mean()
        return {"error": error.item()}


def lives(path: Path, settings: TrainingConfig, deaths: Sequence[dict[str, int]]) -> None:
    """Train in `path` with one process after another, each of which dies as told, and a last one
    that ends.

    All are forked from one process that has torch loaded and never used.
    """
    for death in [*deaths, {}]:
        process = FORKS.Process(target=live, args=(path, settings), kwargs=death)
        process.start()
        process.join()
        assert process.exitcode == (-signal.SIGKILL if death else 0), (death, process.exitcode)


def die() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def config(**knobs: Any) -> TrainingConfig:
    """A configuration that uses everything that a resumed training must bring back."""
    usual: dict[str, Any] = {
        "epochs": 4,
        "optimizer": "adamw",
        "learning_rate": 0.02,
        "schedule": {"kind": "plateau", "patience": 1, "factor": 0.5},
        "warmup_steps": 5,
        "clip_norm": 1.0,
        "ema_decay": 0.9,
        "accumulate": 2,
        "validate_every": 0.6,
        "checkpoint_every": 3,
        "monitor": "error",
        "mode": "min",
        "patience": 20,
        "threads": 1,
        "seed": 7,
    }
    return TrainingConfig.model_validate(usual | knobs)


def plain(**knobs: Any) -> TrainingConfig:
    """Gradient descent at one rate, and nothing else."""
    usual = {"epochs": 2, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1, "threads": 1}
    return TrainingConfig.model_validate(usual | knobs)


def new_run(root: Path, **facts: Any) -> Run:
    """A run directory to fit in."""
    with runs.start(root, model="small", backend="torch", config={}, **facts) as run:
        return run


def train(
    task: Task[Any], settings: TrainingConfig, root: Path
) -> tuple[FitResult, list[dict[str, Any]]]:
    """Fit in a new run; returns the result and the lines of `metrics.jsonl`."""
    run = new_run(root)
    return fit(task, settings, run), run.read_lines("metrics.jsonl")


def weights(task: Task[Any]) -> bytes:
    """The bytes of a task's weights."""
    return b"".join(value.numpy().tobytes() for value in task.model.state_dict().values())


def live(path: Path, settings: TrainingConfig, *, kill_at: int = 0, kill_in_sync: int = 0) -> None:
    """One life of a process: train in the run `path`, die on the way or write the final weights
    there."""
    if kill_in_sync:
        _die_in_sync(kill_in_sync)
    task = Regression(kill_at=kill_at)
    fit(task, settings, Run.open(path))
    (path / "weights").write_bytes(weights(task))


def _die_in_sync(number: int) -> None:
    """Die at the n-th time that something is brought to the disk: within the writing of a
    checkpoint."""
    calls = 0
    sync = os.fsync

    def count(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            die()
        sync(descriptor)

    os.fsync = count
