"""bf16 on TensorFlow: products in it, weights, logits and losses in float32; near fp32 and near
torch's autocast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from falconer.pipelines import runs
from falconer.pipelines.config import to_toml
from falconer.pipelines.data.dataset import Dataset, checksums
from falconer.pipelines.training.config import TrainingConfig
from falconer.recsys import stages
from falconer.recsys.backends.tensorflow import keras, precision, runtime, tf
from falconer.recsys.backends.tensorflow.network import Network, start_from
from falconer.recsys.models.registry import MODELS
from tests.support import tiny
from tests.support.datasets import checkerboard, write_labels_dataset
from tests.support.twins import TWINS, config_of, outputs_of, task_of

OUTPUTS = 2e-2
"""Largest difference of an output from fp32's, as a share of the largest output: a number has 8
bits in bf16, so that a factor is off by up to 0.4 %, and layers follow each other."""
LOSS = 1e-2
"""Relative difference of the loss from fp32's."""
AUTOCAST = 1e-2
"""The same from torch's under autocast, which rounds at other places."""
GRADIENT = 1e-1
"""Length of a gradient's difference from fp32's, as a share of its length, of all weights
together. Gradients of rows cancel each other, their roundings do not, and a ReLU near 0 may change
its side."""

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("wide_deep", "labels", {}),
    ("dlrm", "labels", {"tables": {"head_rows": 2, "tail_dim": 2}}),
    ("ncf", "top_n", {}),
    ("ncf", "top_n", {"variant": "gmf", "loss": "in_batch"}),
    ("vae_cf", "top_n", {"hidden": [16, 8]}),
    ("sasrec", "top_n", {"loss": "softmax"}),
    ("bert4rec", "top_n", {"loss": "sampled_softmax"}),
]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    root = tmp_path_factory.mktemp("data")
    return {"top_n": checkerboard(root / "board"), "labels": write_labels_dataset(root / "labels")}


def computed(
    name: str, task: Any, config: Any, batch: Any, kind: str
) -> tuple[list[Any], Any, dict[str, Any]]:
    """Outputs, loss and dense gradients of a twin that is made and traced under a policy."""
    with precision.policy(kind):
        network: Network = TWINS[name](task, config)
        start_from(network, task.model)
        tensors = {key: tf.constant(value) for key, value in network.arrays(batch).items()}
        variables = {key: weight.variable for key, weight in network.weights.items()}
        assert {variable.dtype.name for variable in variables.values()} == {"float32"}
        with tf.GradientTape() as tape:
            loss = network.loss(tensors, None)
        gradients = tape.gradient(loss, variables)
        outputs = outputs_of(network, tensors)
    dense = {k: tf.convert_to_tensor(g).numpy() for k, g in gradients.items() if g is not None}
    return outputs, loss, dense


@pytest.mark.parametrize(("name", "task", "knobs"), CASES)
def test_bf16_is_near_fp32_and_near_torchs(
    name: str, task: str, knobs: dict[str, Any], datasets: dict[str, Dataset], tmp_path: Path
) -> None:
    config = config_of(name, knobs)
    theirs = task_of(name, config, datasets[task], tmp_path / "runs")
    batch = next(iter(theirs.batches.epoch(0)))
    exact, exact_loss, exact_gradients = computed(name, theirs, config, batch, precision.FLOAT32)
    near, loss, gradients = computed(name, theirs, config, batch, precision.BF16)
    for output, other in zip(near, exact, strict=True):
        assert output.dtype == tf.float32
        furthest = np.abs(output.numpy() - other.numpy()).max()
        assert furthest <= OUTPUTS * max(1.0, np.abs(other.numpy()).max())
    assert any((a.numpy() != b.numpy()).any() for a, b in zip(near, exact, strict=True))
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(float(exact_loss), rel=LOSS)
    theirs.model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert float(loss) == pytest.approx(theirs.loss(batch).item(), rel=AUTOCAST)
    assert gradients.keys() == exact_gradients.keys()
    apart = sum(np.square(gradients[k] - exact_gradients[k]).sum() for k in gradients)
    length = sum(np.square(value).sum() for value in exact_gradients.values())
    assert {value.dtype for value in gradients.values()} == {np.dtype(np.float32)}
    assert (apart / length) ** 0.5 < GRADIENT


@pytest.mark.parametrize("name", ["ncf", "sasrec"])
def test_a_training_in_bf16_learns_repeats_itself_and_keeps_float32(
    name: str, datasets: dict[str, Dataset], tmp_path: Path
) -> None:
    values = tiny.tiny_config(name).model_dump(mode="json")
    curves, weights = {}, {}
    for kind, root in (("fp32", "fp32"), ("bf16", "one"), ("bf16", "two")):
        training = values["training"] | {"precision": kind, "epochs": 3, "validate_every": 1.0}
        config = MODELS[name].config.model_validate(values | {"training": training})
        run = tiny.train(name, "tensorflow", datasets["top_n"], tmp_path / root, config)
        curves[root] = [line["loss"] for line in run.read_lines("metrics.jsonl") if "loss" in line]
        best = max(run.path.glob("checkpoints/**/best-*.safetensors"))
        weights[root] = load_file(best)
    assert curves["one"] == curves["two"] != curves["fp32"]
    assert curves["one"] == pytest.approx(curves["fp32"], rel=5e-2)
    assert curves["one"][-1] < curves["one"][0]
    assert {tensor.dtype for tensor in weights["one"].values()} == {torch.float32}
    assert all(torch.equal(value, weights["two"][key]) for key, value in weights["one"].items())


def test_a_stopped_training_in_bf16_goes_on_to_the_same_bytes(
    datasets: dict[str, Dataset], tmp_path: Path
) -> None:
    def stop(step: int, values: Any) -> None:
        raise runs.StoppedError("enough")

    values = tiny.tiny_config("ncf").model_dump(mode="json")
    budget = {"precision": "bf16", "epochs": 2, "checkpoint_every": 2, "ema_decay": 0.9}
    recipe = tmp_path / "tiny.toml"
    model = values | {"training": values["training"] | budget}
    text = to_toml({"name": "ncf", "backend": "tensorflow", "model": model})
    recipe.write_text(text, encoding="utf-8")
    data = datasets["top_n"].path
    whole = stages.train(str(recipe), data, tmp_path / "whole")
    with pytest.raises(runs.StoppedError):
        stages.train(str(recipe), data, tmp_path / "stopped", watch=stop)
    (path,) = (tmp_path / "stopped").iterdir()
    stages.resume(path)
    assert checksums(path / "model") == checksums(whole / "model")
    assert (path / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_the_policies_of_both_keras_are_as_before_behind_a_block_that_fails() -> None:
    def kinds() -> tuple[str, str]:
        return keras.config.dtype_policy().name, tf.keras.mixed_precision.global_policy().name

    before = kinds()
    inside = []
    with pytest.raises(ZeroDivisionError), precision.policy(precision.BF16):
        inside.append(kinds()) or 1 / 0
    assert inside == [(precision.BF16, precision.BF16)]
    assert kinds() == before == (precision.FLOAT32, precision.FLOAT32)


@pytest.mark.parametrize(
    ("knobs", "capability", "expected"),
    [
        ({"precision": "auto"}, (9, 0), True),
        ({"precision": "auto"}, (7, 5), False),
        ({"precision": "auto"}, None, False),
        ({"precision": "auto", "device": "cpu"}, (9, 0), False),
        ({"precision": "fp32"}, (9, 0), False),
        ({"precision": "bf16"}, None, True),
    ],
    ids=["a new GPU", "an old GPU", "no GPU", "a GPU that is not used", "fp32", "bf16 on a CPU"],
)
def test_auto_is_bf16_on_a_gpu_that_has_it(
    knobs: dict[str, Any],
    capability: tuple[int, int] | None,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpus = [] if capability is None else ["GPU:0"]
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert runtime.uses_bf16(TrainingConfig(**knobs)) is expected


@pytest.mark.parametrize("value", ["fp16", "float16"])
def test_fp16_is_refused_with_the_reason(value: str) -> None:
    with pytest.raises(ValidationError, match="fp16 underflows without a scaled loss"):
        TrainingConfig.model_validate({"precision": value})
