"""The twins of torch's networks: with its weights they give its scores, its losses, and from the
same batches the same training."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from falconer.pipelines import runs
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.training.result import FitResult
from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.network import Network, start_from
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.models import registry
from falconer.recsys.models.bert4rec.on_tensorflow import Bert4RecNetwork
from falconer.recsys.models.dlrm.on_tensorflow import DlrmNetwork
from falconer.recsys.models.ncf.on_tensorflow.training import network_of
from falconer.recsys.models.sasrec.on_tensorflow import SequenceNetwork
from falconer.recsys.models.vae_cf.on_tensorflow import VaeCfNetwork
from falconer.recsys.models.wide_deep.on_tensorflow import WideDeepNetwork
from tests.support import tiny
from tests.support.datasets import checkerboard, write_labels_dataset

TWINS: dict[str, Any] = {
    "wide_deep": WideDeepNetwork.of,
    "dlrm": DlrmNetwork.of,
    "ncf": network_of,
    "vae_cf": lambda task, config: VaeCfNetwork(task.model, config),
    "sasrec": SequenceNetwork.of,
    "bert4rec": Bert4RecNetwork.of,
}
MIXED = {"tables": {"head_rows": 2, "tail_dim": 2}}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("wide_deep", "top_n", {}),
    ("wide_deep", "labels", {"crosses": [["segment", "category"]], "cross_buckets": 7}),
    ("wide_deep", "labels", {"crosses": [["user", "item"]], "cross_buckets": 50, **MIXED}),
    ("dlrm", "top_n", {}),
    ("dlrm", "labels", MIXED),
    ("ncf", "top_n", {"l2": 0.1}),
    ("ncf", "top_n", {"variant": "gmf", "loss": "in_batch", "l2": 0.1}),
    ("ncf", "top_n", {"variant": "mlp", "hidden": [8]}),
    ("ncf", "labels", {}),
    ("vae_cf", "top_n", {"anneal_steps": 0}),
    ("vae_cf", "top_n", {"variant": "dae", "hidden": [16, 8]}),
    *[
        ("sasrec", "top_n", {"loss": loss})
        for loss in ("softmax", "sampled_softmax", "gbce", "bce")
    ],
    ("sasrec", "top_n", {"activation": "relu", "n_blocks": 2, "n_heads": 4}),
    ("sasrec", "top_n", {"scale_embeddings": True}),
    ("bert4rec", "top_n", {"scale_embeddings": True}),
    *[("bert4rec", "top_n", {"loss": loss}) for loss in ("softmax", "sampled_softmax", "gbce")],
]


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


@pytest.fixture
def data(task: str, tmp_path: Path) -> Dataset:
    make = checkerboard if task == "top_n" else write_labels_dataset
    return make(tmp_path / "data")


def config_of(name: str, knobs: dict[str, Any]) -> ModelConfig:
    values = tiny.tiny_config(name).model_dump(mode="json") | {"dropout": 0.0} | knobs
    return registry.MODELS[name].config.model_validate(values)


@pytest.mark.parametrize(("name", "task", "knobs"), CASES)
def test_the_same_weights_give_the_same_outputs_loss_and_gradient(
    name: str, task: str, knobs: dict[str, Any], data: Dataset, tmp_path: Path
) -> None:
    config = config_of(name, knobs)
    theirs = task_of(name, config, data, tmp_path / "runs")
    ours: Network = TWINS[name](theirs, config)
    start_from(ours, theirs.model)
    batch = next(iter(theirs.batches.epoch(0)))
    theirs.model.eval()
    outputs: list[Any] = []
    hook = "among" if knobs.get("loss") == "in_batch" else "forward"
    with recorded(theirs.model, hook, outputs):
        expected = theirs.loss(batch)
    expected.backward()
    tensors = {key: tf.constant(value) for key, value in ours.arrays(batch).items()}
    with tf.GradientTape() as tape:
        loss = ours.loss(tensors, None)
    for output, other in zip(outputs_of(ours, tensors), outputs, strict=True):
        np.testing.assert_allclose(output.numpy(), other.detach().numpy(), rtol=1e-5, atol=1e-5)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    variables = {key: weight.variable for key, weight in ours.weights.items()}
    gradients = tape.gradient(loss, variables)
    compared = 0
    for key, parameter in theirs.model.named_parameters():
        if parameter.grad is None or key not in gradients or gradients[key] is None:
            continue
        dense = tf.convert_to_tensor(gradients[key]).numpy()
        own = ours.weights[key].to_torch(dense)
        np.testing.assert_allclose(own, parameter.grad.numpy(), rtol=1e-3, atol=2e-6, err_msg=key)
        compared += 1
    assert compared > 3
