"""Embedding tables: the vectors of several fields of ids, looked up together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.training.devices import uncompiled
from falconer.pipelines.training.row_shards import RowSharded
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.recsys.backends.torch.scoring import rows_of
from falconer.recsys.configs.tables import TablesConfig

ROWS_AT_ONCE = 2**16
"""Rows that are drawn at a time when a table gets its first values."""


class Tables(nn.Embedding):
    """F tables of vectors of one length, below each other in one weight, so that one lookup serves
    all fields.

    Field f has the ids -1 .. sizes[f] - 1; -1, the unknown one, has a row of its own: the first of
    its table, which starts as zeros. Where there are `lengths`, the n-th table is for so many
    fields that follow each other, the places of a list, and gives one vector for them
    (`pooled`).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        lengths: Sequence[int] | None = None,
        sparse: bool = False,
        std: float = 0.01,
    ) -> None:
        """`sparse` gradients hold the rows of the batch only; `std` is that of the normal first
        values."""
        self.sizes, self._std = tuple(sizes), std
        super().__init__(sum(sizes) + len(sizes), dim, sparse=sparse)
        self.lengths = _lengths(lengths, sizes)
        self.first: Tensor
        self.register_buffer("first", _first_of(sizes, self.lengths), persistent=False)

    def reset_parameters(self) -> None:
        """First values from torch's global generator, drawn block by block."""
        with torch.no_grad():
            for start, block in _first_values(self.sizes, self.embedding_dim, self._std):
                self.weight[start : start + len(block)] = block

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.embedding_dim

    def forward(self, ids: Tensor) -> Tensor:
        """Ids int[..., F] -> float32[..., T, dim], of T tables."""
        return pooled(self.vectors(ids), ids, self.lengths)

    def vectors(self, ids: Tensor) -> Tensor:
        """Ids int[..., F] -> float32[..., F, dim]."""
        rows = ids.long() + self.first
        if self.sparse:
            return _sparse_rows(self.weight, rows)
        return rows_of(self.weight, rows)


@uncompiled  # the compiler cannot handle sparse gradients
def _sparse_rows(table: Tensor, rows: Tensor) -> Tensor:
    return functional.embedding(rows, table, sparse=True)


def _first_rows(sizes: Sequence[int]) -> Tensor:
    """int64[F]: the row of id 0 of each table; the row before it is that of -1."""
    ends = torch.tensor([0, *(size + 1 for size in sizes)]).cumsum(0)
    return ends[:-1] + 1


def _lengths(given: Sequence[int] | None, sizes: Sequence[int]) -> tuple[int, ...]:
    return (1,) * len(sizes) if given is None else tuple(given)


def _first_of(sizes: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """int64[F]: of each field."""
    return _of_fields(_first_rows(sizes), lengths)


def _of_fields(of_tables: Tensor, lengths: Sequence[int]) -> Tensor:
    """What is told of each table [T, ...] -> of each field [F, ...]; T may be 0."""
    return of_tables.repeat_interleave(torch.tensor(lengths, dtype=torch.int64), 0)


def pooled(vectors: Tensor, ids: Tensor, lengths: Sequence[int]) -> Tensor:
    """Vectors [..., F, d] of ids [..., F] -> [..., T, d]: of the places of each list, which follow
    each other, the mean over the known ids; the unknown one's vector where there are none."""
    if sum(lengths) == len(lengths):
        return vectors
    known = (ids >= 0).to(vectors.dtype)[..., None]
    found = []
    for start, stop in pairwise(accumulate(lengths, initial=0)):
        places, own = vectors[..., start:stop, :], known[..., start:stop, :]
        n = own.sum(-2, keepdim=True)
        mean = (places * own).sum(-2, keepdim=True) / n.clamp(min=1)
        found.append(torch.where(n > 0, mean, places[..., :1, :]))
    return torch.cat(found, -2)


def _first_values(sizes: Sequence[int], dim: int, std: float) -> Iterator[tuple[int, Tensor]]:
    """Rows from the first on, block by block, each with the place of its first row."""
    n, unknown = sum(sizes) + len(sizes), _first_rows(sizes) - 1
    for start in range(0, n, ROWS_AT_ONCE):
        block = torch.randn(min(ROWS_AT_ONCE, n - start), dim) * std
        block[unknown[(unknown >= start) & (unknown < start + len(block))] - start] = 0
        yield start, block


class ShardedTables(RowSharded):
    """`Tables` with sparse gradients whose rows are spread over the processes; the first values are
    the same.

    Tried on one machine with 12 million rows of 16 over two processes. In training each holds half
    of the rows; at a checkpoint, a validation and the end the first process holds all of them (it
    peaked at 2.6 GB) and writes them.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        shard: Shard,
        lengths: Sequence[int] | None = None,
        std: float = 0.01,
    ) -> None:
        n = sum(sizes) + len(sizes)
        own = torch.empty(len(range(shard.rank, n, shard.world)), dim)
        for start, block in _first_values(sizes, dim, std):
            first = (shard.rank - start) % shard.world
            place = (start + first) // shard.world
            rows = block[first :: shard.world]
            own[place : place + len(rows)] = rows
        super().__init__(n, own, shard)
        self.sizes, self.dim, self.lengths = tuple(sizes), dim, _lengths(lengths, sizes)
        self.first: Tensor
        self.register_buffer("first", _first_of(sizes, self.lengths), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids int[..., F] -> float32[..., T, dim]."""
        found = self.look_up((ids.long() + self.first).flatten()).view(*ids.shape, self.dim)
        return pooled(found, ids, self.lengths)


class MixedTables(nn.Module):
    """Tables with vectors of full length for frequent ids only: mixed dimensions (Ginart et al.
    2019, "Mixed dimension embeddings with application to memory-efficient recommendation systems",
    section 3).

    Ids are ordered by frequency. Of each field the first `head_rows` have vectors of length `dim`;
    the vector of a later one has the length `tail_dim` and is multiplied with the field's matrix
    [tail_dim, dim]. The unknown id is one of the first. A table of n ids has about head_rows x dim
    + (n - head_rows) x tail_dim weights.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        head_rows: int,
        tail_dim: int,
        lengths: Sequence[int] | None = None,
        sparse: bool = False,
        std: float = 0.01,
    ) -> None:
        super().__init__()
        self.sizes, self.dim, self.lengths = tuple(sizes), dim, _lengths(lengths, sizes)
        heads = [min(size, head_rows) for size in sizes]
        self.head = Tables(heads, dim, lengths=lengths, sparse=sparse, std=std)
        tails = [size - head for size, head in zip(sizes, heads, strict=True)]
        self.tail = Tables(tails, tail_dim, lengths=lengths, sparse=sparse, std=std**0.5)
        self.lengthen = nn.Parameter(
            torch.randn(len(sizes), tail_dim, dim) * (std / tail_dim) ** 0.5
        )
        table = _of_fields(torch.arange(len(sizes)), self.lengths)
        self.table: Tensor
        self.register_buffer("table", table, persistent=False)
        self.heads: Tensor
        own = _of_fields(torch.tensor(heads, dtype=torch.int64), self.lengths)
        self.register_buffer("heads", own, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids int[..., F] -> float32[..., T, dim]. Every id is looked up in both parts, in one of
        them as unknown."""
        rare = ids >= self.heads
        head = self.head.vectors(torch.where(rare, -1, ids))
        tail = self.tail.vectors(torch.where(rare, ids - self.heads, -1))  # [..., F, tail_dim]
        lengthened = torch.einsum("...fe,fed->...fd", tail, self.lengthen[self.table])
        return pooled(torch.where(rare[..., None], lengthened, head), ids, self.lengths)


def tables_of(
    sizes: Sequence[int],
    dim: int,
    config: TablesConfig,
    *,
    lengths: Sequence[int] | None = None,
    std: float = 0.01,
) -> Tables | MixedTables | ShardedTables:
    """Tables of `sizes` ids each, as configured. Raises `ConfigError` where the shorter vectors are
    not shorter."""
    sparse, shard = config.gradients == "sparse", current_shard()
    if config.sharded and shard.world > 1:
        return ShardedTables(sizes, dim, shard=shard, lengths=lengths, std=std)
    if config.head_rows is None:
        return Tables(sizes, dim, lengths=lengths, sparse=sparse, std=std)
    if config.tail_dim >= dim:
        raise ConfigError(
            f"model.tables.tail_dim is {config.tail_dim}, and the vectors of frequent values have "
            f"length {dim}: "
            "choose a smaller tail_dim, or leave head_rows out"
        )
    return MixedTables(
        sizes,
        dim,
        head_rows=config.head_rows,
        tail_dim=config.tail_dim,
        lengths=lengths,
        sparse=sparse,
        std=std,
    )


def _is_sparse(module: nn.Module) -> TypeGuard[Tables | ShardedTables]:
    return isinstance(module, ShardedTables) or (isinstance(module, Tables) and module.sparse)


def parameter_groups(model: nn.Module, config: TablesConfig) -> list[dict[str, Any]]:
    """Torch's parameter groups of a model: sparse tables with row-wise Adagrad, all else with the
    model's optimiser."""
    tables = [module.weight for module in model.modules() if _is_sparse(module)]
    apart = {id(weight) for weight in tables}
    rest = [
        parameter
        for parameter in model.parameters()
        if parameter.requires_grad and id(parameter) not in apart
    ]
    rate = {} if config.learning_rate is None else {"lr": config.learning_rate}
    groups: list[dict[str, Any]] = [
        {"params": rest},
        {"params": tables, "optimizer": "row_wise_adagrad", **rate},
    ]
    return [group for group in groups if group["params"]]
