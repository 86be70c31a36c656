"""What NCF learns on TensorFlow: the batches' arrays and the losses of each kind of dataset."""

from __future__ import annotations

import math
from typing import Any

from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.network import Arrays, Noise, Tensors, start_from
from falconer.recsys.backends.tensorflow.pairs import (
    Inputs,
    InputTable,
    PairNetwork,
    cross_entropy,
)
from falconer.recsys.backends.tensorflow.serving import Served, fixed
from falconer.recsys.backends.torch.in_batch import SharedItems, log_chances
from falconer.recsys.backends.torch.negatives import LabelledItems
from falconer.recsys.backends.torch.pairs.network import TwoSided
from falconer.recsys.models.ncf.config import NcfConfig
from falconer.recsys.models.ncf.on_tensorflow.network import Scores
from falconer.recsys.models.ncf.on_torch import network as torch_network
from falconer.recsys.models.ncf.on_torch.scorer import NcfGraph
from falconer.recsys.models.ncf.on_torch.tasks import SoftmaxTask


class NcfNetwork:
    """For lists: train events against drawn negatives."""

    def __init__(self, twin: torch_network.Ncf, config: NcfConfig) -> None:
        self._scores, self._config = Scores("", twin), config
        self.weights = self._scores.weights

    def arrays(self, batch: LabelledItems) -> Arrays:
        """Users [B], items [B, K], labels [B, K]."""
        return {
            "users": batch.users.numpy(),
            "items": batch.items.numpy(),
            "labels": batch.labels.numpy(),
        }

    def scores(self, batch: Tensors, noise: Noise | None) -> Any:
        """[B K]."""
        users = tf.repeat(batch["users"], tf.shape(batch["items"])[1], 0)
        return self.of_pairs(users, tf.reshape(batch["items"], [-1]), noise)

    def of_pairs(self, users: Any, items: Any, noise: Noise | None) -> Any:
        """Users [N] and items [N] -> [N], before the sigmoid."""
        return self._scores(users, items, noise)

    def loss(self, batch: Tensors, noise: Noise | None) -> Any:
        """Equation 7, and the penalty."""
        labels = tf.reshape(batch["labels"], [-1])
        entropy = cross_entropy(self.scores(batch, noise), labels, self._config.label_smoothing)
        l2 = self._config.l2
        if not l2:
            return entropy
        items = tf.reshape(batch["items"], [-1])
        return entropy + l2 * self._scores.squared_length(batch["users"], items)


def served_lists(module: NcfGraph, config: NcfConfig) -> Served:
    """What a trained model answers for pairs where items are given, else for users."""
    model = module.model
    network, popularity = NcfNetwork(model, config), fixed(module.popularity)
    start_from(network, model)

    def answer(inputs: Tensors) -> Any:
        users = inputs["user"]
        known = (users >= 0) & (users < model.n_users)
        asked = tf.where(known, users, 0)
        if "item" in inputs:
            items = tf.maximum(inputs["item"], 0)
            scores = network.of_pairs(asked, items, None)
            return tf.where(known, scores, tf.gather(popularity, items))
        scores = tf.map_fn(
            lambda user: network.of_pairs(
                tf.fill([model.n_items], user), tf.range(model.n_items, dtype=tf.int64), None
            ),
            asked,
            fn_output_signature=tf.TensorSpec([model.n_items], tf.float32),
        )
        return tf.where(known[:, None], scores, popularity)

    return Served(answer, [popularity, *(w.variable for w in network.weights.values())])


class SoftmaxNetwork:
    """For lists: GMF with the softmax over the items of the batch; the equation is in
    `falconer.recsys.backends.torch.in_batch`."""

    def __init__(self, task: SoftmaxTask, config: NcfConfig) -> None:
        self._scores, self._config = Scores("", task.model), config
        self._log_chance = tf.constant(log_chances(task.popularity).numpy())
        self.weights = self._scores.weights

    def arrays(self, batch: SharedItems) -> Arrays:
        """Users [b], items [B], each user's place [b] among the items."""
        return {
            "users": batch.users.numpy(),
            "items": batch.items.numpy(),
            "place": batch.place.numpy(),
        }

    def among(self, batch: Tensors) -> Any:
        """[b, B]: of every user with every item of the batch."""
        gmf = self._scores.gmf
        assert gmf is not None
        return gmf.among(batch["users"], batch["items"]) + self._scores.bias

    def loss(self, batch: Tensors, noise: Noise | None) -> Any:
        """The softmax, and the penalty on each event's vectors."""
        scores, items, place = self.among(batch), batch["items"], batch["place"]
        own = tf.gather(scores, place, batch_dims=1)
        n = tf.cast(tf.shape(items)[0], tf.float32)
        chance = tf.gather(self._log_chance, items) + tf.math.log(n - 1)
        again = items == tf.gather(items, place)[:, None]
        others = tf.where(again, -math.inf, scores - chance)
        loss = tf.reduce_mean(tf.reduce_logsumexp(tf.concat([own[:, None], others], 1), 1) - own)
        l2 = self._config.l2
        if not l2:
            return loss
        return loss + l2 * self._scores.squared_length(batch["users"], tf.gather(items, place))


class LabelledNcfNetwork(PairNetwork):
    """For labels; row 0 of each table is that of unknown users or items."""

    def __init__(self, twin: TwoSided, items: InputTable, config: NcfConfig) -> None:
        super().__init__(twin, items, config)
        assert isinstance(twin, torch_network.LabelledNcf)
        self._scores = Scores("network.", twin.network)
        self.weights = self._scores.weights

    def of_pairs(self, query: Inputs, items: Inputs, noise: Noise | None) -> Any:
        """Inputs of N pairs -> [N]."""
        return self._scores(query.ids[:, 0] + 1, items.ids[:, 0] + 1, noise)
