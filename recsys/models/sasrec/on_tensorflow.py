"""SASRec on TensorFlow, in Keras 3; the equations are in `falconer.recsys.models.sasrec.on_torch`,
whose scorer the trained model has."""

from __future__ import annotations

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow.loop import fit_with, on_host
from falconer.recsys.backends.tensorflow.sequences import SequenceNetwork
from falconer.recsys.backends.torch.sequences.scorer import SequenceScorer
from falconer.recsys.models.sasrec import on_torch
from falconer.recsys.models.sasrec.config import SasRecConfig

load = on_torch.load


def train(config: SasRecConfig, data: Dataset, run: Run) -> SequenceScorer:
    """As on torch; raises `ConfigError` too for a knob that TensorFlow does not honour."""
    fit = fit_with(lambda task: SequenceNetwork(task, config), config.training.device)
    return on_torch.train(on_host(config), data, run, fit=fit)
