"""Trunks of SSD: a ResNet up to its third stage, at a stride of 8."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

CHANNELS = {"resnet18": 256, "resnet34": 256, "resnet50": 1024}


class ResNetTrunk(nn.Module):
    """The stem and the first three stages of a ResNet, whose third stage does not shrink.

    float[B, 3, size, size] -> float[B, channels, size / 8, size / 8], rounded up. The modules keep
    the network's names (`conv1`, `layer1`, ...), so that its weights fit.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
            setattr(self, name, getattr(network, name))
        first = cast(nn.Sequential, self.layer3)[0]
        for module in first.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)

    def stages(self) -> list[nn.Module]:
        """The stem, then each stage: what can be frozen."""
        stem = nn.ModuleList([self.conv1, self.bn1])
        return [stem, self.layer1, self.layer2, self.layer3]

    def forward(self, pictures: Tensor) -> Tensor:
        """The map of the third stage."""
        found: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        for stage in (self.layer1, self.layer2, self.layer3):
            found = stage(found)
        return found

    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
