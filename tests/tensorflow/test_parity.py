"""The twins of torch's networks: with its weights they give its scores, its losses, and from the
same batches the same training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.network import Network, start_from
from tests.support import tagged
from tests.support.datasets import checkerboard, write_labels_dataset
from tests.support.twins import TWINS, config_of, outputs_of, recorded, task_of

MIXED = {"tables": {"head_rows": 2, "tail_dim": 2}}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("wide_deep", "top_n", {}),
    ("wide_deep", "labels", {"crosses": [["segment", "category"]], "cross_buckets": 7}),
    ("wide_deep", "labels", {"crosses": [["user", "item"]], "cross_buckets": 50, **MIXED}),
    ("dlrm", "top_n", {}),
    ("dlrm", "labels", MIXED),
    ("wide_deep", "tagged", {"crosses": [["user", "tags.1"]]}),
    ("dlrm", "tagged", MIXED),
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
    ("sasrec", "top_n", {"block": "query_norm", "n_blocks": 2, "n_heads": 2}),
    ("bert4rec", "top_n", {"block": "query_norm"}),
    *[("bert4rec", "top_n", {"loss": loss}) for loss in ("softmax", "sampled_softmax", "gbce")],
]


@pytest.fixture
def data(task: str, tmp_path: Path) -> Dataset:
    makers = {"top_n": checkerboard, "labels": write_labels_dataset, "tagged": tagged.clicks}
    return makers[task](tmp_path / "data")


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
