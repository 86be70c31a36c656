"""What the training loop costs beside torch alone. Figures are printed, never asserted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from falconer.pipelines.training.task import Task
from tests.benchmarks.small import sized
from tests.support.small_training import plain, train

pytestmark = [pytest.mark.benchmark_suite, pytest.mark.timeout(600)]

STEPS, ROUNDS = sized(1000, 10), sized(5, 1)


class Same:
    """The same batch again and again, so that batches cost nothing."""

    def __init__(self, batch: torch.Tensor) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return STEPS

    def epoch(self, number: int, *, start: int = 0) -> Iterator[torch.Tensor]:
        for _ in range(start, STEPS):
            yield self._batch


class Squares(Task[torch.Tensor]):
    """The mean square of a model's output."""

    def __init__(self, model: torch.nn.Module, batch: torch.Tensor) -> None:
        self.model, self._batch, self._batches = model, batch, Same(batch)

    @property
    def batches(self) -> Same:
        return self._batches

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(batch).square().mean()

    def size(self, batch: torch.Tensor) -> int:
        return len(batch)


def empty() -> Squares:
    """One weight, one row: what is left is the loop."""
    return Squares(torch.nn.Linear(1, 1, bias=False), torch.ones(1, 1))


def perceptron() -> Squares:
    """Some real work: 256 rows through 64 x 256 x 256 x 1."""
    layers = [torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256), torch.nn.ReLU()]
    return Squares(torch.nn.Sequential(*layers, torch.nn.Linear(256, 1)), torch.randn(256, 64))


def bare(task: Squares) -> float:
    """Seconds a step of the shortest loop that trains the task."""
    optimizer = torch.optim.Adam(task.model.parameters(), lr=1e-4, fused=True)
    started = time.perf_counter()
    for batch in task.batches.epoch(0):
        optimizer.zero_grad()
        task.loss(batch).backward()
        optimizer.step()
    return (time.perf_counter() - started) / STEPS


def ours(task: Squares, root: Path, **knobs: Any) -> float:
    """Seconds a step of `fit`, its last checkpoint left out."""
    settings = plain(epochs=1, optimizer="adam", learning_rate=1e-4, **knobs)
    result, _ = train(task, settings, root)
    return result.samples / result.samples_per_second / STEPS


@pytest.mark.parametrize("make", [empty, perceptron], ids=["an empty model", "a small perceptron"])
def test_overhead_of_a_step(
    make: Callable[[], Squares], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {"plain": {}, "clipping": {"clip_norm": 1.0}, "averaging": {"ema_decay": 0.99}}
    torch.set_num_threads(1)
    pairs = [
        (bare(make()), *(ours(make(), tmp_path, **knobs) for knobs in kinds.values()))
        for _ in range(ROUNDS)
    ]
    base = statistics.median(pair[0] for pair in pairs)
    rows = len(make()._batch)
    with capsys.disabled():
        print(
            f"\n{make.__doc__}\n  torch alone: {1e6 * base:.0f} us a step, {rows / base:,.0f} "
            "samples/s"
        )
        for place, kind in enumerate(kinds, start=1):
            added = statistics.median(pair[place] - pair[0] for pair in pairs)
            print(
                f"  fit, {kind}: {1e6 * added:+.0f} us a step, {rows / (base + added):,.0f} "
                "samples/s"
            )
