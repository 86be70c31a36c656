"""EfficientNet-Lite0 (Tan and Le 2019, in its form without squeeze and swish): small, pretrained.

Names of weights are those of the common PyTorch ports (`_conv_stem`, `_blocks.0._bn1`, ...), and
convolutions pad as TensorFlow does, since the published weights were trained there.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from falconer.vision.networks.classifier import Classifier, start

EPS, MOMENTUM = 1e-3, 0.01
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of the published weights: (pixel - 127) / 128."""
STAGES = (
    # kernel, blocks, stride, expansion, channels
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)
STEM, HEAD = 32, 1280


class SameConv(nn.Conv2d):
    """A convolution whose map has ceil(side / stride) places: TensorFlow's SAME padding."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, h, w] -> [B, n_out, ceil(h / stride), ceil(w / stride)]."""
        down, across = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0)
            for side, stride, kernel in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        if down or across:
            x = functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(x)


def _conv(n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> SameConv:
    return SameConv(n_in, n_out, kernel, stride, bias=False, groups=groups)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, EPS, MOMENTUM)


class InvertedBottleneck(nn.Module):
    """Widen, convolve each channel apart, narrow; with a short cut where nothing changes shape."""

    def __init__(self, n_in: int, n_out: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = n_in * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = _conv(n_in, wide, 1), _norm(wide)
        self._depthwise_conv = _conv(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = _conv(wide, n_out, 1), _norm(n_out)
        self._widens, self._short_cut = expansion > 1, stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, h, w] -> [B, n_out, ceil(h / stride), ceil(w / stride)]."""
        inner = functional.relu6(self._bn0(self._expand_conv(x))) if self._widens else x
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        found: Tensor = self._bn2(self._project_conv(inner))
        return found + x if self._short_cut else found


class EfficientNetLite0(Classifier):
    """The network; what the published weights expect of pictures is `MEAN` and `STD`."""

    head_name = "_fc"

    def __init__(self, n_classes: int, *, channels: int = 3, dropout: float = 0.2) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _conv(channels, STEM, 3, stride=2), _norm(STEM)
        blocks: list[nn.Module] = []
        n_in = STEM
        for kernel, count, stride, expansion, n_out in STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(
                    InvertedBottleneck(n_in, n_out, kernel=kernel, stride=step, expansion=expansion)
                )
                n_in = n_out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _conv(n_in, HEAD, 1), _norm(HEAD)
        self.dropout = nn.Dropout(dropout)
        self._fc = nn.Linear(HEAD, n_classes)
        start(self)

    def maps(self, pictures: Tensor) -> Tensor:
        """float[B, 1280, h / 32, w / 32]."""
        found = functional.relu6(self._bn0(self._conv_stem(pictures)))
        for block in self._blocks:
            found = block(found)
        return functional.relu6(self._bn1(self._conv_head(found)))

    def parts(self) -> Mapping[str, nn.Module]:
        """The stem, `stage1` to `stage7` of blocks, the wide last convolution and the head."""
        parts: dict[str, nn.Module] = {"stem": nn.ModuleList([self._conv_stem, self._bn0])}
        first = 0
        for number, (_, count, *_) in enumerate(STAGES, start=1):
            parts[f"stage{number}"] = nn.ModuleList(list(self._blocks)[first : first + count])
            first += count
        last = nn.ModuleList([self._conv_head, self._bn1])
        return {**parts, "last": last, self.head_name: self._fc}
