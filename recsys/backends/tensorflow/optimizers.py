"""The optimisers of the training configuration by name, with torch's formulas: the same gradients
give the same weights on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import torch

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.training.config import TrainingConfig
from falconer.recsys.backends.tensorflow.network import Weight

BETAS = (0.9, 0.999)
EPSILON = {"adam": 1e-8, "adagrad": 1e-10, "row_wise_adagrad": 1e-8}
FTRL_BETA = 1.0


@dataclass(frozen=True)
class Member:
    """One weight with its optimiser's name, options and state."""

    variable: Any
    optimizer: str
    options: Mapping[str, float]
    state: dict[str, Any] = field(default_factory=dict)


Rule = Callable[[Member, Any, Any, Any], None]
"""member, gradient, learning rate, the number of this update from 1 (float): change the weight."""


def _adam(member: Member, gradient: Any, rate: Any, number: Any) -> None:
    """Kingma and Ba 2015, algorithm 1; with decoupled decay for adamw (Loshchilov, Hutter 2019)."""
    first, second = member.state["first"], member.state["second"]
    one, two = BETAS
    decay = member.options["weight_decay"]
    if member.optimizer == "adamw":
        member.variable.assign(member.variable * (1 - rate * decay))
    elif decay:
        gradient += decay * member.variable
    second_power = tf.pow(two, number)
    # One pass over the weights. Its epsilon stands beside the square root before that is corrected
    # for its bias, and torch's behind.
    tf.raw_ops.ResourceApplyAdam(
        var=member.variable.handle,
        m=first.handle,
        v=second.handle,
        beta1_power=tf.pow(one, number),
        beta2_power=second_power,
        lr=rate,
        beta1=one,
        beta2=two,
        epsilon=EPSILON["adam"] * tf.sqrt(1 - second_power),
        grad=gradient,
    )


def _sgd(member: Member, gradient: Any, rate: Any, number: Any) -> None:
    gradient += member.options["weight_decay"] * member.variable
    speed = member.state["speed"]
    speed.assign(member.options["momentum"] * speed + gradient)
    member.variable.assign_sub(rate * speed)


def _adagrad(member: Member, gradient: Any, rate: Any, number: Any) -> None:
    gradient += member.options["weight_decay"] * member.variable
    sums = member.state["sum"]
    sums.assign_add(tf.square(gradient))
    member.variable.assign_sub(rate * gradient / (tf.sqrt(sums) + EPSILON["adagrad"]))


def _row_wise_adagrad(member: Member, gradient: Any, rate: Any, number: Any) -> None:
    """As `falconer.pipelines.training.row_wise_adagrad`; rows without a gradient are left alone."""
    sums = member.state["rows"]
    if not isinstance(gradient, tf.IndexedSlices):
        n = tf.shape(gradient)[0]
        gradient = tf.IndexedSlices(gradient, tf.range(n), tf.shape(gradient))
    rows, values = gradient.indices, gradient.values
    flat = tf.reshape(values, [tf.shape(values)[0], -1])
    sums.scatter_add(tf.IndexedSlices(tf.reduce_mean(tf.square(flat), 1), rows))
    steps = -rate / (tf.sqrt(tf.gather(sums, rows)) + EPSILON["row_wise_adagrad"])
    changes = tf.reshape(flat * steps[:, None], tf.shape(values))
    member.variable.scatter_add(tf.IndexedSlices(changes, rows))


def _ftrl(member: Member, gradient: Any, rate: Any, number: Any) -> None:
    """As `falconer.pipelines.training.ftrl`."""
    z, n = member.state["z"], member.state["n"]
    l1, l2 = member.options["l1"], member.options["weight_decay"]
    grown = n + tf.square(gradient)
    z.assign_add(gradient - (tf.sqrt(grown) - tf.sqrt(n)) / rate * member.variable)
    n.assign(grown)
    scale = (FTRL_BETA + tf.sqrt(grown)) / rate + l2
    member.variable.assign(-tf.sign(z) * tf.maximum(tf.abs(z) - l1, 0.0) / scale)


RULES: Mapping[str, tuple[Rule, tuple[str, ...]]] = {
    "adam": (_adam, ("first", "second")),
    "adamw": (_adam, ("first", "second")),
    "sgd": (_sgd, ("speed",)),
    "adagrad": (_adagrad, ("sum",)),
    "row_wise_adagrad": (_row_wise_adagrad, ("rows",)),
    "ftrl": (_ftrl, ("z", "n")),
}


class Optimizers:
    """The optimisers of one network.

    `groups` are the parameter groups of the torch twin, whose tensors `names` gives names to.
    Raises `ConfigError` for an optimiser that is not here.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        names: Mapping[int, str],
        weights: Mapping[str, Weight],
        config: TrainingConfig,
    ) -> None:
        self._members: dict[str, Member] = {}
        self._clip = config.clip_norm
        for group in groups:
            for parameter in group["params"]:
                name = names[id(parameter)]
                self._members[name] = _member(weights[name].variable, group, config)

    @property
    def names(self) -> list[str]:
        """The trained weights, in a fixed order."""
        return list(self._members)

    @property
    def variables(self) -> list[Any]:
        """The same, as variables."""
        return [member.variable for member in self._members.values()]

    def ready(self, gradients: Sequence[Any]) -> list[Any]:
        """Gradients of `variables` as their optimisers want them: of distinct rows for tables with
        row-wise Adagrad, else dense; None stays."""
        members = self._members.values()
        return [_ready(m, gradient) for m, gradient in zip(members, gradients, strict=True)]

    def apply(self, gradients: Sequence[Any], factor: Any, number: Any) -> None:
        """One update, within a graph; `factor` multiplies each learning rate."""
        for member, gradient in zip(self._members.values(), self._clipped(gradients), strict=True):
            if gradient is not None:
                rule, _ = RULES[member.optimizer]
                rule(member, gradient, member.options["lr"] * factor, number)

    def _clipped(self, gradients: Sequence[Any]) -> Sequence[Any]:
        if not self._clip:
            return gradients
        norm = tf.linalg.global_norm([g for g in gradients if g is not None])
        scale = tf.minimum(1.0, self._clip / (norm + 1e-6))
        return [g if g is None else _scaled(g, scale) for g in gradients]

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state, as "<weight>.<name>"."""
        return {
            f"{name}.{part}": torch.from_numpy(np.array(variable.numpy()))
            for name, member in self._members.items()
            for part, variable in member.state.items()
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `tensors` gave."""
        for name, member in self._members.items():
            for part, variable in member.state.items():
                variable.assign(tensors[f"{name}.{part}"].numpy())


def _member(variable: Any, group: Mapping[str, Any], config: TrainingConfig) -> Member:
    optimizer = group.get("optimizer", config.optimizer)
    if optimizer not in RULES:
        raise ConfigError(
            f"backend tensorflow: no optimizer {optimizer!r}; known: {', '.join(RULES)}"
        )
    options = {
        "lr": float(group.get("lr", config.learning_rate)),
        "weight_decay": float(group.get("weight_decay", config.weight_decay)),
        "momentum": config.momentum,
        "l1": float(group.get("l1", 0.0)),
    }
    member = Member(variable, optimizer, options)
    for part in RULES[optimizer][1]:
        shape = variable.shape[:1] if part == "rows" else variable.shape
        member.state[part] = tf.Variable(tf.zeros(shape), trainable=False)
    if optimizer == "ftrl":
        first = variable.numpy()
        scale = FTRL_BETA / options["lr"] + options["weight_decay"]
        member.state["z"].assign(-(first * scale + np.sign(first) * options["l1"]))
    return member


def _ready(member: Member, gradient: Any) -> Any:
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    if member.optimizer != "row_wise_adagrad":
        return tf.convert_to_tensor(gradient)
    rows, place = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, place, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _scaled(gradient: Any, scale: Any) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * scale, gradient.indices, gradient.dense_shape)
    return gradient * scale
