"""bf16 on TensorFlow: products of matrices are computed in it, and all else in float32.

So weights, gradients, optimisers, looked-up vectors, normalisations, what is added up along a
network, logits and losses stay float32, as under torch's autocast. Layers of Keras 2 and 3 learn it
from the policies that hold when they are made, and other products from `product`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from falconer.recsys.backends.tensorflow import keras, tf

FLOAT32 = "float32"
BF16 = "mixed_bfloat16"
"""Keras' name of it: variables in float32, computations in bfloat16."""


@contextmanager
def policy(name: str) -> Iterator[None]:
    """Layers that are made within the block, and `product` there, compute as `name` says."""
    legacy = tf.keras.mixed_precision
    before = keras.config.dtype_policy(), legacy.global_policy()
    keras.config.set_dtype_policy(name)
    legacy.set_global_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        legacy.set_global_policy(before[1])


def lowered(x: Any) -> Any:
    """A factor of a product, in the type that products are computed in."""
    return tf.cast(x, keras.config.dtype_policy().compute_dtype)


def raised(x: Any) -> Any:
    """A product in float32."""
    return tf.cast(x, tf.float32)


def product(a: Any, b: Any, *, transpose_b: bool = False) -> Any:
    """[..., m, k] x [..., k, n] -> [..., m, n], with b as [..., n, k] where that is to be
    transposed."""
    return raised(tf.matmul(lowered(a), lowered(b), transpose_b=transpose_b))
