"""A network in TensorFlow whose weights are those of a torch module, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import torch
from numpy.typing import NDArray

from falconer.pipelines.training.weights import tensors_of

Arrays = Mapping[str, NDArray[Any]]
Tensors = Mapping[str, Any]
"""A batch, as TensorFlow has it."""


@dataclass(frozen=True)
class Weight:
    """A variable, and how its values lie beside those of its torch twin: a layer's matrix is
    [n_out, n_in] there and [n_in, n_out] here."""

    variable: Any
    transposed: bool = False

    def read(self) -> NDArray[np.float32]:
        """The values in torch's layout."""
        return self.to_torch(self.variable.numpy())

    def to_torch(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of this variable's shape in torch's layout."""
        return np.ascontiguousarray(values.T if self.transposed else values)

    def write(self, values: NDArray[np.float32]) -> None:
        """Take values in torch's layout."""
        self.variable.assign(values.T if self.transposed else values)


class Noise:
    """Random numbers of one step: a function of its seed and of the order in which they are asked
    for, so that a training which goes on at a step draws what it would have drawn."""

    def __init__(self, seed: Any) -> None:
        """`seed` int32[2]."""
        self._seed, self._drawn = seed, 0

    def uniform(self, shape: Any) -> Any:
        """float32 of `shape`, in [0, 1)."""
        return tf.random.stateless_uniform(shape, self._next())

    def normal(self, shape: Any) -> Any:
        """float32 of `shape`: standard normal."""
        return tf.random.stateless_normal(shape, self._next())

    def _next(self) -> Any:
        self._drawn += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._drawn)


def dropout(x: Any, share: float, noise: Noise | None) -> Any:
    """Sets each number to 0 with chance `share` and scales the others; x itself without noise."""
    if noise is None or share == 0:
        return x
    kept = noise.uniform(tf.shape(x)) >= share
    return tf.where(kept, x / (1 - share), 0.0)


class Network(Protocol):
    """What the loop trains."""

    @property
    def weights(self) -> Mapping[str, Weight]:
        """By the name that the torch twin's tensor has."""
        ...

    def arrays(self, batch: Any) -> Arrays:
        """A batch of the shared source as arrays; of the same names and ranks each time."""
        ...

    def loss(self, batch: Tensors, noise: Noise | None) -> Any:
        """The mean loss over the batch's rows; without `noise` as in evaluation."""
        ...


def start_from(network: Network, model: torch.nn.Module) -> None:
    """Give the network its twin's weights. Raises `ValueError` where the names are not the same."""
    own, other = dict(network.weights), tensors_of(model)
    if own.keys() != other.keys():
        raise ValueError(f"the twins differ: {sorted(own.keys() ^ other.keys())}")
    for name, weight in own.items():
        weight.write(other[name].cpu().numpy())


@torch.no_grad()
def hand_back(values: Mapping[str, NDArray[np.float32]], model: torch.nn.Module) -> None:
    """Give the torch twin these values, in its layout."""
    for name, tensor in tensors_of(model).items():
        tensor.copy_(torch.from_numpy(values[name]))
