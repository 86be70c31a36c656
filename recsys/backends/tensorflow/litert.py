"""A SavedModel as a LiteRT (TFLite) file, and what such a file answers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from falconer.pipelines.errors import PipelineError
from falconer.recsys.backends.tensorflow.network import Arrays
from falconer.recsys.backends.tensorflow.serving import OUTPUT, names_of


def converted(folder: str, *, int8: bool) -> bytes:
    """The file; with `int8` matrices of 1,024 numbers and more are kept as int8 with a scale a row,
    and products are computed in int8 where LiteRT can.

    Raises `PipelineError` where the model has an operation that LiteRT has not.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    try:
        content: bytes = converter.convert()
    except Exception as error:  # ConverterError is no public name
        missing = sorted(set(re.findall(r"'(tf\.\w+)' op is neither", str(error))))
        raise PipelineError(
            f"the model has no LiteRT form: {', '.join(missing) or str(error).splitlines()[0]}"
        ) from error
    return content


def answering(content: bytes) -> Callable[[Arrays], NDArray[np.float32]]:
    """What gives the scores of such a file for its inputs."""
    runner = _interpreter(content).get_signature_runner("serving_default")

    def answer(inputs: Arrays) -> NDArray[np.float32]:
        names = names_of(list(inputs))
        given = {names[name]: value for name, value in inputs.items()}
        scores: NDArray[np.float32] = runner(**given)[OUTPUT]
        return scores

    return answer


def _interpreter(content: bytes) -> Any:
    with warnings.catch_warnings():
        # It is announced to move to a package of its own, which is not a dependency.
        warnings.filterwarnings("ignore", message=r"[\s\S]*tf\.lite\.Interpreter is deprecated")
        return tf.lite.Interpreter(model_content=content, num_threads=1)
