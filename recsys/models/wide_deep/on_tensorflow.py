"""Wide & Deep on TensorFlow, of merlin-models' layers; the equations are in
`falconer.recsys.models.wide_deep.on_torch`, whose scorer the trained model has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.loop import fit_with, on_host
from falconer.recsys.backends.tensorflow.merlin import Table
from falconer.recsys.backends.tensorflow.network import Noise, Weight
from falconer.recsys.backends.tensorflow.pairs import (
    FieldTables,
    Inputs,
    InputTable,
    PairNetwork,
    split_mlp,
)
from falconer.recsys.backends.tensorflow.served_pairs import served_pairs
from falconer.recsys.backends.tensorflow.serving import Served
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.backends.torch.pairs.inputs import Fields
from falconer.recsys.backends.torch.pairs.network import TwoSided
from falconer.recsys.backends.torch.pairs.scorers import ListScorer, PairRanker
from falconer.recsys.models.wide_deep import on_torch
from falconer.recsys.models.wide_deep.config import WideDeepConfig

load = on_torch.load


class LinearSide:
    """One side's part of the linear model."""

    def __init__(self, prefix: str, twin: on_torch.LinearSide) -> None:
        self._values = None if twin.values is None else FieldTables(f"{prefix}.values", twin.values)
        self.weights = dict(self._values.weights) if self._values else {}
        self._numbers = None
        if twin.numbers is not None:
            self._numbers = tf.Variable(tf.zeros([len(twin.numbers)]))
            self.weights[f"{prefix}.numbers"] = Weight(self._numbers)

    def __call__(self, inputs: Inputs) -> Any:
        """Inputs of N pairs -> [N]."""
        total = tf.zeros(tf.shape(inputs.ids)[:1])
        if self._values is not None:
            total += tf.reduce_sum(self._values(inputs.ids), [1, 2])
        if self._numbers is not None:
            total += tf.linalg.matvec(inputs.numbers, self._numbers)
        return total


class Cross:
    """A weight for each combination of the values of some fields; twin of
    `falconer.recsys.models.wide_deep.on_torch.Cross`."""

    def __init__(self, name: str, twin: on_torch.Cross) -> None:
        self._strides, self._hashed = twin.strides, twin.hashed
        self._n = len(twin.weight)
        self._table = Table(name, self._n, 1)
        self.weights = self._table.weights

    def __call__(self, sides: Sequence[tuple[Fields, Any]]) -> Any:
        """Ids int32[N, F] of both sides -> [N]."""
        number = tf.zeros(tf.shape(sides[0][1])[:1], tf.int64)
        for fields, ids in sides:
            for place, field in enumerate(fields.categorical):
                if field.name in self._strides:
                    stride = tf.constant(self._strides[field.name], tf.int64)
                    number += (tf.cast(ids[:, place], tf.int64) + 1) * stride
        if self._hashed:
            mixer, prime = (tf.constant(n, tf.int64) for n in (on_torch.MIXER, on_torch.PRIME))
            number = number * mixer % prime % self._n
        return self._table(number)[:, 0]


class WideDeepNetwork(PairNetwork):
    """Twin of `falconer.recsys.models.wide_deep.on_torch.WideDeep`."""

    def __init__(self, twin: TwoSided, items: InputTable, config: WideDeepConfig) -> None:
        super().__init__(twin, items, config)
        assert isinstance(twin, on_torch.WideDeep)
        self._sides = (twin.query_fields, twin.item_fields)
        wide = (("wide.query", twin.wide.query), ("wide.item", twin.wide.item))
        self._wide = [LinearSide(name, side) for name, side in wide]
        self._crosses = [
            Cross(f"wide._crosses.{place}.weight", cross)
            for place, cross in enumerate(twin.wide.crosses)
        ]
        deep = (("deep.query", twin.deep.query), ("deep.item", twin.deep.item))
        self._deep = [FieldTables(name, side) for name, side in deep]
        self._mlp = split_mlp("deep.mlp", twin.deep.mlp)
        parts: list[Any] = [*self._wide, *self._crosses, *self._deep, self._mlp]
        self.weights = {name: weight for part in parts for name, weight in part.weights.items()}

    def of_pairs(self, query: Inputs, items: Inputs, noise: Noise | None) -> Any:
        """Inputs of N pairs -> [N]."""
        sides = (query, items)
        columns = []
        for side, tables in zip(sides, self._deep, strict=True):
            vectors = tables(side.ids)
            width = vectors.shape[1] * vectors.shape[2]
            columns += [tf.reshape(vectors, [-1, width]) if width else vectors[:, :, 0]]
            columns += [side.numbers]
        scores = self._mlp(tf.concat(columns, 1), noise)[:, 0]
        for side, linear in zip(sides, self._wide, strict=True):
            scores += linear(side)
        ids = [(fields, side.ids) for fields, side in zip(self._sides, sides, strict=True)]
        return sum((cross(ids) for cross in self._crosses), scores)


def served(graph: Graph, config: WideDeepConfig) -> Served:
    """What a trained model's graph answers."""
    return served_pairs(lambda twin, items: WideDeepNetwork(twin, items, config), graph)


def train(config: WideDeepConfig, data: Dataset, run: Run) -> ListScorer | PairRanker:
    """As on torch; raises `ConfigError` too for a knob that TensorFlow does not honour."""
    fit = fit_with(lambda task: WideDeepNetwork.of(task, config), config.training.device)
    return on_torch.train(on_host(config), data, run, fit=fit)
