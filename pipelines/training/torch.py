"""The one training loop: any task of batches, loss and validation, on one device or several
processes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any, Generic

import torch

from falconer.pipelines import tracking
from falconer.pipelines.errors import ConfigError, TrainingError
from falconer.pipelines.runs import Run
from falconer.pipelines.training import schedules
from falconer.pipelines.training.checkpoints import Checkpoint, Checkpoints, refuse_other
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.devices import device_of, seed_step, torch_settings, uses_bf16
from falconer.pipelines.training.distributed import Team
from falconer.pipelines.training.losses import (
    Losses,
    NotFiniteError,
    refuse_metrics_not_finite,
    refuse_not_finite,
)
from falconer.pipelines.training.optimizers import Optimizers, clip
from falconer.pipelines.training.progress import Meter
from falconer.pipelines.training.refit import keep_chosen, total_steps
from falconer.pipelines.training.result import FitResult, State
from falconer.pipelines.training.row_shards import RowShards
from falconer.pipelines.training.shard import current_shard
from falconer.pipelines.training.task import B, Task
from falconer.pipelines.training.weights import Ema, copy_into, tensors_of

METRICS = "metrics.jsonl"
SECONDS_BETWEEN_MIRRORS = 30.0


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


class _Loop(Generic[B]):
    """One call of `fit`."""

    def __init__(
        self, task: Task[B], config: TrainingConfig, run: Run, name: str, device: torch.device
    ) -> None:
        self._task, self._config, self._run, self._name, self._device = (
            task,
            config,
            run,
            name,
            device,
        )
        self._batches, self._model = task.batches, task.model
        self._steps_per_epoch = math.ceil(len(self._batches) / config.accumulate)
        self._total = total_steps(config, run, name, self._steps_per_epoch)
        self._validation_steps = max(1, round(config.validate_every * self._steps_per_epoch))
        self._team = Team(current_shard(), device)
        self._shard = self._team.shard
        self._tables = RowShards(task.model, self._shard)
        self._optimizers = Optimizers(task.parameter_groups(), config)
        self._ema = Ema(task.model, config.ema_decay) if config.ema_decay else None
        self._bf16 = uses_bf16(config, device)
        self._checkpoints = Checkpoints(run.path / "checkpoints" / name)
        self._state = State()
        self._losses = Losses(self._team)
        self._saved_step = 0
        self._clock = time.perf_counter()
        self._mirrored = time.monotonic()

    def run(self) -> FitResult:
        """Begin or resume, train, and choose the weights."""
        self._begin()
        if self._state.ended is None:
            try:
                self._train()
            except NotFiniteError as error:
                raise self._explained(error) from error
        self._model.eval()
        self._choose()
        keep_chosen(self._run, self._name, self._state.best_step / self._steps_per_epoch)
        return self._result()

    # Begin and resume

    def _begin(self) -> None:
        if not len(self._batches):
            raise TrainingError(
                f"{self._run.path}: there is no batch to train on; is the dataset's train part "
                "empty?"
            )
        last = self._checkpoints.load_last()
        if self._checkpoints.passed_over is not None:
            self._say(self._checkpoints.passed_over)
        if last is not None:
            self._resume(last)
        else:
            self._save()
        self._team.refuse_unequal("batches in an epoch", len(self._batches))
        self._team.refuse_unequal("the step to begin at", self._state.step)
        if self._config.compile:
            self._model.compile()
        self._team.share_gradients(self._task, apart=self._tables.weights)

    def _resume(self, last: Checkpoint) -> None:
        refuse_other(self._checkpoints.last, last.facts, self._facts())
        last = replace(last, tensors=self._tables.own(last.tensors, self._spread(last.tensors)))
        self._load(tensors_of(self._model), last.part("model"))
        if self._ema:
            self._load(self._ema.tensors, last.part("ema"))
        self._optimizers.load(last.part("optimizer") | dict(last.numbers))
        self._state = last.state
        self._saved_step = last.state.step
        if self._shard.leads and self._state.ended is None:
            self._run.cut(METRICS, self._state.metrics_bytes)
            self._say(f"goes on at step {self._state.step} of {self._total}")

    def _load(self, own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
        copy_into(own, saved, str(self._checkpoints.directory))

    def _facts(self) -> dict[str, Any]:
        """What must not change between a checkpoint and the training that goes on from it, as JSON
        has it."""
        info = self._run.info
        facts = {
            "config": self._config.model_dump(mode="json"),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "device": self._device.type,
            "processes": self._shard.world,
            "batches": len(self._batches),
            "dataset_id": info.get("dataset_id"),
            "id_space": info.get("id_space"),
        }
        return dict(json.loads(json.dumps(facts)))

    def _explained(self, error: NotFiniteError) -> TrainingError:
        return TrainingError(
            f"{self._run.path}: {error} (epoch {(self._state.step - 1) // self._steps_per_epoch}); "
            "the last good "
            f"checkpoint is {self._checkpoints.last}, of step {self._saved_step}. Try a lower "
            "training.learning_rate "
            "or training.clip_norm, and look for extreme values in the data"
        )

    # Steps

    def _train(self) -> None:
        label = f"training {self._name}".strip()
        self._say(
            f"{self._total - self._state.step:,} steps of {self._total:,} to go, "
            f"{self._steps_per_epoch:,} an epoch; the time that is left follows (fewer "
            "training.epochs take less, and what Ctrl-C ends goes on with --resume)"
        )
        self._clock = time.perf_counter()
        with Meter(
            label, done=self._state.step, total=self._total, shown=self._shard.leads
        ) as meter:
            for group in self._groups():
                self._step(group, meter)
                self._after_step()
                if self._state.ended:
                    return

    def _groups(self) -> Iterator[list[B]]:
        """The batches of each step that is left, epoch by epoch."""
        for epoch in range(self._state.step // self._steps_per_epoch, self._config.epochs):
            self._model.train()
            done = self._state.step - epoch * self._steps_per_epoch
            batches = self._batches.epoch(epoch, start=done * self._config.accumulate)
            while group := list(islice(batches, self._config.accumulate)):
                yield group
            if self._state.step != (epoch + 1) * self._steps_per_epoch:
                raise TrainingError(
                    f"epoch {epoch} ended at step {self._state.step}: it has fewer batches than it "
                    "says"
                )

    def _step(self, group: Sequence[B], meter: Meter) -> None:
        """One update with the gradient of the mean loss over all rows of the group and of all
        processes."""
        seed_step(self._config.seed, self._state.step, self._shard.rank, self._device)
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
        self._optimizers.set_rate(
            schedules.factor_at(self._config, self._state, steps_per_epoch=self._steps_per_epoch)
        )
        self._optimizers.step()
        if self._ema:
            self._ema.update()
        self._losses.add(parts[0] if len(parts) == 1 else torch.stack(parts).sum(), rows)
        self._state.step += 1
        self._state.samples += rows
        meter.advance(rows)

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

    def _after_step(self) -> None:
        """Validate and save where it is time for it."""
        every, step = self._config.checkpoint_every, self._state.step
        validates = step % self._validation_steps == 0 or step == self._total
        saves = validates or (every is not None and step % every == 0)
        if saves or self._losses.are_due:
            self._losses.check_into(self._state)
        if not saves:
            return
        self._state.step_seconds += self._tick()
        refuse_not_finite(tensors_of(self._model), self._state.step)
        if validates:
            self._validate()
        self._tick()
        self._save()
        if not self._state.ended:  # writing is no part of the next steps
            self._tick()

    def _tick(self) -> float:
        """Seconds since the last call, which are added to those of the fit."""
        before, self._clock = self._clock, time.perf_counter()
        self._state.seconds += self._clock - before
        return self._clock - before

    # Validation

    def _validate(self) -> None:
        """Measure, log, remember the best weights, and decide whether training ends here."""
        state, config = self._state, self._config
        with self._judged_weights():
            metrics = self._team.from_first(
                dict(self._task.validate()) if self._shard.leads else None
            )
            values = {"loss": state.loss_sum / state.loss_rows, **metrics}
            better = self._is_better(values)
            if better:
                state.best_step = state.step
                state.best_metric = values[config.monitor] if config.monitor else None
                weights = self._tables.gathered(tensors_of(self._model), self._tables.weights)
                if self._shard.leads:
                    self._checkpoints.save_best(state.step, weights)
        state.stale = 0 if better else state.stale + 1
        rate = config.learning_rate * self._optimizers.factor
        schedules.after_validation(config, state, better=better)
        if state.step == self._total:
            state.ended = "epochs"
        elif config.patience and state.stale >= config.patience:
            state.ended = "patience"
        if self._shard.leads:
            self._log({**values, "learning_rate": rate}, better=better)
        state.loss_sum, state.loss_rows = 0.0, 0

    @contextmanager
    def _judged_weights(self) -> Iterator[None]:
        """Evaluation mode without gradients, and the average in the model's place where there is
        one."""
        self._model.eval()
        with (
            torch.no_grad(),
            self._ema.swapped_in() if self._ema else nullcontext(),
            self._tables.whole_on_first(),
        ):
            yield
        self._model.train()

    def _is_better(self, values: Mapping[str, float]) -> bool:
        monitor, best = self._config.monitor, self._state.best_metric
        refuse_metrics_not_finite(values)
        if monitor is None:
            return True
        if monitor not in values:
            raise ConfigError(
                f"training.monitor is {monitor!r}, and the validation gives {', '.join(values)}"
            )
        return best is None or (
            values[monitor] > best if self._config.mode == "max" else values[monitor] < best
        )

    def _log(self, values: Mapping[str, float], *, better: bool) -> None:
        """The step's line in `metrics.jsonl`, in `timing.jsonl`, and for a reader."""
        prefix = f"{self._name}/" if self._name else ""
        epoch = self._state.step / self._steps_per_epoch
        line = {"epoch": epoch, **values}
        self._run.log_metrics(
            self._state.step, {f"{prefix}{key}": value for key, value in line.items()}
        )
        speed = self._state.samples / self._state.step_seconds
        self._run.log_timing(
            **{f"{prefix}fit_seconds": self._state.seconds, f"{prefix}samples_per_second": speed}
        )
        figures = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        chosen = " (best)" if better and self._config.monitor else ""
        self._say(
            f"step {self._state.step}, epoch {epoch:.4g}: {figures}{chosen}; {speed:,.0f} samples/s"
        )

    def _say(self, text: str) -> None:
        self._run.log(f"{self._name}: {text}" if self._name else text)

    # Checkpoints and the result

    def _spread(self, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, int]:
        return self._tables.of_checkpoint(tensors, self._optimizers)

    def _save(self) -> None:
        """Replace the last checkpoint; what MLflow is told is never cut back, so it is told here
        and not before."""
        if not (self._shard.leads or self._tables):
            return
        parts = {"model": tensors_of(self._model), "optimizer": self._optimizers.tensors()}
        if self._ema:
            parts["ema"] = self._ema.tensors
        tensors = {
            f"{part}.{name}": value
            for part, named in parts.items()
            for name, value in named.items()
        }
        whole = self._tables.gathered(tensors, self._spread(tensors))
        if self._shard.leads:
            self._write(whole)

    def _write(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._state.metrics_bytes = self._run.settle(METRICS)
        self._checkpoints.save_last(
            Checkpoint(self._state, self._facts(), tensors, self._optimizers.numbers())
        )
        self._saved_step = self._state.step
        if time.monotonic() - self._mirrored > SECONDS_BETWEEN_MIRRORS:
            tracking.mirror(self._run.path)
            self._mirrored = time.monotonic()

    def _choose(self) -> None:
        """Take the chosen weights; whole tables come into the first process."""
        if self._tables:
            # The others wait here until the first has written its last file.
            self._team.sum(torch.zeros(1))
        if self._shard.leads or self._tables:
            best = self._checkpoints.load_best(self._state.best_step)
            if self._shard.leads:
                self._tables.hold(best)
            own = best if self._shard.leads else self._tables.own(best, self._tables.weights)
            self._load(tensors_of(self._model), own)
        named = tensors_of(self._model).items()
        self._team.spread(tensor for name, tensor in named if name not in self._tables.weights)

    def _result(self) -> FitResult:
        state = self._state
        return FitResult(
            steps=state.step,
            epochs=state.step / self._steps_per_epoch,
            best_step=state.best_step,
            best_metric=state.best_metric,
            ended=state.ended or "epochs",
            samples=state.samples,
            seconds=state.seconds,
            samples_per_second=state.samples / state.step_seconds,
        )
