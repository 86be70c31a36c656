"""DLRM on TensorFlow, of merlin-models' layers; the equations are in
`falconer.recsys.models.dlrm.on_torch`, whose scorer the trained model has."""

from __future__ import annotations

from typing import Any

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.interaction import PairwiseProducts
from falconer.recsys.backends.tensorflow.loop import fit_with, on_host
from falconer.recsys.backends.tensorflow.merlin import Mlp
from falconer.recsys.backends.tensorflow.network import Noise
from falconer.recsys.backends.tensorflow.pairs import (
    FieldTables,
    Inputs,
    InputTable,
    PairNetwork,
    split_mlp,
)
from falconer.recsys.backends.tensorflow.precision import product
from falconer.recsys.backends.tensorflow.served_pairs import served_pairs
from falconer.recsys.backends.tensorflow.serving import Served
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.backends.torch.pairs.network import TwoSided
from falconer.recsys.backends.torch.pairs.scorers import ListScorer, PairRanker
from falconer.recsys.models.dlrm import on_torch
from falconer.recsys.models.dlrm.config import DlrmConfig

load = on_torch.load


class Side:
    """The vectors of one side; twin of `falconer.recsys.models.dlrm.on_torch.Side`."""

    def __init__(self, prefix: str, twin: on_torch.Side) -> None:
        self.n_vectors = twin.n_vectors
        self._tables = FieldTables(f"{prefix}.tables", twin.tables)
        self._bottom = None if twin.bottom is None else _bottom(f"{prefix}.bottom", twin.bottom)
        self._products = PairwiseProducts(twin.n_vectors)
        self.weights = {**self._tables.weights, **(self._bottom.weights if self._bottom else {})}

    def __call__(self, inputs: Inputs) -> tuple[Any, list[Any]]:
        """Vectors [N, V, d], and what the top layers take of them: z and the dot products."""
        vectors = self._tables(inputs.ids)
        own = []
        if self._bottom is not None:
            z = self._bottom(inputs.numbers, None)
            vectors = tf.concat([z[:, None], vectors], 1)
            own = [z]
        return vectors, [*own, self._products(vectors)] if self.n_vectors > 1 else own


def _bottom(prefix: str, twin: on_torch.Bottom) -> Mlp:
    layers: list[Any] = list(twin.layers)
    names = [f"{prefix}.layers.{place}" for place in range(len(layers))]
    return Mlp(names, layers[0].in_features, [layer.out_features for layer in layers])


def between(of_query: Any, of_items: Any) -> Any:
    """Vectors [N, V, d] and [N, W, d] of both sides -> [N, W V]: the dot products of every item's
    vector with every query's."""
    n = of_query.shape[1] * of_items.shape[1]
    return tf.reshape(product(of_items, of_query, transpose_b=True), [-1, n])


class DlrmNetwork(PairNetwork):
    """Twin of `falconer.recsys.models.dlrm.on_torch.Dlrm`."""

    def __init__(self, twin: TwoSided, items: InputTable, config: DlrmConfig) -> None:
        super().__init__(twin, items, config)
        assert isinstance(twin, on_torch.Dlrm)
        self._query, self._item = Side("query", twin.query), Side("item", twin.item)
        self._n_between = twin.query.n_vectors * twin.item.n_vectors
        self._top = split_mlp("top", twin.top)
        self.weights = {**self._query.weights, **self._item.weights, **self._top.weights}

    def of_pairs(self, query: Inputs, items: Inputs, noise: Noise | None) -> Any:
        """Inputs of N pairs -> [N]."""
        of_query, own = self._query(query)
        of_items, others = self._item(items)
        columns = [*own, *others]
        if self._n_between:
            columns.append(between(of_query, of_items))
        return self._top(tf.concat(columns, 1), noise)[:, 0]


def served(graph: Graph, config: DlrmConfig) -> Served:
    """What a trained model's graph answers."""
    return served_pairs(lambda twin, items: DlrmNetwork(twin, items, config), graph)


def train(config: DlrmConfig, data: Dataset, run: Run) -> ListScorer | PairRanker:
    """As on torch; raises `ConfigError` too for a knob that TensorFlow does not honour."""
    fit = fit_with(lambda task: DlrmNetwork.of(task, config), config.training.device)
    return on_torch.train(on_host(config), data, run, fit=fit)
