"""A trained network as what answers requests: for a SavedModel, or a LiteRT file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from falconer.recsys.backends.tensorflow.network import Arrays, Tensors

OUTPUT = "scores"


@dataclass(frozen=True)
class Served:
    """answer     inputs of a graph (`falconer.recsys.backends.torch.graphs`) by name -> float32
                  scores
    variables  all that it reads"""

    answer: Callable[[Tensors], Any]
    variables: Sequence[Any]


def fixed(tensor: Any) -> Any:
    """A torch tensor as a variable that nothing changes, so that it is not part of the graph, which
    may have 2 GiB."""
    return tf.Variable(tensor.detach().cpu().numpy(), trainable=False)


def names_of(inputs: Sequence[str]) -> dict[str, str]:
    """What a graph calls its inputs: TensorFlow takes letters, digits and _ only."""
    names: dict[str, str] = {}
    for name in inputs:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        plain = plain if re.match("[A-Za-z]", plain) else f"x{plain}"
        while plain in names.values():
            plain += "_"
        names[name] = plain
    return names


def module_of(served: Served, example: Arrays) -> Any:
    """What is written: a `tf.Module` with the variables, and one `function` of any number of rows.
    `example` has inputs of the right types and ranks."""
    names = names_of(list(example))

    def scores(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {OUTPUT: served.answer({name: inputs[names[name]] for name in names})}

    module = tf.Module()
    module.read = list(served.variables)
    module.function = tf.function(scores, autograph=False).get_concrete_function(
        {
            names[name]: tf.TensorSpec([None] * value.ndim, value.dtype, name=names[name])
            for name, value in example.items()
        }
    )
    return module


def inputs_of(example: Arrays) -> list[dict[str, Any]]:
    """Name, feature, type and rank of each input."""
    names = names_of(list(example))
    return [
        {"name": names[name], "reads": name, "type": str(value.dtype), "rank": value.ndim}
        for name, value in example.items()
    ]


def write(module: Any, folder: str) -> None:
    """As a SavedModel, with the signature `serving_default`."""
    tf.saved_model.save(module, folder, signatures={"serving_default": module.function})


def answering(folder: str) -> Callable[[Arrays], NDArray[np.float32]]:
    """What gives the scores of such a folder, read anew, for its inputs."""
    loaded = tf.saved_model.load(folder)
    function = loaded.signatures["serving_default"]

    def answer(inputs: Arrays) -> NDArray[np.float32]:
        assert loaded is not None  # it owns the variables
        names = names_of(list(inputs))
        given = {names[name]: tf.constant(value) for name, value in inputs.items()}
        scores: NDArray[np.float32] = function(**given)[OUTPUT].numpy()
        return scores

    return answer
