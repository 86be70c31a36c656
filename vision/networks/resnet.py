"""ResNet (He et al. 2016) for pictures of about 224 x 224, with torchvision's names of tensors.

stem      7 x 7 convolution and pooling, stride 4
layer1-4  residual blocks; the first of layer2, layer3 and layer4 halves the sides
fc        the head

A bottleneck that halves the sides does so in its first convolution, which is 1 x 1 (v1, as
printed), or in its 3 x 3 one (v1.5, as NVIDIA and torchvision have it). Both forms have the same
tensors: weights of one give wrong answers in the other, without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from falconer.vision.networks.classifier import Classifier, start, start_blocks_at_zero

Version = Literal["v1", "v1.5"]
WIDTHS = (64, 128, 256, 512)
DEPTHS: Mapping[str, tuple[int, int, int, int]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
"""Name -> residual blocks of each stage."""
BASIC = ("resnet18", "resnet34")


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: [B, n_in, h, w] -> [B, width, h / stride, ...]."""

    def __init__(self, n_in: int, width: int, stride: int, eps: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(n_in, width, stride, eps)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        found = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        beside = x if self.downsample is None else self.downsample(x)
        output: Tensor = self.relu(found.add_(beside))
        return output


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut, four times as wide at their end."""

    def __init__(self, n_in: int, width: int, stride: int, eps: float, version: Version) -> None:
        super().__init__()
        first, second = (stride, 1) if version == "v1" else (1, stride)
        self.conv1 = nn.Conv2d(n_in, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps)
        self.conv2 = nn.Conv2d(width, width, 3, second, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width, eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(n_in, 4 * width, stride, eps)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        found = self.relu(self.bn1(self.conv1(x)))
        found = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(found)))))
        beside = x if self.downsample is None else self.downsample(x)
        output: Tensor = self.relu(found.add_(beside))
        return output


def _shortcut(n_in: int, n_out: int, stride: int, eps: float) -> nn.Sequential | None:
    """The identity (None) where the shapes agree, else a 1 x 1 convolution (He's option B)."""
    if n_in == n_out and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out, eps))


class ResNet(Classifier):
    """A ResNet of `DEPTHS`; `version` matters to those with bottlenecks only."""

    def __init__(
        self,
        name: str,
        n_classes: int,
        *,
        channels: int = 3,
        version: Version = "v1.5",
        eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        n_in, stages = 64, []
        for number, (width, depth) in enumerate(zip(WIDTHS, DEPTHS[name], strict=True)):
            blocks: list[nn.Module] = []
            for place in range(depth):
                stride = 2 if number and not place else 1
                if name in BASIC:
                    blocks.append(BasicBlock(n_in, width, stride, eps))
                    n_in = width
                else:
                    blocks.append(Bottleneck(n_in, width, stride, eps, version))
                    n_in = 4 * width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(n_in, n_classes)
        start(self)
        start_blocks_at_zero(self, "bn2" if name in BASIC else "bn3")

    def stem(self, pictures: Tensor) -> Tensor:
        """[B, channels, h, w] -> [B, 64, h / 4, w / 4]."""
        found: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        return found

    def maps(self, pictures: Tensor) -> Tensor:
        """The maps of `layer4`, at a stride of 32."""
        found = self.stem(pictures)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            found = stage(found)
        return found

    def parts(self) -> Mapping[str, nn.Module]:
        """The stem, the four stages and the head."""
        return {
            "stem": nn.ModuleList([self.conv1, self.bn1]),
            "layer1": self.layer1,
            "layer2": self.layer2,
            "layer3": self.layer3,
            "layer4": self.layer4,
            "fc": self.fc,
        }
