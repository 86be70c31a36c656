"""NCF on TensorFlow, of merlin-models' layers; the equations are in
`falconer.recsys.models.ncf.on_torch.training`, whose scorer the trained model has."""

from __future__ import annotations

from typing import Any

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow.loop import fit_with, on_host
from falconer.recsys.backends.tensorflow.network import Network
from falconer.recsys.backends.tensorflow.served_pairs import served_pairs
from falconer.recsys.backends.tensorflow.serving import Served
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.backends.torch.pairs.scorers import ListScorer, PairRanker
from falconer.recsys.backends.torch.pairs.training import FieldTask
from falconer.recsys.models.ncf import on_torch
from falconer.recsys.models.ncf.config import NcfConfig
from falconer.recsys.models.ncf.on_tensorflow.tasks import (
    LabelledNcfNetwork,
    NcfNetwork,
    SoftmaxNetwork,
    served_lists,
)
from falconer.recsys.models.ncf.on_torch.scorer import NcfGraph, NcfScorer
from falconer.recsys.models.ncf.on_torch.tasks import SoftmaxTask

load = on_torch.load


def network_of(task: Any, config: NcfConfig) -> Network:
    """The twin of a task's model."""
    if isinstance(task, FieldTask):
        return LabelledNcfNetwork.of(task, config)
    if isinstance(task, SoftmaxTask):
        return SoftmaxNetwork(task, config)
    return NcfNetwork(task.model, config)


def served(graph: Graph, config: NcfConfig) -> Served:
    """What a trained model's graph answers."""
    if isinstance(graph.module, NcfGraph):
        return served_lists(graph.module, config)
    return served_pairs(lambda twin, items: LabelledNcfNetwork(twin, items, config), graph)


def train(config: NcfConfig, data: Dataset, run: Run) -> NcfScorer | ListScorer | PairRanker:
    """As on torch; raises `ConfigError` too for a knob that TensorFlow does not honour."""
    fit = fit_with(lambda task: network_of(task, config), config.training.device)
    return on_torch.train(on_host(config), data, run, fit=fit)
