"""The layers of merlin-models that the networks of pairs are built of, with weights by torch's
names. They start as zeros: a network takes its first weights from its torch twin."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from falconer.pipelines.compat import importing_merlin_models
from falconer.recsys.backends.tensorflow.network import Noise, Weight, dropout
from falconer.recsys.backends.tensorflow.precision import FLOAT32, policy, raised


@cache
def models() -> Any:
    """The module `merlin.models.tf`. It makes variables as it is imported, and TensorFlow's threads
    cannot be chosen any more after that: hence not before a network is made."""
    with importing_merlin_models():
        import merlin.models.tf as models

        return models


@cache
def schemas() -> Any:
    """The module `merlin.schema`."""
    models()
    import merlin.schema as schemas

    return schemas


class Table:
    """One merlin `EmbeddingTable` of n vectors."""

    def __init__(self, name: str, n: int, dim: int) -> None:
        """`name` is that of the torch twin's weight."""
        self._dim = dim
        self._layer = None
        if n:
            domain = {"domain": {"min": 0, "max": n - 1, "name": name}}
            tags = [schemas().Tags.CATEGORICAL]
            column = schemas().ColumnSchema(name, dtype=np.int64, tags=tags, properties=domain)
            with policy(FLOAT32):
                self._layer = models().EmbeddingTable(dim, column, embeddings_initializer="zeros")
                self._layer(tf.zeros([1, 1], tf.int64))
        self.variable = (
            self._layer.table.embeddings
            if self._layer is not None
            else tf.Variable(tf.zeros([0, dim]))
        )
        self.weights = {name: Weight(self.variable)}

    def __call__(self, ids: Any) -> Any:
        """Ids [...] -> [..., dim]."""
        shape = tf.concat([tf.shape(ids), [self._dim]], 0)
        if self._layer is None:
            return tf.zeros(shape)
        return tf.reshape(self._layer(tf.reshape(ids, [-1, 1])), shape)


class Mlp:
    """A merlin `MLPBlock` with ReLU; `linear_end` leaves it out behind the last layer."""

    def __init__(
        self,
        names: Sequence[str],
        n_in: int,
        widths: Sequence[int],
        *,
        linear_end: bool = False,
        bias: bool = True,
        share_dropped: float = 0.0,
    ) -> None:
        """`names` are those of the torch twin's layers."""
        self._block = models().MLPBlock(
            list(widths),
            no_activation_last_layer=linear_end,
            kernel_initializer="zeros",
            use_bias=bias,
        )
        self._block(tf.zeros([1, n_in]))
        self._share = share_dropped
        self._last = self._block.layers[-1] if linear_end else None
        self.weights = {}
        for name, layer in zip(names, self._block.layers, strict=True):
            self.weights[f"{name}.weight"] = Weight(layer.dense.kernel, transposed=True)
            if bias:
                self.weights[f"{name}.bias"] = Weight(layer.dense.bias)

    def __call__(self, x: Any, noise: Noise | None) -> Any:
        """[N, n_in] -> [N, widths[-1]]; with `noise` outputs of layers with ReLU are dropped."""
        for layer in self._block.layers:
            x = raised(layer(x))
            if layer is not self._last:
                x = dropout(x, self._share, noise)
        return x
