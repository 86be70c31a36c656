"""ResNet (He et al. 2016), v1 and v1.5, and its small forms for pictures of 32 x 32.

v1 shrinks in the first convolution (1 x 1) of a bottleneck, v1.5 in the second (3 x 3), as NVIDIA's
and torchvision's ResNet-50 do. Weights have the same names and shapes in both, so a file of one
loads into the other and answers wrongly: `falconer.vision.networks.weights` tells them apart.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Version = Literal["v1", "v1.5"]
BLOCKS: dict[str, tuple[int, int, int, int]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
BASIC = ("resnet18", "resnet34")
CIFAR_DEPTHS = (20, 32, 44, 56)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a short cut: [B, n_in, h, w] -> [B, width, h / stride, ...]."""

    expansion = 1

    def __init__(self, n_in: int, width: int, *, stride: int, eps: float, version: Version) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(n_in, width, stride, eps)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """What the residual passes last."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """The block's map."""
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        found: Tensor = self.relu(inner + (x if self.downsample is None else self.downsample(x)))
        return found


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a short cut; four times `width` channels."""

    expansion = 4

    def __init__(self, n_in: int, width: int, *, stride: int, eps: float, version: Version) -> None:
        super().__init__()
        first, second = (stride, 1) if version == "v1" else (1, stride)
        n_out = width * self.expansion
        self.conv1 = nn.Conv2d(n_in, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps)
        self.conv2 = nn.Conv2d(width, width, 3, second, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out, eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(n_in, n_out, stride, eps)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """What the residual passes last."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """The block's map."""
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(inner)))))
        found: Tensor = self.relu(inner + (x if self.downsample is None else self.downsample(x)))
        return found


def _projection(n_in: int, n_out: int, stride: int, eps: float) -> nn.Sequential | None:
    if stride == 1 and n_in == n_out:
        return None
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out, eps))


class ResNet(nn.Module):
    """Pictures float[B, 3, h, w] -> logits float[B, n_classes]."""

    def __init__(
        self,
        name: str,
        n_classes: int,
        *,
        version: Version = "v1.5",
        eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        block = BasicBlock if name in BASIC else Bottleneck
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        n_in = 64
        for number, count in enumerate(BLOCKS[name]):
            width, stride = 64 * 2**number, 1 if number == 0 else 2
            stage = _stage(block, n_in, width, count, stride=stride, eps=eps, version=version)
            n_in = width * block.expansion
            setattr(self, f"layer{number + 1}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(n_in, n_classes)
        self.n_features = n_in
        initialise(self)

    def stages(self) -> list[nn.Module]:
        """The stem and the four stages, from the picture on: what is frozen or thawed together."""
        names = ("layer1", "layer2", "layer3", "layer4")
        return [nn.ModuleList([self.conv1, self.bn1]), *(getattr(self, name) for name in names)]

    def feature_map(self, pictures: Tensor) -> Tensor:
        """float[B, n_features, h / 32, w / 32]: what is averaged."""
        found: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        for number in range(1, 5):
            found = getattr(self, f"layer{number}")(found)
        return found

    def features(self, pictures: Tensor) -> Tensor:
        """float[B, n_features]: what the last layer sees."""
        found: Tensor = self.avgpool(self.feature_map(pictures)).flatten(1)
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits of the classes."""
        found: Tensor = self.fc(self.dropout(self.features(pictures)))
        return found


class CifarResNet(nn.Module):
    """ResNet-20, 32, 44 or 56 (He et al. 2016, section 4.2): float[B, 3, 32, 32] -> logits.

    Three stages of 16, 32 and 64 channels, (depth - 2) / 6 blocks each. A short cut that changes
    its shape has a convolution, where the paper fills up with zeros (option B instead of A).
    """

    def __init__(
        self, depth: int, n_classes: int, *, eps: float = 1e-5, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16, eps)
        self.relu = nn.ReLU(inplace=True)
        n_in = 16
        for number in range(3):
            width, stride = 16 * 2**number, 1 if number == 0 else 2
            stage = _stage(
                BasicBlock, n_in, width, (depth - 2) // 6, stride=stride, eps=eps, version="v1"
            )
            n_in = width
            setattr(self, f"layer{number + 1}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(n_in, n_classes)
        self.n_features = n_in
        initialise(self)

    def stages(self) -> list[nn.Module]:
        """The stem and the three stages."""
        names = ("layer1", "layer2", "layer3")
        return [nn.ModuleList([self.conv1, self.bn1]), *(getattr(self, name) for name in names)]

    def feature_map(self, pictures: Tensor) -> Tensor:
        """float[B, 64, h / 4, w / 4]."""
        found: Tensor = self.relu(self.bn1(self.conv1(pictures)))
        for number in range(1, 4):
            found = getattr(self, f"layer{number}")(found)
        return found

    def features(self, pictures: Tensor) -> Tensor:
        """float[B, 64]."""
        found: Tensor = self.avgpool(self.feature_map(pictures)).flatten(1)
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits of the classes."""
        found: Tensor = self.fc(self.dropout(self.features(pictures)))
        return found


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    n_in: int,
    width: int,
    count: int,
    *,
    stride: int,
    eps: float,
    version: Version,
) -> nn.Sequential:
    blocks = [block(n_in, width, stride=stride, eps=eps, version=version)]
    for _ in range(count - 1):
        blocks.append(block(width * block.expansion, width, stride=1, eps=eps, version=version))
    return nn.Sequential(*blocks)


def initialise(network: nn.Module) -> None:
    """He's initialisation, and residuals that begin at nothing (Goyal et al. 2017, section 5.1)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock | Bottleneck):
            nn.init.zeros_(module.last_norm.weight)
