"""Trained torch models as modules of arrays, from which a graph for other programs is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch

Form = Literal["catalogue", "pairs"]
"""What a graph scores: all items that the model knows, for each query; or pairs of a query and an
item."""


@dataclass(frozen=True)
class Graph:
    """A scorer as a module of arrays. The module is traced, and then gets any number of rows and
    lengths of histories:
    `forward` neither branches on values nor makes Python numbers of these sizes.

    module  in evaluation mode, on the CPU; `forward` takes the inputs in their order and returns
            float32 scores:
            [N, n_items known to the model] of a catalogue, [N] of pairs
    inputs  each one of
            user      int64 [N]     -1 = unknown
            item      int64 [N]     pairs only: an item that the model knows, or -1 = unknown
            history   int64 [N, L]  oldest first, then -1; only items that the model knows
            or the name of a feature of the queries, int64 [N] (categorical, -1 = unknown) or
            float32 [N]
    """

    module: torch.nn.Module
    inputs: tuple[str, ...]


@runtime_checkable
class GraphScorer(Protocol):
    """A scorer that has a graph form."""

    def graphs(self) -> Mapping[Form, Graph]:
        """The forms that there are, the most useful first. Each answers every query as the scorer
        does."""
