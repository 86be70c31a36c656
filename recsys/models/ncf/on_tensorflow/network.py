"""The twins of NCF's networks, of merlin-models' layers."""

from __future__ import annotations

from typing import Any

from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.merlin import Mlp, Table
from falconer.recsys.backends.tensorflow.network import Noise, Weight, dropout
from falconer.recsys.backends.tensorflow.precision import product
from falconer.recsys.models.ncf.on_torch import network as torch_network


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
        return product(self.user(users) * self.out, self.item(items), transpose_b=True)


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
