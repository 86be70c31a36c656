"""The one training loop of the TensorFlow networks.

What torch's loop (`falconer.pipelines.training.torch`) promises holds here: a position is (epoch,
step), the best weights by `monitor` are chosen, and a training that was killed goes on to the same
bytes on a CPU.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
import torch
from numpy.typing import NDArray

from falconer.pipelines import tracking
from falconer.pipelines.errors import ConfigError, TrainingError
from falconer.pipelines.runs import Run
from falconer.pipelines.training import schedules
from falconer.pipelines.training.checkpoints import Checkpoint, Checkpoints, refuse_other
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.losses import NotFiniteError, refuse_metrics_not_finite
from falconer.pipelines.training.progress import Meter
from falconer.pipelines.training.refit import keep_chosen, total_steps
from falconer.pipelines.training.result import FitResult, State
from falconer.pipelines.training.task import Fit, Task
from falconer.pipelines.training.weights import copy_into, tensors_of
from falconer.recsys.backends.tensorflow import runtime
from falconer.recsys.backends.tensorflow.network import (
    Network,
    hand_back,
    start_from,
)
from falconer.recsys.backends.tensorflow.optimizers import Optimizers
from falconer.recsys.backends.tensorflow.steps import Steps
from falconer.recsys.configs.model import ModelConfig

METRICS = "metrics.jsonl"
STEPS_BETWEEN_CHECKS = 20
SECONDS_BETWEEN_MIRRORS = 30.0

C = TypeVar("C", bound=ModelConfig)
Make = Callable[[Any], Network]
"""The twin of a task's torch model."""


def fit_with(make: Make, device: str) -> Fit:
    """A `fit` that trains the twin that `make` gives of a task, and hands its weights back to the
    task's model. `device` is that of the configuration: the task's own is the host (`on_host`).
    """

    def fit(task: Task[Any], config: TrainingConfig, run: Run, *, name: str = "") -> FitResult:
        config = config.model_copy(update={"device": device})
        runtime.refuse_knobs(config)
        runtime.settle(config)
        with tf.device(runtime.device_name(config)):
            return _Loop(task, make(task), config, run, name).run()

    return fit


def on_host(config: C) -> C:
    """The configuration with its batches and its scorer on the CPU, where TensorFlow takes them
    from."""
    training = config.training.model_copy(update={"device": "cpu"})  # type: ignore[attr-defined]
    return config.model_copy(update={"training": training})


class _Loop:
    """One fit of one network."""

    def __init__(
        self, task: Task[Any], network: Network, config: TrainingConfig, run: Run, name: str
    ) -> None:
        self._task, self._network, self._config = task, network, config
        self._run, self._name = run, name
        self._batches = task.batches
        self._steps_per_epoch = math.ceil(len(self._batches) / config.accumulate)
        self._total = total_steps(config, run, name, self._steps_per_epoch)
        self._validation_steps = max(1, round(config.validate_every * self._steps_per_epoch))
        self._checkpoints = Checkpoints(run.path / "checkpoints" / name)
        self._state, self._losses = State(), list[tuple[Any, int]]()
        self._saved_step, self._factor = 0, 1.0
        self._clock, self._mirrored = time.perf_counter(), time.monotonic()
        start_from(network, task.model)
        names = {id(parameter): name for name, parameter in task.model.named_parameters()}
        groups = task.parameter_groups()
        self._optimizers = Optimizers(groups, names, network.weights, config)
        self._steps = Steps(network, self._optimizers, config)

    def run(self) -> FitResult:
        """Begin or resume, train, and choose the weights."""
        self._begin()
        if self._state.ended is None:
            try:
                self._train()
            except NotFiniteError as error:
                raise self._explained(error) from error
        best = self._checkpoints.load_best(self._state.best_step)
        copy_into(tensors_of(self._task.model), best, str(self._checkpoints.directory))
        self._task.model.eval()
        keep_chosen(self._run, self._name, self._state.best_step / self._steps_per_epoch)
        return self._result()

    # Begin and resume

    def _begin(self) -> None:
        if not len(self._batches):
            raise TrainingError(f"{self._run.path}: there is no batch to train on")
        last = self._checkpoints.load_last()
        if self._checkpoints.passed_over is not None:
            self._say(self._checkpoints.passed_over)
        if last is None:
            self._save()
            return
        refuse_other(self._checkpoints.last, last.facts, self._facts())
        copy_into(
            tensors_of(self._task.model), last.part("model"), str(self._checkpoints.directory)
        )
        start_from(self._network, self._task.model)
        for name, values in last.part("ema").items():
            self._steps.average[name].assign(values.numpy())
        self._optimizers.load(last.part("optimizer"))
        self._state = last.state
        self._saved_step = last.state.step
        if self._state.ended is None:
            self._run.cut(METRICS, self._state.metrics_bytes)
            self._say(f"goes on at step {self._state.step} of {self._total}")

    def _facts(self) -> dict[str, Any]:
        """What must not change between a checkpoint and the training that goes on from it."""
        info = self._run.info
        facts = {
            "config": self._config.model_dump(mode="json"),
            "tensorflow": tf.__version__,
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "device": runtime.device_name(self._config),
            "batches": len(self._batches),
            "dataset_id": info.get("dataset_id"),
            "id_space": info.get("id_space"),
        }
        return dict(json.loads(json.dumps(facts)))

    def _explained(self, error: NotFiniteError) -> TrainingError:
        return TrainingError(
            f"{self._run.path}: {error}; the last good checkpoint is {self._checkpoints.last}, of "
            f"step {self._saved_step}. Try a lower training.learning_rate or training.clip_norm, "
            "and look for extreme values in the data"
        )

    # Steps

    def _train(self) -> None:
        label = f"training {self._name}".strip()
        self._clock = time.perf_counter()
        with Meter(label, done=self._state.step, total=self._total, shown=True) as meter:
            for group in self._groups():
                meter.advance(self._step(group))
                self._after_step()
                if self._state.ended:
                    return

    def _groups(self) -> Iterator[list[Any]]:
        """The batches of each step that is left, epoch by epoch."""
        for epoch in range(self._state.step // self._steps_per_epoch, self._config.epochs):
            done = self._state.step - epoch * self._steps_per_epoch
            batches = self._batches.epoch(epoch, start=done * self._config.accumulate)
            while group := list(islice(batches, self._config.accumulate)):
                yield group
            if self._state.step != (epoch + 1) * self._steps_per_epoch:
                raise TrainingError(
                    f"epoch {epoch} ended at step {self._state.step}: it has fewer batches than it "
                    "says"
                )

    def _step(self, group: Sequence[Any]) -> int:
        """One update with the gradient of the mean loss over all rows of the group."""
        sizes = [self._task.size(batch) for batch in group]
        self._factor = schedules.factor_at(
            self._config, self._state, steps_per_epoch=self._steps_per_epoch
        )
        arrays = [self._network.arrays(batch) for batch in group]
        loss = self._steps(self._state.step, arrays, sizes, self._factor)
        self._losses.append((loss, sum(sizes)))
        self._state.step += 1
        self._state.samples += sum(sizes)
        return sum(sizes)

    def _after_step(self) -> None:
        """Validate and save where it is time for it."""
        every, step = self._config.checkpoint_every, self._state.step
        validates = step % self._validation_steps == 0 or step == self._total
        saves = validates or (every is not None and step % every == 0)
        if saves or len(self._losses) == STEPS_BETWEEN_CHECKS:
            self._check_losses()
        if not saves:
            return
        self._state.step_seconds += self._tick()
        self._refuse_not_finite()
        if validates:
            self._validate()
        self._tick()
        self._save()
        if not self._state.ended:  # writing is no part of the next steps
            self._tick()

    def _check_losses(self) -> None:
        first = self._state.step - len(self._losses) + 1
        for step, (loss, rows) in enumerate(self._losses, start=first):
            value = float(loss)
            if not math.isfinite(value):
                raise NotFiniteError(f"the loss of step {step} is {value}")
            self._state.loss_sum += value * rows
            self._state.loss_rows += rows
        self._losses.clear()

    def _refuse_not_finite(self) -> None:
        for name, weight in self._network.weights.items():
            if not np.isfinite(weight.variable.numpy()).all():
                raise NotFiniteError(f"{name} is not finite after step {self._state.step}")

    def _tick(self) -> float:
        """Seconds since the last call, which are added to those of the fit."""
        before, self._clock = self._clock, time.perf_counter()
        self._state.seconds += self._clock - before
        return self._clock - before

    # Validation

    def _validate(self) -> None:
        """Measure, log, remember the best weights, and decide whether training ends here."""
        state, config = self._state, self._config
        judged = self._judged()
        hand_back(judged, self._task.model)
        self._task.model.eval()
        with torch.no_grad():
            metrics = dict(self._task.validate())
        values = {"loss": state.loss_sum / state.loss_rows, **metrics}
        better = self._is_better(values)
        if better:
            state.best_step = state.step
            state.best_metric = values[config.monitor] if config.monitor else None
            self._checkpoints.save_best(state.step, _tensors(judged))
        state.stale = 0 if better else state.stale + 1
        rate = config.learning_rate * self._factor
        schedules.after_validation(config, state, better=better)
        if state.step == self._total:
            state.ended = "epochs"
        elif config.patience and state.stale >= config.patience:
            state.ended = "patience"
        self._log({**values, "learning_rate": rate}, better=better)
        state.loss_sum, state.loss_rows = 0.0, 0

    def _judged(self) -> dict[str, NDArray[np.float32]]:
        """The weights, or their average where there is one, in torch's layout."""
        weights = self._network.weights
        if not self._steps.average:
            return {name: weight.read() for name, weight in weights.items()}
        return {name: weights[name].to_torch(a.numpy()) for name, a in self._steps.average.items()}

    def _is_better(self, values: Mapping[str, float]) -> bool:
        monitor, best = self._config.monitor, self._state.best_metric
        refuse_metrics_not_finite(values)
        if monitor is None:
            return True
        if monitor not in values:
            raise ConfigError(
                f"training.monitor is {monitor!r}, and the validation gives {', '.join(values)}"
            )
        value = values[monitor]
        return best is None or (value > best if self._config.mode == "max" else value < best)

    def _log(self, values: Mapping[str, float], *, better: bool) -> None:
        """The step's line in `metrics.jsonl`, in `timing.jsonl`, and for a reader."""
        state, prefix = self._state, f"{self._name}/" if self._name else ""
        epoch = state.step / self._steps_per_epoch
        line = {"epoch": epoch, **values}
        self._run.log_metrics(state.step, {f"{prefix}{key}": value for key, value in line.items()})
        speed = state.samples / state.step_seconds
        timing = {"fit_seconds": state.seconds, "samples_per_second": speed}
        self._run.log_timing(**{f"{prefix}{key}": value for key, value in timing.items()})
        figures = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        chosen = " (best)" if better and self._config.monitor else ""
        self._say(
            f"step {state.step}, epoch {epoch:.4g}: {figures}{chosen}; {speed:,.0f} samples/s"
        )

    def _say(self, text: str) -> None:
        self._run.log(f"{self._name}: {text}" if self._name else text)

    # Checkpoints and the result

    def _save(self) -> None:
        """Replace the last checkpoint."""
        model = {name: weight.read() for name, weight in self._network.weights.items()}
        tensors = {f"model.{name}": value for name, value in _tensors(model).items()}
        averages = _tensors({name: a.numpy() for name, a in self._steps.average.items()})
        tensors |= {f"ema.{name}": value for name, value in averages.items()}
        tensors |= {
            f"optimizer.{name}": value for name, value in self._optimizers.tensors().items()
        }
        self._state.metrics_bytes = self._run.settle(METRICS)
        self._checkpoints.save_last(Checkpoint(self._state, self._facts(), tensors))
        self._saved_step = self._state.step
        if time.monotonic() - self._mirrored > SECONDS_BETWEEN_MIRRORS:
            tracking.mirror(self._run.path)
            self._mirrored = time.monotonic()

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


def _tensors(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
