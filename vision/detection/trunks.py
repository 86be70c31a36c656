"""Trunks of SSD: the first stages of a classification network, at a stride of 8."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from falconer.vision.detection.config import SsdConfig
from falconer.vision.networks.efficientnet_lite import (
    STAGES,
    EfficientNetLite0,
    InvertedBottleneck,
)
from falconer.vision.networks.registry import build
from falconer.vision.networks.weights import agreed, load_weights, read_weights, weights_path

CHANNELS = {"resnet18": 256, "resnet34": 256, "resnet50": 1024, "efficientnet_lite0": 112}
LITE_BLOCKS, LITE_UNSHRUNK = 11, 5
"""Blocks of EfficientNet-Lite0 that are used, and the one whose stride is taken away."""
N_PUBLISHED = 1000
"""Classes of the published weights."""


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


class EfficientNetTrunk(nn.Module):
    """EfficientNet-Lite0 up to its fifth stage of blocks, of which the fourth does not shrink.

    float[B, 3, size, size] -> float[B, 112, size / 8, size / 8], rounded up. Modules keep the
    network's names. A block ends without an activation, in numbers of any size, so a normalisation
    of the trunk's own follows.
    """

    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = network._conv_stem, network._bn0
        self._blocks = nn.ModuleList(list(network._blocks)[:LITE_BLOCKS])
        self.settle = nn.Sequential(nn.BatchNorm2d(CHANNELS["efficientnet_lite0"]), nn.ReLU6())
        first = cast(InvertedBottleneck, self._blocks[LITE_UNSHRUNK])
        first._depthwise_conv.stride = (1, 1)

    def stages(self) -> list[nn.Module]:
        """The stem, then each stage of blocks."""
        parts: list[nn.Module] = [nn.ModuleList([self._conv_stem, self._bn0])]
        start = 0
        for _, count, *_ in STAGES[:5]:
            parts.append(nn.ModuleList(list(self._blocks)[start : start + count]))
            start += count
        return parts

    def forward(self, pictures: Tensor) -> Tensor:
        """The map of the fifth stage."""
        found: Tensor = functional.relu6(self._bn0(self._conv_stem(pictures)))
        for block in self._blocks:
            found = block(found)
        settled: Tensor = self.settle(found)
        return settled


def trunk_of(config: SsdConfig) -> tuple[nn.Module, int]:
    """The trunk that is configured, with the weights that it begins with, and its channels.

    Raises `ConfigError` and `ArtifactError` where the weights do not fit the network.
    """
    network_config, weights = config.network, None
    if network_config.weights is not None:
        weights = read_weights(weights_path(network_config.weights))
        network_config = agreed(network_config, weights)
    network = build(network_config, n_classes=N_PUBLISHED, channels=3)
    if weights is not None:
        load_weights(network, weights)
    trunk = (
        EfficientNetTrunk(network)
        if isinstance(network, EfficientNetLite0)
        else ResNetTrunk(network)
    )
    for stage in trunk.stages()[: config.frozen_stages]:
        stage.requires_grad_(requires_grad=False)
    return trunk, CHANNELS[network_config.name]
