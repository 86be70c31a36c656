"""TensorFlow: the training loop, its optimisers, and what the networks are built of.

A network here is the twin of a torch module: the same weights under the same names. So both sides
start from the same values, read the same batches, and a model that either has trained is saved,
scored and exported by the same code.
"""

from falconer.pipelines.compat import choose_keras_2

choose_keras_2()

import keras  # noqa: E402 (Keras 3 on TensorFlow)
import tensorflow as tf  # noqa: E402 (its Keras is chosen before)

__all__ = ["keras", "tf"]
