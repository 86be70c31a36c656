"""BERT4Rec on TensorFlow, in Keras 3; the equations are in
`falconer.recsys.models.bert4rec.on_torch`, whose scorer the trained model has."""

from __future__ import annotations

from typing import Any

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.recsys.backends.tensorflow import keras, tf
from falconer.recsys.backends.tensorflow.layers import dense, normalisation
from falconer.recsys.backends.tensorflow.loop import fit_with, on_host
from falconer.recsys.backends.tensorflow.network import Noise, Tensors, Weight
from falconer.recsys.backends.tensorflow.sequences import SequenceNetwork, served_histories
from falconer.recsys.backends.tensorflow.serving import Served
from falconer.recsys.backends.torch.graphs import Graph
from falconer.recsys.backends.torch.sequences.scorer import SequenceModel, SequenceScorer
from falconer.recsys.models.bert4rec import on_torch
from falconer.recsys.models.bert4rec.config import Bert4RecConfig

load = on_torch.load


class Bert4RecNetwork(SequenceNetwork):
    """Twin of `falconer.recsys.models.bert4rec.on_torch.Bert4Rec`."""

    def __init__(self, twin: SequenceModel, popularity: Any, config: Bert4RecConfig) -> None:
        super().__init__(twin, popularity, config)
        self._out, out = dense("out", config.dim, config.dim)
        self._out_norm, norm = normalisation("out_norm", config.dim)
        self._bias = tf.Variable(tf.zeros([twin.n_items]))
        self.weights |= {**out, **norm, "bias": Weight(self._bias)}

    def hidden(self, batch: Tensors, noise: Noise | None) -> Any:
        """[T, d]: the output layer above the encoder."""
        above = self._out(super().hidden(batch, noise))
        return self._out_norm(keras.ops.gelu(above, approximate=False))

    def item_bias(self) -> Any:
        """[n_items]: c."""
        return self._bias


def served(graph: Graph, config: Bert4RecConfig) -> Served:
    """What a trained model's graph answers."""
    module: Any = graph.module
    return served_histories(Bert4RecNetwork(module.model, module.popularity, config), graph)


def train(config: Bert4RecConfig, data: Dataset, run: Run) -> SequenceScorer:
    """As on torch; raises `ConfigError` too for a knob that TensorFlow does not honour."""
    fit = fit_with(lambda task: Bert4RecNetwork.of(task, config), config.training.device)
    return on_torch.train(on_host(config), data, run, fit=fit)
