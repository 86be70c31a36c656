"""EfficientNet-Lite0 has the published size and TensorFlow's padding; residuals begin at
nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from falconer.vision.networks.efficientnet_lite import EfficientNetLite0, SameConv
from falconer.vision.networks.resnet import ResNet


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_efficientnet_lite_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        assert count(EfficientNetLite0(1000)) == 4_652_008


def test_residuals_begin_at_nothing() -> None:
    network = ResNet("resnet18", 5)
    block = network.layer1[0].eval()
    x = torch.rand(1, 64, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("side", "stride", "places"), [(7, 2, 4), (8, 2, 4), (5, 1, 5)])
def test_same_padding_is_that_of_tensorflow(side: int, stride: int, places: int) -> None:
    """An even side at stride 2 is padded at the end only, so a kernel of ones counts fewer
    there."""
    conv = SameConv(1, 1, 3, stride, bias=False)
    nn.init.ones_(conv.weight)
    found = conv(torch.ones(1, 1, side, side))[0, 0]
    assert found.shape == (places, places)
    assert found[0, 0].item() == (9 if side == 8 else 4)
    assert found[-1, -1].item() == 4
