"""The networks have the tensors and the answers of torchvision 0.29, recorded from it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch

from falconer.vision.config import NetworkConfig
from falconer.vision.networks.registry import NETWORKS, build

RECORDED = json.loads(
    (Path(__file__).parents[1] / "golden" / "torchvision_resnets.json").read_text()
)
CIFAR_PARAMETERS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018}
"""Of He et al. 2016, table 6 (0.27, 0.46, 0.66 and 0.85 M), counted by hand for 10 classes."""


@torch.no_grad()
def fill(network: torch.nn.Module) -> None:
    """Tensors by a formula, as in the recording."""
    for place, (name, tensor) in enumerate(network.state_dict().items()):
        if not tensor.is_floating_point():
            continue
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.7 + place)
        if tensor.ndim > 1:
            wave = wave * math.sqrt(2 / tensor[0].numel())
        elif name.endswith("running_var"):
            wave = 1 + 0.5 * wave
        elif name.endswith(("bn3.weight", "bn2.weight")):
            wave = 0.2 + 0.1 * wave
        elif name.endswith("weight"):
            wave = 1 + 0.3 * wave
        else:
            wave = 0.1 * wave
        tensor.copy_(wave.reshape(tensor.shape).float())


@pytest.mark.parametrize("name", list(RECORDED))
def test_answers_are_those_of_torchvision(name: str) -> None:
    network = build(NetworkConfig.model_validate({"name": name}), n_classes=5, channels=3).eval()
    names = [[key, list(value.shape)] for key, value in network.state_dict().items()]
    assert hashlib.sha256(json.dumps(names).encode()).hexdigest() == RECORDED[name]["names_sha256"]
    fill(network)
    wave = torch.sin(torch.arange(2 * 3 * 64 * 64, dtype=torch.float64) * 0.37)
    with torch.no_grad():
        found = network(wave.reshape(2, 3, 64, 64).float())
    wanted = torch.tensor(RECORDED[name]["logits"])
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("depth", list(CIFAR_PARAMETERS))
def test_cifar_networks_have_the_printed_size(depth: int) -> None:
    config = NetworkConfig.model_validate({"name": f"cifar_resnet{depth}"})
    network = build(config, n_classes=10, channels=3)
    assert sum(p.numel() for p in network.parameters()) == CIFAR_PARAMETERS[depth]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_keeps_the_contract(name: str) -> None:
    network = build(NetworkConfig.model_validate({"name": name}), n_classes=7, channels=1).eval()
    with torch.no_grad():
        pictures = torch.randn(2, 1, 33, 40)
        features = network.features(pictures)
        assert features.shape == (2, network.n_features)
        assert network(pictures).shape == (2, 7)
        assert torch.equal(network(pictures), network.head(features))
    parts = network.parts()
    assert next(iter(parts)) == "stem"
    assert list(parts)[-1] == network.head_name
    within = [id(p) for part in parts.values() for p in part.parameters()]
    assert sorted(within) == sorted(id(p) for p in network.parameters())
    network.set_head(3)
    assert torch.equal(network(pictures), torch.zeros(2, 3))
