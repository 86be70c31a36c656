"""Networks have the published shapes and counts, and their parts fit together."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from falconer.vision.networks.efficientnet_lite import EfficientNetLite0, SameConv
from falconer.vision.networks.resnet import BLOCKS, CIFAR_DEPTHS, CifarResNet, ResNet

PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}
"""Of torchvision's networks of the same names, with 1,000 classes."""
CIFAR_MILLIONS = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85}
"""Table 6 of He et al. 2016."""


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", BLOCKS)
def test_a_resnet_has_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        assert count(ResNet(name, 1000)) == PARAMETERS[name]


@pytest.mark.parametrize("depth", CIFAR_DEPTHS)
def test_a_small_resnet_has_the_published_size_and_depth(depth: int) -> None:
    network = CifarResNet(depth, 10)
    assert count(network) / 1e6 == pytest.approx(CIFAR_MILLIONS[depth], abs=0.01)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(layers) + 1 == depth
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_efficientnet_lite_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        assert count(EfficientNetLite0(1000)) == 4_652_008


def test_v1_and_v15_shrink_in_different_convolutions_under_the_same_names() -> None:
    first, second = (ResNet("resnet50", 10, version=version) for version in ("v1", "v1.5"))
    assert first.state_dict().keys() == second.state_dict().keys()
    for network, strides in ((first, [2, 1, 1]), (second, [1, 2, 1])):
        block = network.layer2[0]
        assert [c.stride[0] for c in (block.conv1, block.conv2, block.conv3)] == strides
    second.load_state_dict(first.state_dict())
    pictures = torch.randn(1, 3, 64, 64)
    for network in (first, second):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
    assert not torch.allclose(first.eval()(pictures), second.eval()(pictures), atol=1e-2)


@pytest.mark.parametrize(
    "network",
    [ResNet("resnet18", 7), CifarResNet(20, 7), EfficientNetLite0(7)],
    ids=["r", "c", "e"],
)
def test_features_are_the_mean_of_the_map_and_stages_hold_all_but_the_last_layer(
    network: ResNet | CifarResNet | EfficientNetLite0,
) -> None:
    network.eval()
    pictures = torch.randn(2, 3, 64, 64)
    mean = network.feature_map(pictures).mean(dim=(2, 3))
    assert torch.allclose(network.features(pictures), mean, atol=1e-5)
    assert mean.shape == (2, network.n_features)
    staged = sum(count(stage) for stage in network.stages())
    assert staged + 7 * (network.n_features + 1) == count(network)


def test_residuals_begin_at_nothing() -> None:
    network = ResNet("resnet18", 5)
    block = network.layer1[0].eval()
    x = torch.rand(1, 64, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("side", "stride", "places"), [(7, 2, 4), (8, 2, 4), (5, 1, 5)])
def test_same_padding_is_that_of_tensorflow(side: int, stride: int, places: int) -> None:
    """An even side at stride 2 is padded at the end only, so a kernel of ones counts fewer there."""
    conv = SameConv(1, 1, 3, stride, bias=False)
    nn.init.ones_(conv.weight)
    found = conv(torch.ones(1, 1, side, side))[0, 0]
    assert found.shape == (places, places)
    assert found[0, 0].item() == (9 if side == 8 else 4)
    assert found[-1, -1].item() == 4
