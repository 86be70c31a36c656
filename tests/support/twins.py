"""Twins of torch's networks for the tests of TensorFlow: the same task on both sides."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from falconer.pipelines import runs
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.training.result import FitResult
from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.sequences import SequenceNetwork
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models import registry
from falconer.recsys.models.bert4rec.on_tensorflow import Bert4RecNetwork
from falconer.recsys.models.dlrm.on_tensorflow import DlrmNetwork
from falconer.recsys.models.ncf.on_tensorflow.training import network_of
from falconer.recsys.models.vae_cf.on_tensorflow import VaeCfNetwork
from falconer.recsys.models.wide_deep.on_tensorflow import WideDeepNetwork
from tests.support import tiny

TWINS: dict[str, Any] = {
    "wide_deep": WideDeepNetwork.of,
    "dlrm": DlrmNetwork.of,
    "ncf": network_of,
    "vae_cf": lambda task, config: VaeCfNetwork(task.model, config),
    "sasrec": SequenceNetwork.of,
    "bert4rec": Bert4RecNetwork.of,
}


def outputs_of(network: Any, tensors: Any) -> list[Any]:
    """What the network gives before its loss, as the torch twin's `forward` does."""
    if hasattr(network, "hidden"):
        return [network.hidden(tensors, None)]
    if hasattr(network, "logits"):
        return list(network.logits(tensors, None))
    if hasattr(network, "among"):
        return [network.among(tensors)]
    return [tf.reshape(network.scores(tensors, None), tf.shape(tensors["items"]))]


class StolenError(Exception):
    """Ends a training before it begins."""


def task_of(name: str, config: ModelConfig, data: Dataset, root: Path) -> Any:
    """The task that a model's `train` on torch gives to its loop, with random weights everywhere:
    parts that start as zeros would hide a mistake."""
    stolen = []

    def steal(task: Any, config: Any, run: Any, *, name: str = "") -> FitResult:
        stolen.append(task)
        raise StolenError

    module = importlib.import_module(registry.MODELS[name].backends["torch"])
    with (
        pytest.raises(StolenError),
        runs.start(root, model=name, backend="torch", config={}) as run,
    ):
        module.train(config, data, run, fit=steal)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in stolen[0].model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.3)
    return stolen[0]


@contextmanager
def recorded(model: Any, method: str, outputs: list[Any]) -> Iterator[None]:
    """Puts what the method gives into `outputs`."""
    whole = getattr(model, method)

    def noted(*arguments: Any) -> Any:
        result = whole(*arguments)
        outputs.extend(result if isinstance(result, tuple) else [result])
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, method, noted)
        yield


def config_of(name: str, knobs: dict[str, Any]) -> ModelConfig:
    """A model's tiny configuration without dropout, with other knobs."""
    values = tiny.tiny_config(name).model_dump(mode="json") | {"dropout": 0.0} | knobs
    return registry.MODELS[name].config.model_validate(values)
