"""Wide & Deep on torch (Cheng et al. 2016, "Wide & deep learning for recommender systems").

With x the ids, categories and numbers of a pair, phi(x) its crosses, and a the last layer above the
fields' vectors:

    P(y = 1 | x) = sigma(w_wide . [x, phi(x)] + w_deep . a + b)          (equation 3)

A cross is 1 where several fields have certain values together (equation 1): each combination has a
weight of its own. For ratings the sum itself is the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.task import Fit
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch.pairs.inputs import Fields, Inputs, fields_of, joined
from falconer.recsys.backends.torch.pairs.network import Parts, SplitMlp, TwoSided
from falconer.recsys.backends.torch.pairs.scorers import ListScorer, PairRanker, load_scorer
from falconer.recsys.backends.torch.pairs.tables import Tables, parameter_groups, tables_of
from falconer.recsys.backends.torch.pairs.training import fitted
from falconer.recsys.backends.torch.scoring import rows_of
from falconer.recsys.models.wide_deep.config import WideDeepConfig

MIXER = 0x9E3779B97F4A7C15 - 2**64
"""2^64 divided by the golden ratio, as int64 has it: Knuth's multiplicative hashing, whose high
bits are mixed best."""
PRIME = 2**31 - 1
"""The rest of a division by it depends on all bits."""


class LinearSide(nn.Module):
    """One side's part of the linear model: a weight for each value of a field, and one for each
    number."""

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self.values = (
            Tables(fields.sizes, 1, lengths=fields.lengths, std=0.0) if fields.categorical else None
        )
        self.numbers = nn.Parameter(torch.zeros(len(fields.numeric))) if fields.numeric else None

    def forward(self, inputs: Inputs) -> Tensor:
        """[..., F] and [..., C] -> [...]."""
        total = torch.zeros(inputs.ids.shape[:-1], device=inputs.ids.device)
        if self.values is not None:
            total = total + self.values(inputs.ids).sum((-2, -1))  # [..., T, 1] -> [...]
        if self.numbers is not None:
            total = total + torch.matmul(inputs.numbers, self.numbers)
        return total


class Cross(nn.Module):
    """A weight for each combination of the values of some fields.

    Combinations are numbered: the sum over the fields of (value + 1) x stride, to which each side
    adds its own part. Where there are more combinations than buckets, their numbers are hashed.
    """

    def __init__(self, fields: Fields, names: Sequence[str], n_buckets: int) -> None:
        super().__init__()
        sizes = {field.name: field.cardinality for field in fields.categorical}
        self.strides, n = dict.fromkeys(names, 0), 1
        for name in names:
            self.strides[name] = (n + 2**63) % 2**64 - 2**63  # wraps around, as int64 does
            n *= sizes[name] + 1
        self.hashed = n > n_buckets
        self.weight = nn.Parameter(torch.zeros(min(n, n_buckets), 1))

    def side(self, fields: Fields, ids: Tensor) -> Tensor:
        """One side's part of the numbers: ids int[..., F] -> int64[...]."""
        number = torch.zeros(ids.shape[:-1], dtype=torch.int64, device=ids.device)
        for place, field in enumerate(fields.categorical):
            if field.name in self.strides:
                number = number + (ids[..., place].long() + 1) * self.strides[field.name]
        return number

    def forward(self, numbers: Tensor) -> Tensor:
        """Numbers int64[...] -> the combinations' weights [...]."""
        if self.hashed:
            numbers = (numbers * MIXER % PRIME) % len(self.weight)
        return rows_of(self.weight, numbers)[..., 0]


class Wide(nn.Module):
    """The linear part: inputs and crosses. The bias b is that of the deep part's last layer."""

    def __init__(self, fields: Fields, query: Fields, item: Fields, config: WideDeepConfig) -> None:
        super().__init__()
        self.query, self.item = LinearSide(query), LinearSide(item)
        self._crosses = nn.ModuleList(
            Cross(fields, names, config.cross_buckets) for names in config.crosses
        )

    @property
    def crosses(self) -> Sequence[Cross]:
        """In the order of the configuration."""
        return cast(Sequence[Cross], self._crosses)


class Deep(nn.Module):
    """The layers above the vectors and numbers of both sides."""

    def __init__(self, query: Fields, item: Fields, config: WideDeepConfig) -> None:
        super().__init__()
        self.query, self.item = (
            tables_of(
                side.sizes,
                config.dim,
                config.tables,
                lengths=side.lengths,
                std=config.embedding_std,
            )
            for side in (query, item)
        )
        widths = [len(side.sizes) * config.dim + len(side.numeric) for side in (query, item)]
        self.mlp = SplitMlp(widths, config.hidden, config.dropout)


class WideDeep(TwoSided):
    """The network. A side's parts: its sum in the linear model [...], that in the first layer [...,
    h_1], and its parts of the crosses' numbers int64[..., X]."""

    def __init__(self, fields: Fields, config: WideDeepConfig) -> None:
        super().__init__(fields)
        _refuse_unknown(fields, config)
        self._config = config
        self.wide = Wide(fields, self.query_fields, self.item_fields, config)
        self.deep = Deep(self.query_fields, self.item_fields, config)

    def query_side(self, query: Inputs) -> Parts:
        """[B], [B, h_1], [B, X]."""
        vectors = _beside_numbers(self.deep.query(query.ids), query)
        return (
            self.wide.query(query),
            self.deep.mlp.part(0, vectors),
            self._numbers(self.query_fields, query),
        )

    def item_side(self, items: Inputs) -> Parts:
        """[I], [I, h_1], [I, X]."""
        vectors = _beside_numbers(self.deep.item(items.ids), items)
        return (
            self.wide.item(items),
            self.deep.mlp.part(1, vectors),
            self._numbers(self.item_fields, items),
        )

    def of_pairs(self, query: Parts, items: Parts) -> Tensor:
        """[B], [B, h_1], [B, X] with [B, K], [B, K, h_1], [B, K, X] -> [B, K]."""
        wide, deep, numbers = (part[:, None] for part in query)
        numbers = numbers + items[2]
        crossed = (cross(numbers[..., place]) for place, cross in enumerate(self.wide.crosses))
        total: Tensor = sum(crossed, wide + items[0] + self.deep.mlp([deep, items[1]]))
        return total

    def start_at(self, score: float) -> None:
        """Set the bias."""
        nn.init.constant_(self.deep.mlp.out.bias, score)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The linear part apart, where it has an optimiser of its own."""
        config = self._config
        if config.wide_optimizer == "same":
            return parameter_groups(self, config.tables)
        trained = [parameter for parameter in self.wide.parameters() if parameter.requires_grad]
        wide = {"params": trained, "lr": config.wide_learning_rate}
        l1 = {"l1": config.wide_l1} if config.wide_optimizer == "ftrl" else {}
        return [
            *parameter_groups(self.deep, config.tables),
            {**wide, "optimizer": config.wide_optimizer, **l1},
        ]

    def _numbers(self, fields: Fields, inputs: Inputs) -> Tensor:
        sides = [cross.side(fields, inputs.ids) for cross in self.wide.crosses]
        return (
            torch.stack(sides, -1) if sides else inputs.ids.new_zeros((*inputs.ids.shape[:-1], 0))
        )


def _beside_numbers(vectors: Tensor, inputs: Inputs) -> Tensor:
    """[..., F, d] and [..., C] -> [..., F d + C]."""
    return joined([vectors.flatten(-2), inputs.numbers])


def _refuse_unknown(fields: Fields, config: WideDeepConfig) -> None:
    known = [field.name for field in fields.categorical]
    wrong = sorted({name for names in config.crosses for name in names} - set(known))
    if wrong:
        raise ConfigError(
            f"model.crosses: {', '.join(map(repr, wrong))} is no id or categorical feature among "
            "the model's inputs, "
            f"which are {', '.join(known)}"
        )


def train(
    config: WideDeepConfig, data: Dataset, run: Run, *, fit: Fit = fit
) -> ListScorer | PairRanker:
    """Fit the network; the epoch is chosen on the validation fold.

    Raises `DataError` where there are no features or too few events, `ConfigError` for an input
    that is not there, and what `falconer.pipelines.training.torch.fit` raises.
    """
    fields = fields_of(data, config.fields, model="wide_deep")
    return fitted(lambda fields: WideDeep(fields, config), fields, config, data, run, fit=fit)


def load(directory: Path, config: WideDeepConfig, data: Dataset) -> ListScorer | PairRanker:
    """Read what the scorer wrote."""
    return load_scorer(directory, lambda fields: WideDeep(fields, config), config, data)
