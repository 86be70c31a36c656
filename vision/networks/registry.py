"""Name -> network. Importing this loads torch; `falconer.vision.config` knows the names without
it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from falconer.vision.config import NetworkConfig
from falconer.vision.networks import cifar_resnet, resnet
from falconer.vision.networks.cifar_resnet import CifarResNet
from falconer.vision.networks.classifier import Classifier
from falconer.vision.networks.efficientnet_lite import EfficientNetLite0
from falconer.vision.networks.resnet import ResNet

DEFAULT_EPS = 1e-5
Builder = Callable[[NetworkConfig, int, int], Classifier]


def _resnet(config: NetworkConfig, n_classes: int, channels: int) -> Classifier:
    return ResNet(
        config.name,
        n_classes,
        channels=channels,
        version=config.version or "v1.5",
        eps=config.batch_norm_eps or DEFAULT_EPS,
        dropout=config.dropout,
    )


def _cifar_resnet(config: NetworkConfig, n_classes: int, channels: int) -> Classifier:
    return CifarResNet(config.name, n_classes, channels=channels, dropout=config.dropout)


def _efficientnet(config: NetworkConfig, n_classes: int, channels: int) -> Classifier:
    return EfficientNetLite0(n_classes, channels=channels, dropout=config.dropout)


NETWORKS: Mapping[str, Builder] = {
    **dict.fromkeys(resnet.DEPTHS, _resnet),
    **dict.fromkeys(cifar_resnet.DEPTHS, _cifar_resnet),
    "efficientnet_lite0": _efficientnet,
}


def build(config: NetworkConfig, *, n_classes: int, channels: int) -> Classifier:
    """The network with weights drawn from torch's global generator; `config.weights` is not
    read."""
    return NETWORKS[config.name](config, n_classes, channels)
