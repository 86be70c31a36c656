"""Networks that score a pair from a part of the query, a part of the item, and what only the pair
has.

A part of a side is computed once for all pairs that the side is in: the query's for all its items,
the item's for all queries of a catalogue's scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from falconer.pipelines.data.schema import Target
from falconer.recsys.backends.torch.in_batch import smoothed
from falconer.recsys.backends.torch.pairs.inputs import Fields, Inputs

Parts = tuple[Tensor, ...]


class SplitMlp(nn.Module):
    """Layers with ReLU up to one output, whose input comes in parts: W_1 [x_1; x_2; ...] = sum of
    W_1p x_p."""

    def __init__(self, inputs: Sequence[int], layers: Sequence[int], dropout: float) -> None:
        super().__init__()
        self._bounds = list(pairwise(accumulate(inputs, initial=0)))
        self.first = linear(sum(inputs), layers[0])
        self.hidden = nn.ModuleList(linear(a, b) for a, b in pairwise(layers))
        self.out = linear(layers[-1], 1)
        self.dropout = nn.Dropout(dropout)

    def part(self, number: int, x: Tensor) -> Tensor:
        """What x [..., inputs[number]] adds to the first layer: [..., h_1], or [..., 0] where it
        has no columns."""
        start, stop = self._bounds[number]
        return functional.linear(x, self.first.weight[:, start:stop]) if stop > start else x

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Parts [..., h_1] that broadcast to one shape -> [...]."""
        first = sum((part for part in parts if part.shape[-1]), self.first.bias)
        x = self.dropout(functional.relu(first))
        for layer in self.hidden:
            x = self.dropout(functional.relu(layer(x)))
        out: Tensor = self.out(x)
        return out[..., 0]


def linear(n_in: int, n_out: int) -> nn.Linear:
    """A layer that starts with normal weights of variance 2 / (n_in + n_out) and zero biases
    (Glorot, Bengio 2010)."""
    layer = nn.Linear(n_in, n_out)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class TwoSided(nn.Module):
    """Base of the networks. Without inputs of items, as for most click logs, all is on the query's
    side."""

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self.fields = fields
        self.query_fields, self.item_fields = fields.of("user", "context"), fields.of("item")

    def query_side(self, query: Inputs) -> Parts:
        """What a query brings to its pairs: tensors [B, ...]."""
        raise NotImplementedError

    def item_side(self, items: Inputs) -> Parts:
        """What an item brings to its pairs: tensors [I, ...]."""
        raise NotImplementedError

    def of_pairs(self, query: Parts, items: Parts) -> Tensor:
        """Scores [B, K] of queries [B, ...] and items [B, K, ...]: logits, or ratings where these
        are the target."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Torch's parameter groups, as `falconer.pipelines.training.task.Task` has them."""
        return [{"params": list(self.parameters())}]

    def start_at(self, score: float) -> None:
        """Set the bias of the output, before training, to the score of the labels' mean."""
        raise NotImplementedError

    def forward(self, query: Inputs, table: Inputs, rows: Tensor) -> Tensor:
        """Scores [B, K] of queries [B, ...] with the items in rows int[B, K] of the table of items
        [n, ...].

        Where more rows are asked for than there are, the side of the whole table is computed and
        its rows are taken.
        """
        flat = rows.flatten()
        if rows.numel() < len(table):
            parts = self.item_side(table.rows(flat))
        else:
            parts = tuple(part.index_select(0, flat) for part in self.item_side(table))
        return self.of_pairs(
            self.query_side(query), tuple(part.view(*rows.shape, *part.shape[1:]) for part in parts)
        )


def loss_of(
    scores: Tensor, labels: Tensor, target: Target | None, *, smoothing: float = 0.0
) -> Tensor:
    """The mean over all pairs of the squared error for ratings, else of the cross-entropy of the
    scores' sigmoid."""
    if target == "rating":
        return functional.mse_loss(scores, labels)
    return functional.binary_cross_entropy_with_logits(scores, smoothed(labels, smoothing))
