"""The training loop on torch: any task of batches, loss and validation, on one device or several
processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from falconer.pipelines.runs import Run
from falconer.pipelines.training.checkpoints import Checkpoint
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.devices import device_of, seed_step, torch_settings, uses_bf16
from falconer.pipelines.training.distributed import Team
from falconer.pipelines.training.loop import Loop, joined
from falconer.pipelines.training.optimizers import Optimizers, clip
from falconer.pipelines.training.result import FitResult
from falconer.pipelines.training.row_shards import RowShards
from falconer.pipelines.training.shard import current_shard
from falconer.pipelines.training.task import B, Task
from falconer.pipelines.training.weights import Ema, copy_into, refuse_not_finite, tensors_of


def fit(task: Task[B], config: TrainingConfig, run: Run, *, name: str = "") -> FitResult:
    """Train `task.model`; afterwards it holds the chosen weights (the average, with `ema_decay`),
    in evaluation mode.

    Chosen are the weights with the best `config.monitor`, or the last ones without a monitor. Where
    `run` has checkpoints of this fit, training goes on from the last one; on CPU the result is then
    the same to the byte, and so is `metrics.jsonl`. `name` tells several fits of one run apart:
    their checkpoints are in a folder of that name, and their metrics begin with "<name>/". Under
    `torchrun` all processes call this; the first alone writes and validates.

    Raises `TrainingError` where the loss, the weights or a metric stop being finite, with the last
    good checkpoint, `ArtifactError` where a checkpoint is damaged or was written under other
    conditions, and `ConfigError`.
    """
    device = device_of(config)
    with torch_settings(config, device):
        return _Loop(task, config, run, name, device).run()


class _Loop(Loop[B]):
    """One call of `fit`."""

    def __init__(
        self, task: Task[B], config: TrainingConfig, run: Run, name: str, device: torch.device
    ) -> None:
        self._device, self._model = device, task.model
        self._team = Team(current_shard(), device)
        self._shard = self._team.shard
        super().__init__(task, config, run, name, fetch=self._fetched, leads=self._shard.leads)
        self._tables = RowShards(task.model, self._shard)
        self._optimizers = Optimizers(task.parameter_groups(), config)
        self._ema = Ema(task.model, config.ema_decay) if config.ema_decay else None
        self._bf16 = uses_bf16(config, device)

    def _fetched(self, losses: Sequence[torch.Tensor]) -> list[float]:
        """The losses over the rows of all processes."""
        whole: list[float] = self._team.sum(torch.stack(list(losses)).double().cpu()).tolist()
        return whole

    # Begin and resume

    def _surroundings(self) -> dict[str, Any]:
        return {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "device": self._device.type,
            "processes": self._shard.world,
        }

    def _load(self, last: Checkpoint) -> None:
        last = replace(last, tensors=self._tables.own(last.tensors, self._spread(last.tensors)))
        self._copy(tensors_of(self._model), last.part("model"))
        if self._ema:
            self._copy(self._ema.tensors, last.part("ema"))
        self._optimizers.load(last.part("optimizer") | dict(last.numbers))

    def _copy(self, own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
        copy_into(own, saved, str(self._checkpoints.directory))

    def _ready(self) -> None:
        self._team.refuse_unequal("batches in an epoch", len(self._batches))
        self._team.refuse_unequal("the step to begin at", self._course.state.step)
        if self._config.compile:
            self._model.compile()
        self._team.share_gradients(self._task, apart=self._tables.weights)
        self._model.train()

    # Steps

    def _step(self, group: Sequence[B], factor: float) -> tuple[torch.Tensor, int]:
        """The rows are those of all processes."""
        seed_step(self._config.seed, self._course.state.step, self._shard.rank, self._device)
        sizes = [self._task.size(batch) for batch in group]
        rows = (
            int(self._team.sum(torch.tensor(sum(sizes)))) if self._shard.world > 1 else sum(sizes)
        )
        parts = [
            self._backward(batch, size / rows, more=place < len(group))
            for place, (batch, size) in enumerate(zip(group, sizes, strict=True), start=1)
        ]
        if self._config.clip_norm:
            elsewhere = self._tables.squares_elsewhere()
            clip(self._optimizers.parameters, self._config.clip_norm, squares_elsewhere=elsewhere)
        self._optimizers.set_rate(factor)
        self._optimizers.step()
        if self._ema:
            self._ema.update()
        return (parts[0] if len(parts) == 1 else torch.stack(parts).sum()), rows

    def _backward(self, batch: B, share: float, *, more: bool) -> torch.Tensor:
        """Add the batch's part of the gradient; returns its part of the step's loss.

        `DistributedDataParallel` divides by the number of processes, hence the multiplication.
        """
        autocast = (
            torch.autocast(self._device.type, torch.bfloat16) if self._bf16 else nullcontext()
        )
        with self._team.without_sharing(condition=more):
            with autocast:
                loss = self._team.loss(self._task, batch)
            part = loss if share == 1 else loss * share
            torch.autograd.backward(part * self._shard.world if self._shard.world > 1 else part)
        return part.detach()

    def _refuse_not_finite(self) -> None:
        refuse_not_finite(tensors_of(self._model), self._course.state.step)

    # Validation

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Without gradients, and with the average in the model's place where there is one."""
        self._model.eval()
        with (
            torch.no_grad(),
            self._ema.swapped_in() if self._ema else nullcontext(),
            self._tables.whole_on_first(),
        ):
            yield
        self._model.train()

    def _metrics(self) -> Mapping[str, float]:
        return self._team.from_first(super()._metrics() if self._shard.leads else None)

    def _save_best(self) -> None:
        weights = self._tables.gathered(tensors_of(self._model), self._tables.weights)
        if self._shard.leads:
            self._checkpoints.save_best(self._course.state.step, weights)

    # Checkpoints

    def _spread(self, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, int]:
        return self._tables.of_checkpoint(tensors, self._optimizers)

    def _save(self) -> None:
        if not (self._shard.leads or self._tables):
            return
        parts = {"model": tensors_of(self._model), "optimizer": self._optimizers.tensors()}
        if self._ema:
            parts["ema"] = self._ema.tensors
        tensors = joined(parts)
        whole = self._tables.gathered(tensors, self._spread(tensors))
        if self._shard.leads:
            self._write(whole, self._optimizers.numbers())

    def _choose(self) -> None:
        """Take the chosen weights; whole tables come into the first process."""
        if self._tables:
            # The others wait here until the first has written its last file.
            self._team.sum(torch.zeros(1))
        if self._shard.leads or self._tables:
            best = self._checkpoints.load_best(self._course.state.best_step)
            if self._shard.leads:
                self._tables.hold(best)
            own = best if self._shard.leads else self._tables.own(best, self._tables.weights)
            self._copy(tensors_of(self._model), own)
        named = tensors_of(self._model).items()
        self._team.spread(tensor for name, tensor in named if name not in self._tables.weights)
