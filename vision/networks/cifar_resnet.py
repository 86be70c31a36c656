"""The ResNets of He et al. 2016, section 4.2, for pictures of about 32 x 32.

A 3 x 3 convolution, three stages of 16, 32 and 64 channels with (depth - 2) / 6 blocks each, and
the head. Shortcuts have no weights: where a stage halves the sides they take every second pixel and
fill the new channels with zeros (option A).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from falconer.vision.networks.classifier import Classifier, start

DEPTHS = {"cifar_resnet20": 20, "cifar_resnet32": 32, "cifar_resnet44": 44, "cifar_resnet56": 56}
WIDTHS = (16, 32, 64)


class CifarBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut without weights."""

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self._stride, self._new = stride, width - n_in

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, h, w] -> [B, width, h / stride, w / stride]."""
        found = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        beside = x[:, :, :: self._stride, :: self._stride]
        if self._new:
            beside = functional.pad(beside, (0, 0, 0, 0, self._new // 2, self._new // 2))
        output: Tensor = self.relu(found + beside)
        return output


class CifarResNet(Classifier):
    """A network of `DEPTHS`."""

    def __init__(
        self, name: str, n_classes: int, *, channels: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        n_in, stages = WIDTHS[0], []
        for number, width in enumerate(WIDTHS):
            blocks: list[nn.Module] = []
            for place in range((DEPTHS[name] - 2) // 6):
                blocks.append(CifarBlock(n_in, width, 2 if number and not place else 1))
                n_in = width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(n_in, n_classes)
        start(self)

    def maps(self, pictures: Tensor) -> Tensor:
        """The maps of `layer3`, at a stride of 4."""
        found = self.relu(self.bn1(self.conv1(pictures)))
        for stage in (self.layer1, self.layer2, self.layer3):
            found = stage(found)
        maps: Tensor = found
        return maps

    def parts(self) -> Mapping[str, nn.Module]:
        """The stem, the three stages and the head."""
        return {
            "stem": nn.ModuleList([self.conv1, self.bn1]),
            "layer1": self.layer1,
            "layer2": self.layer2,
            "layer3": self.layer3,
            "fc": self.fc,
        }
