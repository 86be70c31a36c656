"""Trained networks of pairs, as they answer requests; twins of the modules in
`falconer.recsys.backends.torch.pairs.graphs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from falconer.recsys.backends.tensorflow.network import Tensors, start_from
from falconer.recsys.backends.tensorflow.pairs import Inputs, InputTable, PairNetwork
from falconer.recsys.backends.tensorflow.serving import Served, fixed
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.backends.torch.pairs.graphs import CatalogueGraph, PairsGraph, RowsGraph
from falconer.recsys.backends.torch.pairs.network import TwoSided

Make = Callable[[TwoSided, InputTable], PairNetwork]


def served_pairs(make: Make, graph: Graph) -> Served:
    """What a graph's module answers, by the twin that `make` gives of its network."""
    module: Any = graph.module
    network = make(module.model, module.items)
    start_from(network, module.model)
    users, items = Lookup(module.users), Lookup(module.items)
    answers: _Lists | _Rows
    if isinstance(module, RowsGraph):
        answers = _Rows(network, module, users, items)
    else:
        assert isinstance(module, CatalogueGraph | PairsGraph)
        answers = _Lists(network, module, users, items)
    weights = [weight.variable for weight in network.weights.values()]
    return Served(answers, [*weights, *users.variables, *items.variables, *answers.variables])


class Lookup:
    """A table of inputs by id; all ids without a row have row 0."""

    def __init__(self, twin: InputTable) -> None:
        self._ids, self._numbers = fixed(twin.ids), fixed(twin.numbers)
        self._n = len(twin.ids) - 1
        self.variables = [self._ids, self._numbers]

    def __call__(self, asked: Any) -> Inputs:
        """Ids [N] -> [N, F] and [N, C]."""
        rows = tf.where((asked >= 0) & (asked < self._n), asked + 1, 0)
        return Inputs(tf.gather(self._ids, rows), tf.gather(self._numbers, rows))


class _Rows:
    """What a scorer answers for rows of a dataset of labels."""

    def __init__(
        self, network: PairNetwork, module: RowsGraph, users: Lookup, items: Lookup
    ) -> None:
        self._network, self._users, self._items = network, users, items
        self._context = module.model.fields.of("context")
        self._binary = module.model.fields.target == "binary"
        self.variables: list[Any] = []

    def __call__(self, inputs: Tensors) -> Any:
        """[N] each -> [N]."""
        unknown = tf.fill(tf.shape(next(iter(inputs.values()))), tf.constant(-1, tf.int64))
        users = self._users(inputs.get("user", unknown))
        query = Inputs(
            tf.concat([users.ids, *self._ids(inputs)], 1),
            tf.concat([users.numbers, *self._numbers(inputs)], 1),
        )
        items = self._items(inputs.get("item", unknown))
        scores = self._network.of_pairs(query, items, None)
        return tf.sigmoid(scores) if self._binary else scores

    def _ids(self, inputs: Tensors) -> list[Any]:
        """Values that the model does not know become -1."""
        found = []
        for field in self._context.categorical:
            values = inputs[field.name]
            known = (values >= 0) & (values < field.cardinality)
            found.append(tf.where(known, values, -1)[:, None])
        return found

    def _numbers(self, inputs: Tensors) -> list[Any]:
        """Missing numbers become 0."""
        columns = [inputs[field.name] for field in self._context.numeric]
        return [tf.where(tf.math.is_nan(one), 0.0, one)[:, None] for one in columns]


class _Lists:
    """What a scorer of lists answers: for pairs where items are given, else for users."""

    def __init__(
        self,
        network: PairNetwork,
        module: PairsGraph | CatalogueGraph,
        users: Lookup,
        items: Lookup,
    ) -> None:
        self._network, self._users, self._items = network, users, items
        self._n_users, self._n_items = module.model.fields.n_users, module.model.fields.n_items
        self._popularity = fixed(module.popularity)
        self.variables = [self._popularity]

    def __call__(self, inputs: Tensors) -> Any:
        """Users [N] and items [N] -> [N]; users [N] -> [N, n_items]."""
        users = inputs["user"]
        known = (users >= 0) & (users < self._n_users)
        if "item" not in inputs:
            return tf.where(known[:, None], self._catalogue(users), self._popularity)
        items = inputs["item"]
        scores = self._network.of_pairs(self._users(users), self._items(items), None)
        return tf.where(known, scores, tf.gather(self._popularity, tf.maximum(items, 0)))

    def _catalogue(self, users: Any) -> Any:
        """One user after the other: all at once would need [N, n_items, ...] of memory."""
        n, query = self._n_items, self._users(users)
        items = self._items(tf.range(n, dtype=tf.int64))

        def of_user(one: Any) -> Any:
            ids, numbers = one
            both = tf.repeat(ids[None], n, 0), tf.repeat(numbers[None], n, 0)
            return self._network.of_pairs(Inputs(*both), items, None)

        scores = tf.map_fn(
            of_user, (query.ids, query.numbers), fn_output_signature=tf.TensorSpec([n], tf.float32)
        )
        return tf.ensure_shape(scores, [None, n])
