"""The training loop of the TensorFlow networks.

What torch's loop (`falconer.pipelines.training.torch`) promises holds here: a position is (epoch,
step), the best weights by `monitor` are chosen, and a training that was killed goes on to the same
bytes on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
import torch
from numpy.typing import NDArray

from falconer.pipelines.runs import Run
from falconer.pipelines.training.checkpoints import Checkpoint
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.loop import Loop, joined
from falconer.pipelines.training.result import FitResult
from falconer.pipelines.training.task import Fit, Task
from falconer.pipelines.training.weights import copy_into, refuse_not_finite, tensors_of
from falconer.recsys.backends.tensorflow import precision, runtime
from falconer.recsys.backends.tensorflow.network import (
    Network,
    hand_back,
    start_from,
)
from falconer.recsys.backends.tensorflow.optimizers import Optimizers
from falconer.recsys.backends.tensorflow.steps import Steps
from falconer.recsys.configs.model import ModelConfig

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
        kind = precision.BF16 if runtime.uses_bf16(config) else precision.FLOAT32
        with tf.device(runtime.device_name(config)), precision.policy(kind):
            return _Loop(task, make(task), config, run, name).run()

    return fit


def on_host(config: C) -> C:
    """The configuration with its batches and its scorer on the CPU, where TensorFlow takes them
    from."""
    training = config.training.model_copy(update={"device": "cpu"})  # type: ignore[attr-defined]
    return config.model_copy(update={"training": training})


class _Loop(Loop[Any]):
    """One fit of one network."""

    def __init__(
        self, task: Task[Any], network: Network, config: TrainingConfig, run: Run, name: str
    ) -> None:
        super().__init__(task, config, run, name, fetch=_fetched)
        self._network = network
        start_from(network, task.model)
        names = {id(parameter): name for name, parameter in task.model.named_parameters()}
        groups = task.parameter_groups()
        self._optimizers = Optimizers(groups, names, network.weights, config)
        self._steps = Steps(network, self._optimizers, config)

    def _surroundings(self) -> dict[str, Any]:
        return {
            "tensorflow": tf.__version__,
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "device": runtime.device_name(self._config),
        }

    def _load(self, last: Checkpoint) -> None:
        self._copy(last.part("model"))
        start_from(self._network, self._task.model)
        for name, values in last.part("ema").items():
            self._steps.average[name].assign(values.numpy())
        self._optimizers.load(last.part("optimizer"))

    def _copy(self, saved: Mapping[str, torch.Tensor]) -> None:
        copy_into(tensors_of(self._task.model), saved, str(self._checkpoints.directory))

    def _step(self, group: Sequence[Any], factor: float) -> tuple[Any, int]:
        sizes = [self._task.size(batch) for batch in group]
        arrays = [self._network.arrays(batch) for batch in group]
        return self._steps(self._course.state.step, arrays, sizes, factor), sum(sizes)

    def _refuse_not_finite(self) -> None:
        refuse_not_finite(_tensors(self._weights()), self._course.state.step)

    def _weights(self) -> dict[str, NDArray[np.float32]]:
        """The network's, in torch's layout."""
        return {name: weight.read() for name, weight in self._network.weights.items()}

    # Validation

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """The torch twin is judged, with the weights' average where there is one."""
        hand_back(self._averages() or self._weights(), self._task.model)
        self._task.model.eval()
        with torch.no_grad():
            yield

    def _averages(self) -> dict[str, NDArray[np.float32]]:
        """In torch's layout; empty without `training.ema_decay`."""
        weights = self._network.weights
        return {name: weights[name].to_torch(a.numpy()) for name, a in self._steps.average.items()}

    def _save_best(self) -> None:
        self._checkpoints.save_best(self._course.state.step, tensors_of(self._task.model))

    # Checkpoints

    def _save(self) -> None:
        averages = {name: a.numpy() for name, a in self._steps.average.items()}
        parts = {
            "model": _tensors(self._weights()),
            "ema": _tensors(averages),
            "optimizer": self._optimizers.tensors(),
        }
        self._write(joined(parts))

    def _choose(self) -> None:
        self._copy(self._checkpoints.load_best(self._course.state.best_step))


def _fetched(losses: Sequence[Any]) -> list[float]:
    return [float(loss) for loss in losses]


def _tensors(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
