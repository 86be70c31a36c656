"""VAE-CF on TensorFlow, in Keras 3; the equations are in `falconer.recsys.models.vae_cf.on_torch`,
whose scorer the trained model has."""

from __future__ import annotations

from typing import Any

import numpy as np

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow import keras, tf
from falconer.recsys.backends.tensorflow.layers import dense
from falconer.recsys.backends.tensorflow.loop import fit_with, on_host
from falconer.recsys.backends.tensorflow.network import Arrays, Noise, Tensors, Weight, start_from
from falconer.recsys.backends.tensorflow.serving import Served, fixed
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.backends.torch.item_sets.batches import ProfileBatch
from falconer.recsys.models.vae_cf import on_torch
from falconer.recsys.models.vae_cf.config import VaeCfConfig
from falconer.recsys.models.vae_cf.on_torch import VaeCf, VaeCfScorer

load = on_torch.load


class VaeCfNetwork:
    """Twin of `falconer.recsys.models.vae_cf.on_torch.VaeCf`."""

    def __init__(self, twin: VaeCf, config: VaeCfConfig) -> None:
        self._config, self._variational = config, twin.variational
        n, width = twin.input.shape
        self._input = tf.Variable(tf.zeros([n, width]))
        self._input_bias = tf.Variable(tf.zeros([width]))
        self.weights = {
            "input": Weight(self._input),
            "input_bias": Weight(self._input_bias),
        }
        self._encoder = [self._dense(f"encoder.{i}", one) for i, one in enumerate(twin.encoder)]
        self._decoder = [self._dense(f"decoder.{i}", one) for i, one in enumerate(twin.decoder)]
        self._output = self._dense("output", twin.output)

    def _dense(self, name: str, twin: Any) -> Any:
        layer, weights = dense(name, twin.in_features, twin.out_features)
        self.weights |= weights
        return layer

    def arrays(self, batch: ProfileBatch) -> Arrays:
        """Items int32[N] of B users, the user int64[N] of each, how many [B] they are, and the
        weight of the divergence."""
        profiles = batch.profiles
        return {
            "items": profiles.items.numpy(),
            "rows": profiles.rows.numpy(),
            "lengths": profiles.lengths.numpy(),
            "beta": np.array(self._config.beta(batch.number), np.float32),
        }

    def loss(self, batch: Tensors, noise: Noise | None) -> Any:
        """Equation 6, negated: the mean over the batch's users."""
        logits, divergence = self.logits(batch, noise)
        shares = tf.nn.log_softmax(logits)
        rows = tf.cast(batch["rows"], tf.int64)
        cells = tf.stack([rows, tf.cast(batch["items"], tf.int64)], 1)
        likelihood = tf.math.unsorted_segment_sum(
            tf.gather_nd(shares, cells), rows, tf.shape(batch["lengths"])[0]
        )
        return tf.reduce_mean(batch["beta"] * divergence - likelihood)

    def logits(self, batch: Tensors, noise: Noise | None) -> tuple[Any, Any]:
        """[B, n_items], and KL(q(z | x) || N(0, I)) [B]."""
        mean, log_variance = self._encoded(self.first_layer(batch, noise))
        if log_variance is None:
            return self._decoded(mean), tf.zeros(tf.shape(mean)[:1])
        squares = keras.ops.exp(log_variance) + keras.ops.square(mean)
        divergence = 0.5 * keras.ops.sum(squares - log_variance - 1, 1)
        if noise is None:
            return self._decoded(mean), divergence
        z = mean + noise.normal(tf.shape(mean)) * keras.ops.exp(0.5 * log_variance)
        return self._decoded(z), divergence

    def of_weights(self, weights: Any) -> Any:
        """Weights [N, n_items] of length 1 -> [N, n_items], as in evaluation."""
        mean, _ = self._encoded(tf.matmul(weights, self._input) + self._input_bias)
        return self._decoded(mean)

    def first_layer(self, batch: Tensors, noise: Noise | None) -> Any:
        """[B, h_1] before its tanh: the sum of weight x row over each user's items."""
        lengths, rows = batch["lengths"], batch["rows"]
        weights = tf.gather(tf.math.rsqrt(tf.cast(lengths, tf.float32)), rows)
        if noise is not None and self._config.dropout:
            kept = noise.uniform(tf.shape(weights)) >= self._config.dropout
            weights = tf.where(kept, weights / (1 - self._config.dropout), 0.0)
        products = tf.gather(self._input, batch["items"]) * weights[:, None]
        summed = tf.math.unsorted_segment_sum(products, rows, tf.shape(lengths)[0])
        return summed + self._input_bias

    def _encoded(self, x: Any) -> tuple[Any, Any]:
        for layer in self._encoder:
            x = layer(keras.ops.tanh(x))
        if not self._variational:
            return keras.ops.tanh(x), None
        mean, log_variance = keras.ops.split(x, 2, axis=1)
        return mean, log_variance

    def _decoded(self, z: Any) -> Any:
        for layer in self._decoder:
            z = keras.ops.tanh(layer(z))
        return self._output(z)


def served(graph: Graph, config: VaeCfConfig) -> Served:
    """What a trained model's graph answers; twin of
    `falconer.recsys.models.vae_cf.on_torch.VaeCfGraph`."""
    module: Any = graph.module
    network, popularity = VaeCfNetwork(module.model, config), fixed(module.popularity)
    start_from(network, module.model)

    def answer(inputs: Tensors) -> Any:
        weights = recency_weights(inputs["history"], module.model.n_items, module.decay)
        scores = network.of_weights(tf.math.l2_normalize(weights, 1, epsilon=1e-37))
        return tf.where(tf.reduce_any(weights > 0, 1, keepdims=True), scores, popularity)

    return Served(answer, [popularity, *(w.variable for w in network.weights.values())])


def recency_weights(history: Any, n_items: int, decay: float) -> Any:
    """[N, n_items] of histories int64 [N, L], oldest first and then -1: decay^position of each
    distinct item, by its last occurrence, the newest at 0."""
    shape = tf.shape(history, tf.int64)
    n_rows, length = shape[0], shape[1]
    rows = tf.repeat(tf.range(n_rows)[:, None], length, 1)
    outside = tf.constant(n_items, tf.int64)
    items = tf.where(history >= 0, history, outside)
    # Sorted, so that an item's occurrences lie side by side and its last one first: LiteRT has no
    # maximum over the cells of a table.
    keys = items * length + tf.range(length)
    places = tf.math.top_k(keys, tf.cast(length, tf.int32)).values % length
    in_order = tf.gather(items, places, batch_dims=1)
    before = tf.concat([tf.fill(tf.stack([n_rows, 1]), outside), in_order], 1)[:, :-1]
    last_there = tf.cast((in_order != before) & (in_order < outside), tf.float32)
    last = tf.scatter_nd(tf.stack([rows, places], 2), last_there, shape)
    position = tf.reduce_sum(last, 1, keepdims=True) - tf.cumsum(last, 1)
    weights = last * tf.pow(decay, position)
    cells = tf.stack([rows, items], 2)
    return tf.scatter_nd(cells, weights, tf.stack([n_rows, outside + 1]))[:, :n_items]


def train(config: VaeCfConfig, data: Dataset, run: Run) -> VaeCfScorer:
    """As on torch; raises `ConfigError` too for a knob that TensorFlow does not honour."""
    fit = fit_with(lambda task: VaeCfNetwork(task.model, config), config.training.device)
    return on_torch.train(on_host(config), data, run, fit=fit)
