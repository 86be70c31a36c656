"""Two-sided networks as modules of arrays, for graphs (`recsys.backends.graphs`)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from recsys.backends.fields import FieldEncoder, Inputs
from recsys.backends.graphs import Form, Graph
from recsys.backends.two_sided import TwoSided


def graphs_of(model: TwoSided, encoder: FieldEncoder, popularity: Tensor | None) -> dict[Form, Graph]:
    """Pairs by user, item and the features of the event; for lists the catalogue by user as well."""
    context = encoder.fields.of("context").names
    pairs = Graph(PairsGraph(model, encoder, popularity), ("user", "item", *context))
    if popularity is None:
        return {"pairs": pairs}
    return {"catalogue": Graph(CatalogueGraph(model, encoder, popularity), ("user",)), "pairs": pairs}


class Lookup(nn.Module):
    """A table of inputs by id; all ids without a row have row 0."""

    ids: Tensor
    numbers: Tensor

    def __init__(self, table: Inputs) -> None:
        super().__init__()
        self.register_buffer("ids", table.ids.cpu().long())
        self.register_buffer("numbers", table.numbers.cpu())

    def forward(self, asked: Tensor) -> Inputs:
        """Ids [N] -> [N, F] and [N, C]."""
        there = (asked >= 0) & (asked < len(self.ids) - 1)
        rows = torch.where(there, asked + 1, 0)
        return Inputs(self.ids.index_select(0, rows), self.numbers.index_select(0, rows))


class PairsGraph(nn.Module):
    """What a scorer answers for pairs."""

    popularity: Tensor | None

    def __init__(self, model: TwoSided, encoder: FieldEncoder, popularity: Tensor | None) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()
        self.users, self.items = Lookup(encoder.users), Lookup(encoder.items)
        self.register_buffer("popularity", popularity)

    def forward(self, users: Tensor, items: Tensor, *context: Tensor) -> Tensor:
        """[N], [N] and [N] for each feature of the event -> [N]."""
        query = self.users(users)
        if context:
            query = query.beside(self._context(context))
        of_items = tuple(part[:, None] for part in self.model.item_side(self.items(items)))
        scores = self.model.of_pairs(self.model.query_side(query), of_items)[:, 0]
        if self.popularity is not None:
            return torch.where(known(users, self.model), scores, self.popularity.index_select(0, items))
        return torch.sigmoid(scores) if self.model.fields.target == "binary" else scores

    def _context(self, columns: tuple[Tensor, ...]) -> Inputs:
        """Values that the model does not know become -1, and missing numbers 0."""
        fields = self.model.fields.of("context")
        pairs = zip(columns, fields.sizes, strict=False)
        ids = [torch.where((column >= 0) & (column < size), column, -1) for column, size in pairs]
        numbers = [torch.where(torch.isnan(column), 0.0, column) for column in columns[len(ids) :]]
        empty = columns[0][:, None][:, :0]
        return Inputs(
            torch.stack(ids, -1) if ids else empty.long(), torch.stack(numbers, -1) if numbers else empty.float()
        )


class CatalogueGraph(nn.Module):
    """What a scorer of lists answers for users."""

    popularity: Tensor

    def __init__(self, model: TwoSided, encoder: FieldEncoder, popularity: Tensor) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()
        self.users, self.items = Lookup(encoder.users), Lookup(encoder.items)
        self.register_buffer("popularity", popularity)

    def forward(self, users: Tensor) -> Tensor:
        """[N] -> [N, n_items]."""
        of_items = self.model.item_side(self.items(torch.arange(self.model.fields.n_items)))
        each = tuple(part.expand(users.shape[0], *part.shape) for part in of_items)
        scores = self.model.of_pairs(self.model.query_side(self.users(users)), each)
        return torch.where(known(users, self.model)[:, None], scores, self.popularity[None])


def known(users: Tensor, model: TwoSided) -> Tensor:
    """bool[N]: whether a user was in train."""
    return (users >= 0) & (users < model.fields.n_users)
