"""NCF on TensorFlow, of merlin-models' layers; the equations are in
`falconer.recsys.models.ncf.on_torch.training`, whose scorer the trained model has."""

from __future__ import annotations

import math
from typing import Any

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.loop import fit_with, on_host
from falconer.recsys.backends.tensorflow.merlin import Mlp, Table
from falconer.recsys.backends.tensorflow.network import (
    Arrays,
    Network,
    Noise,
    Tensors,
    Weight,
    dropout,
)
from falconer.recsys.backends.tensorflow.pairs import Inputs, PairNetwork, cross_entropy
from falconer.recsys.backends.torch.in_batch import SharedItems, log_chances
from falconer.recsys.backends.torch.negatives import LabelledItems
from falconer.recsys.backends.torch.pairs.scorers import ListScorer, PairRanker
from falconer.recsys.backends.torch.pairs.training import FieldTask
from falconer.recsys.models.ncf import on_torch
from falconer.recsys.models.ncf.config import NcfConfig
from falconer.recsys.models.ncf.on_torch import network as torch_network
from falconer.recsys.models.ncf.on_torch.scorer import NcfScorer
from falconer.recsys.models.ncf.on_torch.tasks import SoftmaxTask

load = on_torch.load


class Half:
    """A half's vectors of users and items, and the weights of its output."""

    def __init__(self, prefix: str, twin: torch_network.Gmf | torch_network.Mlp) -> None:
        tables = {"user": twin.user, "item": twin.item}
        self.user, self.item = (
            Table(f"{prefix}.{side}.weight", table.num_embeddings, table.embedding_dim)
            for side, table in tables.items()
        )
        self.out = tf.Variable(tf.zeros([len(twin.out)]))
        self.weights = {
            **self.user.weights,
            **self.item.weights,
            f"{prefix}.out": Weight(self.out),
        }


class Gmf(Half):
    """Twin of `falconer.recsys.models.ncf.on_torch.network.Gmf`."""

    def __call__(self, users: Any, items: Any, noise: Noise | None) -> Any:
        """Users [N] and items [N] -> [N]."""
        return tf.linalg.matvec(self.user(users) * self.item(items), self.out)

    def among(self, users: Any, items: Any) -> Any:
        """Users [b], items [B] -> [b, B]: every user with every item."""
        return tf.matmul(self.user(users) * self.out, self.item(items), transpose_b=True)


class MlpHalf(Half):
    """Twin of `falconer.recsys.models.ncf.on_torch.network.Mlp`."""

    def __init__(self, prefix: str, twin: torch_network.Mlp) -> None:
        super().__init__(prefix, twin)
        self._share = twin.dropout.p
        width, n_in = twin.from_user.out_features, twin.from_user.in_features
        self._from_user = Mlp([f"{prefix}.from_user"], n_in, [width], linear_end=True)
        self._from_item = Mlp([f"{prefix}.from_item"], n_in, [width], linear_end=True, bias=False)
        parts = [self._from_user, self._from_item]
        hidden: list[Any] = list(twin.hidden)
        self._hidden = None
        if hidden:
            names = [f"{prefix}.hidden.{place}" for place in range(len(hidden))]
            widths = [layer.out_features for layer in hidden]
            self._hidden = Mlp(names, width, widths, share_dropped=self._share)
            parts.append(self._hidden)
        self.weights |= {name: w for part in parts for name, w in part.weights.items()}

    def __call__(self, users: Any, items: Any, noise: Noise | None) -> Any:
        """Users [N] and items [N] -> [N]."""
        first = self._from_user(self.user(users), None) + self._from_item(self.item(items), None)
        x = dropout(tf.nn.relu(first), self._share, noise)
        if self._hidden is not None:
            x = self._hidden(x, noise)
        return tf.linalg.matvec(x, self.out)


class Scores:
    """Twin of `falconer.recsys.models.ncf.on_torch.network.Ncf`."""

    def __init__(self, prefix: str, twin: torch_network.Ncf) -> None:
        self.gmf = None if twin.gmf is None else Gmf(f"{prefix}gmf", twin.gmf)
        mlp = None if twin.mlp is None else MlpHalf(f"{prefix}mlp", twin.mlp)
        self.halves: list[Any] = [half for half in (self.gmf, mlp) if half is not None]
        self.bias = tf.Variable(tf.zeros([1]))
        self.weights: dict[str, Weight] = {f"{prefix}bias": Weight(self.bias)}
        for half in self.halves:
            self.weights |= half.weights

    def __call__(self, users: Any, items: Any, noise: Noise | None) -> Any:
        """Users [N] and items [N] -> [N], before the sigmoid."""
        return sum((half(users, items, noise) for half in self.halves), self.bias)

    def squared_length(self, users: Any, items: Any) -> Any:
        """Mean over users and items of the squared length of their vectors, of all halves."""
        total = 0.0
        for half in self.halves:
            for table, ids in ((half.user, users), (half.item, items)):
                total += tf.reduce_mean(tf.reduce_sum(tf.square(table(ids)), -1))
        return total


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
        return self._scores(users, tf.reshape(batch["items"], [-1]), noise)

    def loss(self, batch: Tensors, noise: Noise | None) -> Any:
        """Equation 7, and the penalty."""
        labels = tf.reshape(batch["labels"], [-1])
        entropy = cross_entropy(self.scores(batch, noise), labels, self._config.label_smoothing)
        l2 = self._config.l2
        if not l2:
            return entropy
        items = tf.reshape(batch["items"], [-1])
        return entropy + l2 * self._scores.squared_length(batch["users"], items)


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

    def __init__(self, task: FieldTask, config: NcfConfig) -> None:
        super().__init__(task, config)
        assert isinstance(task.model, torch_network.LabelledNcf)
        self._scores = Scores("network.", task.model.network)
        self.weights = self._scores.weights

    def of_pairs(self, query: Inputs, items: Inputs, noise: Noise | None) -> Any:
        """Inputs of N pairs -> [N]."""
        return self._scores(query.ids[:, 0] + 1, items.ids[:, 0] + 1, noise)


def network_of(task: Any, config: NcfConfig) -> Network:
    """The twin of a task's model."""
    if isinstance(task, FieldTask):
        return LabelledNcfNetwork(task, config)
    if isinstance(task, SoftmaxTask):
        return SoftmaxNetwork(task, config)
    return NcfNetwork(task.model, config)


def train(config: NcfConfig, data: Dataset, run: Run) -> NcfScorer | ListScorer | PairRanker:
    """As on torch; raises `ConfigError` too for a knob that TensorFlow does not honour."""
    fit = fit_with(lambda task: network_of(task, config), config.training.device)
    return on_torch.train(on_host(config), data, run, fit=fit)
