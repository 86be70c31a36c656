"""A Transformer encoder of item sequences (Vaswani et al. 2017), with layer normalisation before
each part, or as in the code of Kang and McAuley 2018.

B rows of up to L items, vectors of d numbers, H heads. Rows are filled up behind their end, and
places are counted from a row's end backwards: the newest item is always at place 0, where it was in
training too, however long the row is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from falconer.recsys.backends.torch.scoring import rows_of
from falconer.recsys.backends.torch.sequences.batches import within

EMBEDDING_STD = 0.02
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
}


class Dropout(nn.Module):
    """Sets each number to 0 with chance `share` while training and scales the others, so that the
    mean stays.

    On a CPU, where not compiled, the chance is a multiple of 1 / 256 and one 64-bit draw serves
    eight numbers: a sixth of torch's own time.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if not self.training or self.share == 0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return functional.dropout(x, self.share)
        dropped = min(255, max(1, round(self.share * 256)))
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * kept.to(x.dtype).mul_(256 / (256 - dropped))


class Attention(nn.Module):
    """Multi-head self-attention; each item sees its row, or with `causal` itself and what came
    before it."""

    def __init__(self, dim: int, n_heads: int, *, causal: bool) -> None:
        super().__init__()
        self._n_heads, self._causal = n_heads, causal
        self.to_all = nn.Linear(dim, 3 * dim)

    def forward(self, x: Tensor, inside: Tensor, asking: Tensor | None = None) -> Tensor:
        """x [B, L, d], inside bool[B, L] -> [B, L, d], the heads side by side; without weights of
        its own at the end. With `asking` [B, L, d] the queries are of that, and not of x.

        What is behind a row's end is never before an item, so the causal form needs no mask for it.
        """
        b, length, dim = x.shape
        query, key, value = (
            part.view(b, length, self._n_heads, -1).transpose(1, 2)  # each [B, H, L, d / H]
            for part in self._parts(x, asking)
        )
        mask = None if self._causal else inside[:, None, None]
        seen = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=self._causal
        )
        return seen.transpose(1, 2).reshape(b, length, dim)

    def _parts(self, x: Tensor, asking: Tensor | None) -> tuple[Tensor, ...]:
        if asking is None:
            together: Tensor = self.to_all(x)
            return together.chunk(3, dim=-1)
        weight, bias, dim = self.to_all.weight, self.to_all.bias, x.shape[-1]
        query = functional.linear(asking, weight[:dim], bias[:dim])
        return query, *functional.linear(x, weight[dim:], bias[dim:]).chunk(2, dim=-1)


class Block(nn.Module):
    """x + attention, then + feed-forward; both parts take x normalised, and end in dropout."""

    def __init__(
        self,
        dim: int,
        *,
        n_heads: int,
        feed_forward: int,
        activation: str,
        dropout: float,
        causal: bool,
    ) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, n_heads, causal=causal)
        self.from_heads = nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, feed_forward), nn.Linear(feed_forward, dim)
        self.dropout = Dropout(dropout)
        self._activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, inside: Tensor, places: Tensor | None = None) -> Tensor:
        """x [B, L, d] -> [B, L, d]; with `places` int64[T] of the B * L only what comes out there:
        [T, d]."""
        seen = self.attention(self.norm_1(x), inside)
        if places is not None:
            x, seen = rows_of(x.flatten(0, 1), places), rows_of(seen.flatten(0, 1), places)
        x = x + self.dropout(self.from_heads(seen))
        return x + self._fed_forward(self.norm_2(x))

    def _fed_forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.down(self._activation(self.up(x))))
        return result


class QueryNormBlock(Block):
    """As in the code that Kang and McAuley published: q + attention with q = norm(x) as the query,
    normalised, then + feed-forward."""

    def forward(self, x: Tensor, inside: Tensor, places: Tensor | None = None) -> Tensor:
        """As of `Block`."""
        query = self.norm_1(x)
        seen = self.attention(x, inside, query)
        if places is not None:
            query, seen = (rows_of(part.flatten(0, 1), places) for part in (query, seen))
        x = self.norm_2(query + self.dropout(self.from_heads(seen)))
        return x + self._fed_forward(x)


BLOCKS: Mapping[str, type[Block]] = {"pre_norm": Block, "query_norm": QueryNormBlock}


class Encoder(nn.Module):
    """Item and position vectors, blocks, and a last normalisation."""

    def __init__(
        self,
        n_tokens: int,
        *,
        dim: int,
        max_length: int,
        n_blocks: int,
        n_heads: int,
        block: str,
        feed_forward: int,
        activation: str,
        dropout: float,
        causal: bool,
        scale_embeddings: bool = False,
    ) -> None:
        super().__init__()
        self._scale = math.sqrt(dim) if scale_embeddings else None
        self.items = nn.Embedding(n_tokens, dim)
        self.positions = nn.Embedding(max_length, dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            BLOCKS[block](
                dim,
                n_heads=n_heads,
                feed_forward=feed_forward,
                activation=activation,
                dropout=dropout,
                causal=causal,
            )
            for _ in range(n_blocks)
        )
        self.norm = nn.LayerNorm(dim)
        self.apply(initialise)

    def forward(self, items: Tensor, lengths: Tensor, places: Tensor) -> Tensor:
        """Items int64[B, L] (0 behind a row's end), lengths int64[B], places int64[T] of the B * L
        -> [T, d]."""
        from_end = lengths[:, None] - 1 - torch.arange(items.shape[1], device=items.device)
        x = rows_of(self.items.weight, items)  # [B, L, d]
        x = x if self._scale is None else x * self._scale
        x = self.dropout(x + rows_of(self.positions.weight, from_end.clamp(min=0)))
        inside = within(lengths, items.shape[1])
        for block in self.blocks[:-1]:
            x = block(x, inside)
        result: Tensor = self.norm(self.blocks[-1](x, inside, places))
        return result


def initialise(module: nn.Module) -> None:
    """Vectors as in BERT (Devlin et al. 2019); layers by their size (Glorot and Bengio 2010),
    without a bias.

    BERT's deviation of 0.02 for layers too is made for 768 numbers: with 64 or fewer learning is
    slow to begin.
    """
    if isinstance(module, nn.Embedding):
        nn.init.trunc_normal_(
            module.weight, std=EMBEDDING_STD, a=-2 * EMBEDDING_STD, b=2 * EMBEDDING_STD
        )
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
