"""Two-sided networks as modules of arrays, for graphs (`falconer.recsys.backends.torch.graphs`)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from falconer.recsys.backends.torch.graphs import Form, Graph
from falconer.recsys.backends.torch.pairs.inputs import FieldEncoder, Inputs
from falconer.recsys.backends.torch.pairs.network import TwoSided


def graphs_of(
    model: TwoSided, encoder: FieldEncoder, popularity: Tensor | None
) -> dict[Form, Graph]:
    """Pairs by what the network reads of user, item and the event; for lists the catalogue by user
    as well."""
    if popularity is None:
        sides = [side for side in ("user", "item") if encoder.fields.of(side).names]
        inputs = (*sides, *encoder.fields.of("context").names)
        return {"pairs": Graph(RowsGraph(model, encoder, inputs), inputs)}
    return {
        "catalogue": Graph(CatalogueGraph(model, encoder, popularity), ("user",)),
        "pairs": Graph(PairsGraph(model, encoder, popularity), ("user", "item")),
    }


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


class RowsGraph(nn.Module):
    """What a scorer answers for rows of a dataset of labels."""

    def __init__(self, model: TwoSided, encoder: FieldEncoder, inputs: Sequence[str]) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()
        self.users, self.items = Lookup(encoder.users), Lookup(encoder.items)
        self._inputs = tuple(inputs)

    def forward(self, *columns: Tensor) -> Tensor:
        """[N] each -> [N]."""
        given = dict(zip(self._inputs, columns, strict=True))
        unknown = torch.full_like(columns[0], -1, dtype=torch.int64)
        query = self.users(given.get("user", unknown)).beside(self._context(given, columns[0]))
        of_items = self.model.item_side(self.items(given.get("item", unknown)))
        scores = self.model.of_pairs(
            self.model.query_side(query), tuple(part[:, None] for part in of_items)
        )[:, 0]
        return torch.sigmoid(scores) if self.model.fields.target == "binary" else scores

    def _context(self, given: Mapping[str, Tensor], any_column: Tensor) -> Inputs:
        """Values that the model does not know become -1, and missing numbers 0."""
        fields = self.model.fields.of("context")
        ids = [_within(given[field.name], field.cardinality) for field in fields.categorical]
        numbers = [
            torch.where(given[field.name].isnan(), 0.0, given[field.name])
            for field in fields.numeric
        ]
        nothing = any_column[:, None][:, :0]
        return Inputs(
            torch.stack(ids, -1) if ids else nothing.long(),
            torch.stack(numbers, -1) if numbers else nothing.float(),
        )


def _within(values: Tensor, size: int) -> Tensor:
    return torch.where((values >= 0) & (values < size), values, -1)


class PairsGraph(nn.Module):
    """What a scorer of lists answers for pairs of a user and an item."""

    popularity: Tensor

    def __init__(self, model: TwoSided, encoder: FieldEncoder, popularity: Tensor) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()
        self.users, self.items = Lookup(encoder.users), Lookup(encoder.items)
        self.register_buffer("popularity", popularity)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """[N] and [N] -> [N]."""
        of_items = tuple(part[:, None] for part in self.model.item_side(self.items(items)))
        scores = self.model.of_pairs(self.model.query_side(self.users(users)), of_items)[:, 0]
        return torch.where(known(users, self.model), scores, self.popularity.index_select(0, items))


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
