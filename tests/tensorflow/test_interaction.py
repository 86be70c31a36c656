"""The dot products of DLRM are those of merlin-models' layer, with the same gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.interaction import PairwiseProducts
from falconer.recsys.backends.tensorflow.merlin import models


def with_gradient(layer: Any, vectors: Any, weights: Any) -> tuple[Any, Any]:
    """What a layer gives, and the gradient of its weighted sum."""

    @tf.function(autograph=False)
    def both() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            found = layer(vectors)
            total = tf.reduce_sum(found * weights)
        return found, tape.gradient(total, vectors)

    found, gradient = both()
    return found.numpy(), gradient.numpy()


@pytest.mark.parametrize("n", [2, 3, 7])
def test_products_are_those_of_merlin(n: int) -> None:
    rng = np.random.default_rng(n)
    vectors = tf.constant(rng.normal(size=(5, n, 4)), tf.float32)
    weights = tf.constant(rng.normal(size=(5, n * (n - 1) // 2)), tf.float32)
    ours = with_gradient(PairwiseProducts(n), vectors, weights)
    theirs = with_gradient(models().DotProductInteraction(), vectors, weights)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-6)
