"""Several processes that train one model: gloo between CPUs, NCCL between GPUs; started by
`torchrun`.

Each process computes the gradient on its rows of a batch; the sum over the processes is the batch's
own.
"""

from __future__ import annotations

import atexit
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from falconer.pipelines.errors import TrainingError
from falconer.pipelines.training.shard import Shard
from falconer.pipelines.training.task import B, Task

T = TypeVar("T")


class _Loss(torch.nn.Module):
    """A task's loss as a module, so that `DistributedDataParallel` sees the model's forward pass in
    it."""

    def __init__(self, task: Task[Any]) -> None:
        super().__init__()
        self.model = task.model
        self._loss = task.loss

    def forward(self, batch: Any) -> torch.Tensor:
        return self._loss(batch)


class Team:
    """The processes of a training; on its own, one process talks to nobody."""

    def __init__(self, shard: Shard, device: torch.device) -> None:
        self.shard = shard
        self._model: DistributedDataParallel | None = None
        if shard.world > 1 and not distributed.is_initialized():
            if device.type == "cuda":
                torch.cuda.set_device(device)
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            )
            atexit.register(distributed.destroy_process_group)

    def share_gradients(self, task: Task[Any], *, apart: Collection[str] = ()) -> None:
        """From now on every process starts with the first one's weights, and `loss` shares
        gradients; not so those parameters of the model that are `apart`, which see to it
        themselves."""
        if self.shard.world > 1:
            loss = _Loss(task)
            names = [f"model.{name}" for name in apart]
            ignore: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
            ignore(loss, names)
            self._model = DistributedDataParallel(loss)

    def loss(self, task: Task[B], batch: B) -> torch.Tensor:
        """The task's loss on this process's batch."""
        return task.loss(batch) if self._model is None else self._model(batch)

    def without_sharing(self, *, condition: bool) -> AbstractContextManager[None]:
        """Within the block gradients stay in this process, if `condition` holds: more batches
        follow in the step."""
        return self._model.no_sync() if self._model is not None and condition else nullcontext()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place; CPU tensors only."""
        if self.shard.world > 1:
            distributed.all_reduce(values)
        return values

    def from_first(self, value: T | None) -> T:
        """The first process's value, in every process."""
        values = [value]
        if self.shard.world > 1:
            distributed.broadcast_object_list(values, src=0)
        return values[0]  # type: ignore[return-value]

    def spread(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite every process's tensors with the first one's."""
        if self.shard.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def refuse_unequal(self, what: str, value: int) -> None:
        """`TrainingError` where the processes disagree on a number: they would wait for each other
        for ever."""
        if self.shard.world > 1:
            values = torch.zeros(self.shard.world, dtype=torch.int64)
            values[self.shard.rank] = value
            if len(set(self.sum(values).tolist())) > 1:
                raise TrainingError(
                    f"the processes differ in {what}: {values.tolist()}; start all of them alike"
                )
