"""What every network of this folder is: parts from the picture to a head, in one order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn


class Classifier(nn.Module, ABC):
    """Pictures float32[B, channels, height, width] -> logits float32[B, n_classes].

    The last layer is the head; what is before it are features of the picture, whatever the classes.
    """

    head_name: ClassVar[str] = "fc"
    """The head's name among the modules, and in files of weights."""
    dropout: nn.Dropout

    @abstractmethod
    def maps(self, pictures: Tensor) -> Tensor:
        """The last feature maps, float32[B, n_features, height / 32, width / 32] or so."""

    @abstractmethod
    def parts(self) -> Mapping[str, nn.Module]:
        """The parts by name, from the picture to the head: what is frozen, and unfrozen by
        stages."""

    @property
    def head(self) -> nn.Linear:
        """From features to logits."""
        return cast(nn.Linear, getattr(self, self.head_name))

    @property
    def n_features(self) -> int:
        """Width of the features."""
        return self.head.in_features

    def features(self, pictures: Tensor) -> Tensor:
        """float32[B, n_features]: the mean of the last maps over the picture."""
        return self.maps(pictures).mean((2, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits float32[B, n_classes]."""
        logits: Tensor = self.head(self.dropout(self.features(pictures)))
        return logits

    def set_head(self, n_classes: int) -> None:
        """A new head for other classes: all their logits are zero at first."""
        head = nn.Linear(self.n_features, n_classes)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        setattr(self, self.head_name, head)


def start(network: nn.Module) -> None:
    """He's normal distribution over the fan out (He et al. 2015) for convolutions."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def start_blocks_at_zero(network: nn.Module, last: str) -> None:
    """The last normalisation of each residual block begins at zero, so that the block begins as the
    identity (Goyal et al. 2017, section 5.1). `last` is its name within a block."""
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.BatchNorm2d) and name.endswith(f".{last}"):
                module.weight.zero_()
