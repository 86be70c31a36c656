"""Embedding tables: the vectors of several fields of ids, looked up together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import ConfigError
from recsys.backends.torch import rows_of
from recsys.models.tables import TablesConfig

ROWS_AT_ONCE = 2**16
"""Rows that are drawn at a time when a table gets its first values."""


class Tables(nn.Embedding):
    """F tables of vectors of one length, below each other in one weight, so that one lookup serves all fields.

    Field f has the ids -1 .. sizes[f] - 1; -1, the unknown one, has a row of its own: the first of its table, which
    starts as zeros.
    """

    def __init__(self, sizes: Sequence[int], dim: int, *, sparse: bool = False, std: float = 0.01) -> None:
        """`sparse` gradients hold the rows of the batch only; `std` is that of the normal first values."""
        self.sizes, self._std = tuple(sizes), std
        super().__init__(sum(sizes) + len(sizes), dim, sparse=sparse)
        self.first: Tensor
        self.register_buffer("first", _first_rows(self.sizes), persistent=False)

    def reset_parameters(self) -> None:
        """First values from torch's global generator, drawn block by block."""
        with torch.no_grad():
            for rows in _blocks(self.num_embeddings):
                self.weight[rows] = torch.randn(rows.stop - rows.start, self.embedding_dim) * self._std
            self.weight[_first_rows(self.sizes) - 1] = 0

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.embedding_dim

    def forward(self, ids: Tensor) -> Tensor:
        """Ids int[..., F] -> float32[..., F, dim]."""
        rows = ids.long() + self.first
        if self.sparse:
            return functional.embedding(rows, self.weight, sparse=True)
        return rows_of(self.weight, rows)


def _first_rows(sizes: Sequence[int]) -> Tensor:
    """int64[F]: the row of id 0 of each table; the row before it is that of -1."""
    ends = torch.tensor([0, *(size + 1 for size in sizes)]).cumsum(0)
    return ends[:-1] + 1


def _blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, ROWS_AT_ONCE):
        yield slice(start, min(start + ROWS_AT_ONCE, n))


class MixedTables(nn.Module):
    """Tables with vectors of full length for frequent ids only: mixed dimensions (Ginart et al. 2019, "Mixed dimension
    embeddings with application to memory-efficient recommendation systems", section 3).

    Ids are ordered by frequency. Of each field the first `head_rows` have vectors of length `dim`; the vector of a
    later one has the length `tail_dim` and is multiplied with the field's matrix [tail_dim, dim]. The unknown id is
    one of the first. A table of n ids has about head_rows x dim + (n - head_rows) x tail_dim weights.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        head_rows: int,
        tail_dim: int,
        sparse: bool = False,
        std: float = 0.01,
    ) -> None:
        super().__init__()
        self.sizes, self.dim = tuple(sizes), dim
        heads = [min(size, head_rows) for size in sizes]
        self.head = Tables(heads, dim, sparse=sparse, std=std)
        tails = [size - head for size, head in zip(sizes, heads, strict=True)]
        self.tail = Tables(tails, tail_dim, sparse=sparse, std=std**0.5)
        self.lengthen = nn.Parameter(torch.randn(len(sizes), tail_dim, dim) * (std / tail_dim) ** 0.5)
        self.heads: Tensor
        self.register_buffer("heads", torch.tensor(heads), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids int[..., F] -> float32[..., F, dim]. Every id is looked up in both parts, in one of them as unknown."""
        rare = ids >= self.heads
        head = self.head(torch.where(rare, -1, ids))
        tail = self.tail(torch.where(rare, ids - self.heads, -1))  # [..., F, tail_dim]
        lengthened = torch.einsum("...fe,fed->...fd", tail, self.lengthen)
        return torch.where(rare[..., None], lengthened, head)


def tables_of(sizes: Sequence[int], dim: int, config: TablesConfig, *, std: float = 0.01) -> Tables | MixedTables:
    """Tables of `sizes` ids each, as configured. Raises `ConfigError` where the shorter vectors are not shorter."""
    sparse = config.gradients == "sparse"
    if config.head_rows is None:
        return Tables(sizes, dim, sparse=sparse, std=std)
    if config.tail_dim >= dim:
        raise ConfigError(
            f"model.tables.tail_dim is {config.tail_dim}, and the vectors of frequent values have length {dim}: "
            "choose a smaller tail_dim, or leave head_rows out"
        )
    return MixedTables(sizes, dim, head_rows=config.head_rows, tail_dim=config.tail_dim, sparse=sparse, std=std)


def parameter_groups(model: nn.Module, config: TablesConfig) -> list[dict[str, Any]]:
    """Torch's parameter groups of a model: sparse tables with row-wise Adagrad, all else with the model's optimiser."""
    tables = [module.weight for module in model.modules() if isinstance(module, Tables) and module.sparse]
    apart = {id(weight) for weight in tables}
    rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in apart]
    rate = {} if config.learning_rate is None else {"lr": config.learning_rate}
    groups: list[dict[str, Any]] = [{"params": rest}, {"params": tables, "optimizer": "row_wise_adagrad", **rate}]
    return [group for group in groups if group["params"]]
