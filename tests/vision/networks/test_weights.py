"""Weights of others: what fits is loaded, and what would be silently wrong is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.vision.config import NetworkConfig
from falconer.vision.networks.registry import build
from falconer.vision.networks.weights import (
    agreed,
    load_weights,
    read_weights,
    save_weights,
    weights_path,
)


def config(name: str = "resnet50", **knobs: Any) -> NetworkConfig:
    return NetworkConfig.model_validate({"name": name, **knobs})


def written(path: Path, network: torch.nn.Module, **metadata: str) -> Path:
    save_weights(network, path, metadata)
    return path


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = build(config(version="v1"), n_classes=4, channels=3)
    folder = tmp_path_factory.mktemp("weights")
    return written(folder / "v1.safetensors", network, architecture="resnet50-v1", bn_eps="1e-3")


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = build(config(), n_classes=4, channels=3)
    return written(tmp_path_factory.mktemp("weights") / "unnamed.safetensors", network)


def test_the_file_says_form_and_epsilon(v1: Path) -> None:
    found = agreed(config(), read_weights(v1))
    assert (found.version, found.batch_norm_eps) == ("v1", 1e-3)


def test_both_forms_have_the_same_tensors_and_other_answers(v1: Path) -> None:
    weights = read_weights(v1)
    answers = []
    for version in ("v1", "v1.5"):
        network = build(config(version=version), n_classes=4, channels=3).eval()
        assert load_weights(network, weights)
        with torch.no_grad():
            # of one block's convolutions, since a fresh block as a whole is the identity
            block = network.layer2[0]
            answers.append(block.conv2(block.conv1(torch.ones(1, 256, 9, 9))))
    assert answers[0].shape == answers[1].shape
    assert not torch.allclose(answers[0], answers[1])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"version": "v1.5"}, "of the form v1, and network.version is v1.5"),
        ({"batch_norm_eps": 1e-5}, "trained with a batch_norm_eps of 0.001"),
        ({"name": "resnet101"}, "weights of resnet50, and network.name is resnet101"),
    ],
)
def test_a_contradiction_is_refused(v1: Path, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        agreed(config(**knobs), read_weights(v1))


def test_a_bottleneck_of_unknown_form_is_refused(unnamed: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not say whether it is a resnet50 v1 or v1\.5"):
        agreed(config(), read_weights(unnamed))
    assert agreed(config(version="v1.5"), read_weights(unnamed)).version == "v1.5"


def test_a_head_of_other_classes_stays(unnamed: Path) -> None:
    network = build(config(), n_classes=9, channels=3)
    before = network.head.weight.clone()
    assert not load_weights(network, read_weights(unnamed))
    assert torch.equal(network.head.weight, before)
    assert torch.equal(network.conv1.weight, read_weights(unnamed).tensors["conv1.weight"])


def test_weights_of_another_network_are_refused(unnamed: Path) -> None:
    network = build(config("resnet18"), n_classes=4, channels=3)
    with pytest.raises(ArtifactError, match=r"not weights of this network: .* unknown, such as"):
        load_weights(network, read_weights(unnamed))


def test_one_channel_cannot_take_weights_for_three(unnamed: Path) -> None:
    network = build(config(), n_classes=4, channels=1)
    with pytest.raises(ArtifactError, match=r"1 of another shape, such as conv1\.weight"):
        load_weights(network, read_weights(unnamed))


def test_counters_of_any_shape_do_not_matter(tmp_path: Path) -> None:
    network = build(config("resnet18"), n_classes=4, channels=3)
    tensors = {name: value.clone() for name, value in network.state_dict().items()}
    tensors["bn1.num_batches_tracked"] = torch.zeros(1, dtype=torch.int64)
    del tensors["layer1.0.bn1.num_batches_tracked"]
    save_file(tensors, tmp_path / "w.safetensors")
    assert load_weights(network, read_weights(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"w\.safetensors: no safetensors file, or damaged"):
        read_weights(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file of weights"):
        read_weights(tmp_path / "w.safetensors")


def test_an_address_needs_its_sha256(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs its sha256"):
        weights_path("https://example.org/w.safetensors", tmp_path)
    (tmp_path / f"{'a' * 64}.safetensors").touch()
    address = f"https://example.org/w.safetensors#sha256={'a' * 64}"
    assert weights_path(address, tmp_path).name == f"{'a' * 64}.safetensors"
