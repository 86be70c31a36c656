"""The sequence models in Keras 3; twins of `falconer.recsys.backends.torch.sequences`, where the
equations and the losses' definitions are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from falconer.recsys.backends.tensorflow import keras, tf
from falconer.recsys.backends.tensorflow.layers import dense, embedding, normalisation
from falconer.recsys.backends.tensorflow.network import (
    Arrays,
    Noise,
    Tensors,
    Weight,
    dropout,
    start_from,
)
from falconer.recsys.backends.tensorflow.precision import product
from falconer.recsys.backends.tensorflow.serving import Served, fixed
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.backends.torch.sequences.batches import SequenceBatch
from falconer.recsys.backends.torch.sequences.scorer import SequenceModel
from falconer.recsys.backends.torch.sequences.training import SequenceTask
from falconer.recsys.configs.sequences import SequenceConfig

ops = keras.ops


class Block:
    """Twin of `falconer.recsys.backends.torch.sequences.transformer.Block` and of its
    `QueryNormBlock`."""

    def __init__(self, prefix: str, config: SequenceConfig, *, causal: bool) -> None:
        dim, wide = config.dim, config.feed_forward
        self._n_heads, self._causal, self._share = config.n_heads, causal, config.dropout
        self._activation, self._query_norm = config.activation, config.block == "query_norm"
        made = {
            "norm_1": normalisation(f"{prefix}.norm_1", dim),
            "norm_2": normalisation(f"{prefix}.norm_2", dim),
            "to_all": dense(f"{prefix}.attention.to_all", dim, 3 * dim),
            "from_heads": dense(f"{prefix}.from_heads", dim, dim),
            "up": dense(f"{prefix}.up", dim, wide),
            "down": dense(f"{prefix}.down", wide, dim),
        }
        self._layers = {name: layer for name, (layer, _) in made.items()}
        self.weights: dict[str, Weight] = {}
        for _, weights in made.values():
            self.weights |= weights

    def __call__(self, x: Any, inside: Any, noise: Noise | None) -> Any:
        """x [B, L, d], inside bool[B, L] -> [B, L, d]."""
        layers, asking = self._layers, self._layers["norm_1"](x)
        seen = self._attention(x if self._query_norm else asking, asking, inside)
        begun = asking if self._query_norm else x
        begun = begun + dropout(layers["from_heads"](seen), self._share, noise)
        normalised = layers["norm_2"](begun)
        hidden = layers["up"](normalised)
        hidden = (
            ops.gelu(hidden, approximate=False) if self._activation == "gelu" else ops.relu(hidden)
        )
        begun = normalised if self._query_norm else begun
        return begun + dropout(layers["down"](hidden), self._share, noise)

    def _attention(self, x: Any, asking: Any, inside: Any) -> Any:
        shape = ops.shape(x)
        b, length, dim = shape[0], shape[1], x.shape[2]
        parts = ops.split(self._layers["to_all"](x), 3, axis=-1)
        if asking is not x:
            parts[0] = ops.split(self._layers["to_all"](asking), 3, axis=-1)[0]
        query, key, value = (
            ops.transpose(
                ops.reshape(part, (b, length, self._n_heads, dim // self._n_heads)), (0, 2, 1, 3)
            )
            for part in parts
        )
        scores = product(query, ops.transpose(key, (0, 1, 3, 2)))
        scores = scores / math.sqrt(dim // self._n_heads)
        if self._causal:
            allowed = tf.linalg.band_part(tf.ones([length, length], tf.bool), -1, 0)[None, None]
        else:
            allowed = inside[:, None, None]
        shares = ops.softmax(tf.where(allowed, scores, -math.inf))
        seen = ops.transpose(product(shares, value), (0, 2, 1, 3))
        return ops.reshape(seen, (b, length, dim))


class SequenceNetwork:
    """Twin of `falconer.recsys.backends.torch.sequences.scorer.SequenceModel`, with its loss."""

    def __init__(self, twin: SequenceModel, popularity: Any, config: SequenceConfig) -> None:
        """`popularity` [n_items]: events of each item, which negatives are drawn by."""
        self._config, self._n_items = config, twin.n_items
        self._log_chance = _log_chance(popularity, config.negative_alpha)
        n_tokens, dim = twin.encoder.items.weight.shape
        self._items, items = embedding("encoder.items", n_tokens, dim)
        self._positions, positions = embedding("encoder.positions", config.max_length, dim)
        self._norm, norm = normalisation("encoder.norm", dim)
        self._blocks = [
            Block(f"encoder.blocks.{place}", config, causal=twin.mask is None)
            for place in range(config.n_blocks)
        ]
        self.weights: dict[str, Weight] = {**items, **positions, **norm}
        for block in self._blocks:
            self.weights |= block.weights

    @classmethod
    def of(cls, task: SequenceTask, config: Any) -> SequenceNetwork:
        """The twin of a task's model."""
        return cls(task.model, task.popularity, config)

    def arrays(self, batch: SequenceBatch) -> Arrays:
        """As `SequenceBatch`; no negatives are an empty array."""
        negatives = batch.negatives
        return {
            "items": batch.items.numpy(),
            "lengths": batch.lengths.numpy(),
            "places": batch.places.numpy(),
            "answers": batch.answers.numpy(),
            "negatives": np.empty(0, np.int64) if negatives is None else negatives.numpy(),
        }

    def hidden(self, batch: Tensors, noise: Noise | None) -> Any:
        """[T, d]: what the encoder gives at the places asked."""
        items, lengths = batch["items"], batch["lengths"]
        place = tf.range(tf.cast(tf.shape(items)[1], tf.int64))
        from_end = tf.maximum(lengths[:, None] - 1 - place, 0)
        x = self._items(items)
        if self._config.scale_embeddings:
            x = x * math.sqrt(self._config.dim)
        x = dropout(x + self._positions(from_end), self._config.dropout, noise)
        inside = place < lengths[:, None]
        for block in self._blocks:
            x = block(x, inside, noise)
        rows = tf.gather(tf.reshape(x, [-1, self._config.dim]), batch["places"])
        return self._norm(rows)

    def item_bias(self) -> Any:
        """[n_items], or None."""
        return None

    def of_catalogue(self, hidden: Any) -> Any:
        """[T, d] -> [T, n_items]: before the softmax."""
        scores, bias = product(hidden, self._vectors(), transpose_b=True), self.item_bias()
        return scores if bias is None else scores + bias

    def _vectors(self) -> Any:
        return self._items.embeddings.value[: self._n_items]

    def loss(self, batch: Tensors, noise: Noise | None) -> Any:
        """The mean over the places; see `falconer.recsys.backends.torch.losses`."""
        hidden, answers = self.hidden(batch, noise), batch["answers"]
        if self._config.loss == "softmax":
            scores = self.of_catalogue(hidden)
            chosen = tf.gather(scores, answers, batch_dims=1)
            return tf.reduce_mean(tf.reduce_logsumexp(scores, 1) - chosen)
        negatives = batch["negatives"]
        items, bias = self._vectors(), self.item_bias()
        positive = tf.reduce_sum(hidden * tf.gather(items, answers), 1)
        vectors = tf.gather(items, negatives)
        if len(negatives.shape) == 1:
            drawn = product(hidden, vectors, transpose_b=True)
        else:
            drawn = tf.reduce_sum(hidden[:, None] * vectors, 2)
        if bias is not None:
            positive += tf.gather(bias, answers)
            drawn += tf.gather(bias, negatives)
        hits = tf.equal(negatives, answers[:, None])
        return self.sampled(positive, drawn, negatives, hits)

    def sampled(self, positive: Any, drawn: Any, negatives: Any, hits: Any) -> Any:
        """Scores of the answers [T] and of the K draws [T, K]; `hits` are draws of the answer."""
        k = tf.cast(tf.shape(negatives)[-1], tf.float32)
        if self._config.loss == "sampled_softmax":
            corrected = drawn - tf.gather(self._log_chance, negatives) - tf.math.log(k)
            corrected = tf.where(hits, -math.inf, corrected)
            every = tf.concat([positive[:, None], corrected], 1)
            return tf.reduce_mean(tf.reduce_logsumexp(every, 1) - positive)
        calibration = self._config.calibration if self._config.loss == "gbce" else 0.0
        rate = k / max(1, self._n_items - 1)
        beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
        against = tf.reduce_sum(tf.where(hits, 0.0, tf.math.log_sigmoid(-drawn)), 1)
        return -tf.reduce_mean(beta * tf.math.log_sigmoid(positive) + against) / (k + 1)


def served_histories(network: SequenceNetwork, graph: Graph) -> Served:
    """What a trained model's graph answers; twin of
    `falconer.recsys.backends.torch.sequences.scorer.SequenceGraph`."""
    module: Any = graph.module
    model: SequenceModel = module.model
    start_from(network, model)
    popularity = fixed(module.popularity)

    def answer(inputs: Tensors) -> Any:
        history, size = inputs["history"], model.max_length
        length = tf.reduce_sum(tf.cast(history >= 0, tf.int64), 1, keepdims=True)
        kept = tf.minimum(length, model.room)
        place = tf.range(size, dtype=tf.int64)[None]
        source = tf.maximum(tf.minimum(length - kept + place, length - 1), 0)
        items = tf.where(place < kept, tf.gather(history, source, batch_dims=1), 0)
        if model.mask is not None:
            items = tf.where(place == kept, tf.constant(model.mask, tf.int64), items)
        asked = (kept + (model.mask is not None))[:, 0]
        rows = tf.range(tf.shape(history, tf.int64)[0])
        places = rows * size + tf.maximum(asked - 1, 0)
        batch = {"items": items, "lengths": asked, "places": places}
        return tf.where(length > 0, network.of_catalogue(network.hidden(batch, None)), popularity)

    return Served(answer, [popularity, *(w.variable for w in network.weights.values())])


def _log_chance(counts: Any, alpha: float) -> Any:
    weights = np.asarray(counts, np.float64) ** alpha
    with np.errstate(divide="ignore"):
        return tf.constant(np.log(weights / weights.sum()), tf.float32)
