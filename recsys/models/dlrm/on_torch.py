"""DLRM on torch (Naumov et al. 2019, "Deep learning recommendation model for personalization and
recommendation systems").

The continuous features of a side go through the bottom layers to one vector z. With it and the
fields' vectors v_1 ... v_F, all of length d, the input of the top layers is z and the dot products
of every two vectors; the sigmoid of their output is P(y = 1 | x). For ratings the output itself is
the prediction.

In the paper there is one z for all continuous features. Here the query and the item have one each,
as far as they have continuous features, so that each side can be computed once: of click logs,
where all features are the event's, it is the paper's network.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.task import Fit
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch.pairs.inputs import Fields, Inputs, fields_of
from falconer.recsys.backends.torch.pairs.interaction import PairwiseProducts
from falconer.recsys.backends.torch.pairs.network import Parts, SplitMlp, TwoSided, linear
from falconer.recsys.backends.torch.pairs.scorers import ListScorer, PairRanker, load_scorer
from falconer.recsys.backends.torch.pairs.tables import parameter_groups, tables_of
from falconer.recsys.backends.torch.pairs.training import fitted
from falconer.recsys.models.dlrm.config import DlrmConfig


class Bottom(nn.Module):
    """Layers with ReLU from C numbers to a vector."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(linear(a, b) for a, b in pairwise(widths))

    def forward(self, numbers: Tensor) -> Tensor:
        """[..., C] -> [..., d]."""
        x = numbers
        for layer in self.layers:
            x = functional.relu(layer(x))
        return x


class Side(nn.Module):
    """The vectors of one side: z, where it has continuous features, and one for each of F fields; N
    in all."""

    def __init__(self, fields: Fields, config: DlrmConfig) -> None:
        super().__init__()
        self.dim, n_numbers = config.dim, len(fields.numeric)
        self.tables = tables_of(
            fields.sizes,
            config.dim,
            config.tables,
            lengths=fields.lengths,
            std=config.embedding_std,
        )
        self.bottom = Bottom([n_numbers, *config.bottom_hidden, config.dim]) if n_numbers else None
        self.n_vectors = len(fields.sizes) + bool(n_numbers)
        self.products = PairwiseProducts(self.n_vectors)

    @property
    def width(self) -> int:
        """Columns of what `forward` gives for the top layers: d, where there is a z, and (N choose
        2)."""
        return (self.dim if self.bottom else 0) + self.products.n_products

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """[..., F] and [..., C] -> vectors [..., N, d], and z beside the dot products of every two:
        [..., width]."""
        vectors = self.tables(inputs.ids)  # [..., F, d]
        if self.bottom is None:
            return vectors, self.products(vectors)
        z = self.bottom(inputs.numbers)  # [..., d]
        vectors = torch.cat([z[..., None, :], vectors], -2)  # [..., N, d]
        return vectors, torch.cat([z, self.products(vectors)], -1)


class Dlrm(TwoSided):
    """The network. A side's parts: its sum in the first top layer [..., h_1], and its vectors [...,
    N, d]."""

    def __init__(self, fields: Fields, config: DlrmConfig) -> None:
        super().__init__(fields)
        self._config = config
        self.query, self.item = Side(self.query_fields, config), Side(self.item_fields, config)
        n_products = self.query.n_vectors * self.item.n_vectors
        if self.query.n_vectors + self.item.n_vectors < 2:
            raise ConfigError(
                "model.fields: dlrm multiplies vectors with each other, and "
                f"{', '.join(fields.names)} give only one"
            )
        self.top = SplitMlp(
            [self.query.width, self.item.width, n_products], config.hidden, config.dropout
        )

    def query_side(self, query: Inputs) -> Parts:
        """[B, h_1], [B, N_q, d]."""
        vectors, own = self.query(query)
        return self.top.part(0, own), vectors

    def item_side(self, items: Inputs) -> Parts:
        """[I, h_1], [I, N_i, d]."""
        vectors, own = self.item(items)
        return self.top.part(1, own), vectors

    def of_pairs(self, query: Parts, items: Parts) -> Tensor:
        """[B, h_1], [B, N_q, d] with [B, K, h_1], [B, K, N_i, d] -> [B, K]."""
        of_query, of_items = query[1], items[1]
        b, k, n, d = of_items.shape
        products = torch.matmul(
            of_items.reshape(b, k * n, d), of_query.transpose(1, 2)
        )  # [B, K N_i, N_q]
        between = products.view(b, k, n * of_query.shape[1])  # [B, K, N_i N_q]
        scores: Tensor = self.top([query[0][:, None], items[0], self.top.part(2, between)])
        return scores

    def start_at(self, score: float) -> None:
        """Set the bias of the last layer."""
        nn.init.constant_(self.top.out.bias, score)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The tables apart, where they have an optimiser of their own."""
        return parameter_groups(self, self._config.tables)


def train(
    config: DlrmConfig, data: Dataset, run: Run, *, fit: Fit = fit
) -> ListScorer | PairRanker:
    """Fit the network; the epoch is chosen on the validation fold.

    Raises `DataError` where there are no features or too few events, `ConfigError` for an input
    that is not there, and what `falconer.pipelines.training.torch.fit` raises.
    """
    fields = fields_of(data, config.fields, model="dlrm")
    return fitted(lambda fields: Dlrm(fields, config), fields, config, data, run, fit=fit)


def load(directory: Path, config: DlrmConfig, data: Dataset) -> ListScorer | PairRanker:
    """Read what the scorer wrote."""
    return load_scorer(directory, lambda fields: Dlrm(fields, config), config, data)
