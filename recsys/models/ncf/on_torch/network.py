"""The networks of NCF (He et al. 2017): GMF, MLP and NeuMF; the equations are in
`falconer.recsys.models.ncf.on_torch.training`."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from falconer.recsys.backends.torch.pairs.inputs import Fields, Inputs
from falconer.recsys.backends.torch.pairs.network import Parts, TwoSided
from falconer.recsys.backends.torch.scoring import rows_of
from falconer.recsys.models.ncf.config import NcfConfig

EMBEDDING_STD = 0.01


class Gmf(nn.Module):
    """Generalised matrix factorisation: what it adds to the score."""

    def __init__(self, n_users: int, n_items: int, config: NcfConfig) -> None:
        super().__init__()
        self.user = _embedding(n_users, config.dim)
        self.item = _embedding(n_items, config.dim)
        self.out = nn.Parameter(_uniform(config.dim, fan_in=config.dim))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Users [B], items [B, K] -> [B, K]: h . (p_u * p_i) = (h * p_u) . p_i."""
        user = rows_of(self.user.weight, users) * self.out  # [B, d]
        return (rows_of(self.item.weight, items) * user[:, None]).sum(-1)  # [B, K, d] -> [B, K]

    def among(self, users: Tensor, items: Tensor) -> Tensor:
        """Users [b], items [B] -> [b, B]: every user with every item."""
        user = rows_of(self.user.weight, users) * self.out  # [b, d]
        return torch.matmul(user, rows_of(self.item.weight, items).T)

    def item_side(self) -> Tensor:
        """What the catalogue's scores need of all items: [n_items, d]."""
        return self.item.weight

    def of_catalogue(self, user: Tensor, item_side: Tensor) -> Tensor:
        """One user (an id [1]) against rows [I, d] of `item_side` -> [I]."""
        return torch.mv(item_side, self.user(user)[0] * self.out)


class Mlp(nn.Module):
    """The multi-layer perceptron: what it adds to the score.

    W_1 is held in its two halves, W_1 [q_u; q_i] = U q_u + V q_i: a user's half is computed once
    for all items, an item's half once for all users.
    """

    def __init__(self, n_users: int, n_items: int, config: NcfConfig) -> None:
        super().__init__()
        widths = config.hidden
        self.user = _embedding(n_users, config.mlp_dim)
        self.item = _embedding(n_items, config.mlp_dim)
        self.from_user = _linear(config.mlp_dim, widths[0], fan_in=2 * config.mlp_dim)
        self.from_item = _linear(config.mlp_dim, widths[0], fan_in=2 * config.mlp_dim, bias=False)
        self.hidden = nn.ModuleList(_linear(a, b, fan_in=a) for a, b in pairwise(widths))
        self.out = nn.Parameter(_uniform(widths[-1], fan_in=widths[-1]))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Users [B], items [B, K] -> [B, K]."""
        user = _layer_of_rows(self.from_user, self.user, users)  # [B, h_1]
        item = _layer_of_rows(self.from_item, self.item, items)  # [B, K, h_1]
        return self._above(user[:, None] + item)

    def item_side(self) -> Tensor:
        """What the catalogue's scores need of all items: [n_items, h_1]."""
        half: Tensor = self.from_item(self.item.weight)
        return half

    def of_catalogue(self, user: Tensor, item_side: Tensor) -> Tensor:
        """One user (an id [1]) against rows [I, h_1] of `item_side` -> [I]."""
        return self._above(self.from_user(self.user(user)) + item_side)

    def _above(self, first: Tensor) -> Tensor:
        """From the first layer's sums [..., h_1] to [...]."""
        x = self.dropout(functional.relu(first))
        for layer in self.hidden:
            x = self.dropout(functional.relu(layer(x)))
        return torch.matmul(x, self.out)


class Ncf(nn.Module):
    """GMF, MLP, or NeuMF: the sum of both."""

    def __init__(self, n_users: int, n_items: int, config: NcfConfig) -> None:
        super().__init__()
        self.n_users, self.n_items = n_users, n_items
        self.gmf = Gmf(n_users, n_items, config) if config.variant in {"gmf", "neumf"} else None
        self.mlp = Mlp(n_users, n_items, config) if config.variant in {"mlp", "neumf"} else None
        self.bias = nn.Parameter(torch.zeros(1))

    @property
    def halves(self) -> list[Gmf | Mlp]:
        """The parts whose outputs are added up."""
        return [half for half in (self.gmf, self.mlp) if half is not None]

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Users [B], items [B, K] -> scores [B, K], before the sigmoid."""
        return sum((half(users, items) for half in self.halves), self.bias)

    def among(self, users: Tensor, items: Tensor) -> Tensor:
        """Users [b], items [B] -> scores [b, B] of every user with every item, by GMF alone."""
        assert self.gmf is not None
        return self.gmf.among(users, items) + self.bias

    def squared_length(self, users: Tensor, items: Tensor) -> Tensor:
        """Mean over the pairs of users [B] and items [B, K] of |p_u|^2 + |p_i|^2 (+ the same of the
        other half)."""
        of_users = sum(_squares(half.user.weight, users) / users.numel() for half in self.halves)
        of_items = sum(_squares(half.item.weight, items) / items.numel() for half in self.halves)
        return torch.as_tensor(of_users + of_items)


def _embedding(n: int, dim: int) -> nn.Embedding:
    table = nn.Embedding(n, dim)
    nn.init.normal_(table.weight, std=EMBEDDING_STD)
    return table


def _linear(n_in: int, n_out: int, *, fan_in: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(_uniform(n_out, n_in, fan_in=fan_in))
        if bias:
            layer.bias.zero_()
    return layer


def _uniform(*shape: int, fan_in: int) -> Tensor:
    """Uniform with variance 1 / fan_in (LeCun): the authors' choice for the output."""
    bound = (3 / fan_in) ** 0.5
    return torch.empty(shape).uniform_(-bound, bound)


def _layer_of_rows(layer: nn.Linear, table: nn.Embedding, ids: Tensor) -> Tensor:
    """layer(table[ids]), in the order that multiplies fewer rows."""
    if ids.numel() < table.num_embeddings:
        rows: Tensor = layer(rows_of(table.weight, ids))
        return rows
    return rows_of(layer(table.weight), ids)


def _squares(table: Tensor, ids: Tensor) -> Tensor:
    """Sum over ids of |table[id]|^2, in the order that squares fewer rows."""
    if ids.numel() < len(table):
        return rows_of(table, ids).square().sum()
    return (table.square().sum(1) * torch.bincount(ids.flatten(), minlength=len(table))).sum()


class LabelledNcf(TwoSided):
    """The model with labels as the task: row 0 of each table is that of unknown users or items, and
    starts as zeros."""

    def __init__(self, fields: Fields, config: NcfConfig) -> None:
        super().__init__(fields)
        self.network = Ncf(fields.n_users + 1, fields.n_items + 1, config)
        for half in self.network.halves:
            for table in (half.user, half.item):
                nn.init.zeros_(table.weight.data[0])

    def query_side(self, query: Inputs) -> Parts:
        """Rows of users [B]."""
        return (query.ids[..., 0] + 1,)

    def item_side(self, items: Inputs) -> Parts:
        """Rows of items [I]."""
        return (items.ids[..., 0] + 1,)

    def of_pairs(self, query: Parts, items: Parts) -> Tensor:
        """[B] and [B, K] -> [B, K]."""
        scores: Tensor = self.network(query[0], items[0])
        return scores

    def start_at(self, score: float) -> None:
        """Set the bias."""
        nn.init.constant_(self.network.bias, score)
