"""One update of a network's weights, as a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from falconer.pipelines.training.config import TrainingConfig
from falconer.recsys.backends.tensorflow.network import Arrays, Network, Noise
from falconer.recsys.backends.tensorflow.optimizers import Optimizers


class Steps:
    """The updates of one fit, and the exponential moving average of the weights where the
    configuration wants one: a <- d a + (1 - d) w after each step."""

    def __init__(self, network: Network, optimizers: Optimizers, config: TrainingConfig) -> None:
        self._network, self._optimizers, self._config = network, optimizers, config
        self._graphs: dict[str, Any] = {}
        self.average: dict[str, Any] = {}
        if config.ema_decay:
            self.average = {
                name: tf.Variable(weight.variable, trainable=False)
                for name, weight in network.weights.items()
            }

    def __call__(
        self, step: int, batches: Sequence[Arrays], sizes: Sequence[int], factor: float
    ) -> Any:
        """Update number `step` (from 0) with the gradient of the mean loss over all rows of the
        batches; returns that loss, a scalar tensor. `factor` is of the learning rates."""
        rates = tf.constant(factor, tf.float32), tf.constant(step + 1, tf.float32)
        first = step * self._config.accumulate
        if len(batches) == 1:
            graph = self._graph("step", self._stepped, batches[0])
            return graph(dict(batches[0]), self._seed(first), *rates)
        graph = self._graph("gradients", self._gradients, batches[0])
        losses, parts = [], []
        for place, (batch, size) in enumerate(zip(batches, sizes, strict=True)):
            loss, gradients = graph(dict(batch), self._seed(first + place))
            share = size / sum(sizes)
            losses.append(loss * share)
            parts.append(
                [None if g is None else tf.convert_to_tensor(g) * share for g in gradients]
            )
        summed = [None if same[0] is None else tf.add_n(same) for same in zip(*parts, strict=True)]
        self._apply(summed, *rates)
        return tf.add_n(losses)

    def _seed(self, batch: int) -> Any:
        """int32[2] of the batch with this number, counted over all epochs."""
        return tf.constant(np.array([self._config.seed, batch], np.uint32).view(np.int32))

    def _graph(self, name: str, function: Callable[..., Any], example: Arrays) -> Any:
        """`function` as a graph that is traced once, whatever sizes the batches have."""
        if name not in self._graphs:
            batch = {
                key: tf.TensorSpec([None] * value.ndim, value.dtype)
                for key, value in example.items()
            }
            scalar = tf.TensorSpec([], tf.float32)
            more = [scalar, scalar] if name == "step" else []
            signature = [batch, tf.TensorSpec([2], tf.int32), *more]
            self._graphs[name] = tf.function(function, input_signature=signature, autograph=False)
        return self._graphs[name]

    def _stepped(self, batch: Any, seed: Any, factor: Any, number: Any) -> Any:
        loss, gradients = self._gradients(batch, seed)
        self._apply(gradients, factor, number)
        return loss

    def _gradients(self, batch: Any, seed: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            loss = self._network.loss(batch, Noise(seed))
        return loss, self._optimizers.ready(tape.gradient(loss, self._optimizers.variables))

    def _apply(self, gradients: Sequence[Any], factor: Any, number: Any) -> None:
        self._optimizers.apply(gradients, factor, number)
        for name, average in self.average.items():
            new = self._network.weights[name].variable
            average.assign_add((1 - float(self._config.ema_decay or 0)) * (new - average))
