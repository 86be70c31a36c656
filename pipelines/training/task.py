"""What a model supplies to the training loop: its batches, its loss and its validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch

from falconer.pipelines.runs import Run
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.result import FitResult

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


class Batches(Protocol[B_co]):
    """The batches of every epoch, as a pure function of (seed, epoch, index): a position needs no
    other state.

    In distributed training each process has its own `Batches`: the rows `Shard.rows` of every
    batch, so that the processes' batches together are the batch of a single process. All have the
    same length, and none is ever empty.
    """

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def epoch(self, number: int, *, start: int = 0) -> Iterator[B_co]:
        """Batches `start`, `start` + 1, ... of epoch `number`; cheap to start anywhere."""
        ...


class Task(Protocol[B]):
    """One model to fit. Classes that inherit from this get the methods that have a default."""

    model: torch.nn.Module
    """Already on `falconer.pipelines.training.devices.device_of(config)`, where its batches are
    too."""

    @property
    def batches(self) -> Batches[B]:
        """The training batches."""
        ...

    def loss(self, batch: B) -> torch.Tensor:
        """The mean loss over the batch's rows, a scalar. It calls `self.model(...)`, in training
        mode.

        Random numbers come from torch's global generator, which the loop seeds at each step, or
        from the batch.
        """
        ...

    def size(self, batch: B) -> int:
        """Rows in a batch: what samples per second count, and the batch's weight in a step of
        several."""
        ...

    def validate(self) -> Mapping[str, float]:
        """Metrics of the model as it is: deterministic, in evaluation mode, without gradients, on
        one process."""
        return {}

    def parameter_groups(self) -> Sequence[dict[str, Any]]:
        """Torch's parameter groups: "params", and any of "lr", "weight_decay" and "optimizer" (a
        name) of its own."""
        return [
            {
                "params": [
                    parameter for parameter in self.model.parameters() if parameter.requires_grad
                ]
            }
        ]


class Fit(Protocol):
    """A training loop: `falconer.pipelines.training.torch.fit`, or one that trains the model's twin
    in another framework."""

    def __call__(
        self, task: Task[Any], config: TrainingConfig, run: Run, *, name: str = ""
    ) -> FitResult:
        """Train; afterwards `task.model` holds the chosen weights, in evaluation mode."""
        ...
