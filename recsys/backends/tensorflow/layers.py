"""Layers of Keras 3 with weights by torch's names. They start as zeros: a network takes its first
weights from its torch twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from falconer.recsys.backends.tensorflow.network import Weight
from falconer.recsys.backends.tensorflow.precision import FLOAT32, raised

EPSILON = 1e-5
"""Of a normalisation, as torch has it."""


def dense(name: str, n_in: int, n_out: int) -> tuple[Callable[[Any], Any], dict[str, Weight]]:
    """A layer [..., n_in] -> float32 [..., n_out], and its weights."""
    layer = keras.layers.Dense(n_out, kernel_initializer="zeros")
    layer.build((None, n_in))
    return lambda x: raised(layer(x)), {
        f"{name}.weight": Weight(layer.kernel.value, transposed=True),
        f"{name}.bias": Weight(layer.bias.value),
    }


def embedding(name: str, n: int, dim: int) -> tuple[Any, dict[str, Weight]]:
    """A table of n vectors, and its weight."""
    layer = keras.layers.Embedding(n, dim, embeddings_initializer="zeros", dtype=FLOAT32)
    layer.build()
    return layer, {f"{name}.weight": Weight(layer.embeddings.value)}


def normalisation(name: str, dim: int) -> tuple[Any, dict[str, Weight]]:
    """A layer normalisation, and its weights."""
    layer = keras.layers.LayerNormalization(epsilon=EPSILON, dtype=FLOAT32)
    layer.build((None, dim))
    return layer, {
        f"{name}.weight": Weight(layer.gamma.value),
        f"{name}.bias": Weight(layer.beta.value),
    }
