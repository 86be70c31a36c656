"""BERT4Rec on torch (Sun et al. 2019, "Sequential recommendation with bidirectional encoder
representations").

Each place of a history sees all others. In training some items are masked and asked for (the Cloze
task); to recommend, a mask is put behind the history. What the encoder gives at a mask goes through
one more layer (equation 7):

    P(item) = softmax(GELU(h W + b) E' + c)

with the items' vectors E and a bias c of each item. As in other implementations, the layer's output
is normalised.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.pipelines.training.task import Fit
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch.sequences.batches import cloze
from falconer.recsys.backends.torch.sequences.scorer import SequenceModel, SequenceScorer
from falconer.recsys.backends.torch.sequences.training import load_sequences, train_sequences
from falconer.recsys.backends.torch.sequences.transformer import initialise
from falconer.recsys.models.bert4rec.config import Bert4RecConfig


class Bert4Rec(SequenceModel):
    """The encoder, and the output layer above it; the mask is the token behind the last item."""

    def __init__(self, n_items: int, config: Bert4RecConfig) -> None:
        super().__init__(n_items, config, mask=n_items)
        self.out = nn.Linear(config.dim, config.dim)
        self.out_norm = nn.LayerNorm(config.dim)
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.out.apply(initialise)

    def forward(self, items: Tensor, lengths: Tensor, places: Tensor) -> Tensor:
        """Items int64[B, L] (0 behind a row's end), lengths int64[B], places int64[T] of the B * L
        -> [T, d]."""
        normalised: Tensor = self.out_norm(
            functional.gelu(self.out(super().forward(items, lengths, places)))
        )
        return normalised

    @property
    def item_bias(self) -> Tensor:
        """[n_items]: c."""
        return self.bias


def train(config: Bert4RecConfig, data: Dataset, run: Run, *, fit: Fit = fit) -> SequenceScorer:
    """Fit the model; raises what `train_sequences` raises."""
    ask = cloze(mask=data.n_items, share=config.mask_share, last_share=config.last_share)
    return train_sequences(
        lambda n: Bert4Rec(n, config), ask, config=config, data=data, run=run, fit=fit
    )


def load(directory: Path, config: Bert4RecConfig, data: Dataset) -> SequenceScorer:
    """Read `model.safetensors`."""
    return load_sequences(
        lambda n: Bert4Rec(n, config), directory=directory, config=config, data=data
    )
