"""SASRec on TensorFlow, in Keras 3; the equations are in `falconer.recsys.models.sasrec.on_torch`,
whose scorer the trained model has."""

from __future__ import annotations

from typing import Any

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow.loop import fit_with, on_host
from falconer.recsys.backends.tensorflow.sequences import SequenceNetwork, served_histories
from falconer.recsys.backends.tensorflow.serving import Served
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.backends.torch.sequences.scorer import SequenceScorer
from falconer.recsys.models.sasrec import on_torch
from falconer.recsys.models.sasrec.config import SasRecConfig

load = on_torch.load


def served(graph: Graph, config: SasRecConfig) -> Served:
    """What a trained model's graph answers."""
    module: Any = graph.module
    return served_histories(SequenceNetwork(module.model, module.popularity, config), graph)


def train(config: SasRecConfig, data: Dataset, run: Run) -> SequenceScorer:
    """As on torch; raises `ConfigError` too for a knob that TensorFlow does not honour."""
    fit = fit_with(lambda task: SequenceNetwork.of(task, config), config.training.device)
    return on_torch.train(on_host(config), data, run, fit=fit)
