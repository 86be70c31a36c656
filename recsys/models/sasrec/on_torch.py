"""SASRec on torch (Kang and McAuley 2018, "Self-attentive sequential recommendation").

Each place of a history sees itself and what came before it, and is asked for the item that comes
next; the score of an item is the product of its vector with what the encoder gives there (equation
6). Unlike the paper's, the blocks normalise the keys and values too, and dropout is not applied to
the weights of attention.
"""

from __future__ import annotations

from pathlib import Path

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.pipelines.training.task import Fit
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch.sequences.batches import next_item
from falconer.recsys.backends.torch.sequences.scorer import SequenceModel, SequenceScorer
from falconer.recsys.backends.torch.sequences.training import load_sequences, train_sequences
from falconer.recsys.models.sasrec.config import SasRecConfig


def train(config: SasRecConfig, data: Dataset, run: Run, *, fit: Fit = fit) -> SequenceScorer:
    """Fit the model; raises what `train_sequences` raises."""
    return train_sequences(
        lambda n: SequenceModel(n, config, mask=None),
        next_item,
        config=config,
        data=data,
        run=run,
        fit=fit,
    )


def load(directory: Path, config: SasRecConfig, data: Dataset) -> SequenceScorer:
    """Read `model.safetensors`."""
    return load_sequences(
        lambda n: SequenceModel(n, config, mask=None), directory=directory, config=config, data=data
    )
