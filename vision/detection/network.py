"""SSD (Liu et al. 2016) on a trunk of the classification networks, after NVIDIA's SSD300 v1.1.

trunk    300 x 300 -> 38 x 38      (of a ResNet up to its third stage, which does not shrink)
extra    38 -> 19 -> 10 -> 5 -> 3 -> 1
heads    of each of the six maps: 4 offsets and C scores for every default box of a place
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from falconer.vision.detection.default_boxes import boxes_a_place, default_boxes

EXTRA_CHANNELS = (512, 512, 256, 256, 256)
SQUEEZED = (256, 256, 128, 128, 128)
SHRINKING = 3
"""How many of the extra maps have half the side of the one before; the last ones lose their rim."""


class Ssd(nn.Module):
    """A single-shot detector: pictures float[B, 3, size, size] -> offsets and logits.

    `trunk` maps pictures to float[B, channels, height, width] at a stride of 8. `n_classes` does
    not count the background, which is class 0 of the logits.
    """

    def __init__(
        self, trunk: nn.Module, channels: int, n_classes: int, size: int, *, clamped: bool = False
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.trunk = trunk
        widths = (channels, *EXTRA_CHANNELS)
        self.extra = nn.ModuleList(
            _extra(widths[number], squeezed, widths[number + 1], shrinks=number < SHRINKING)
            for number, squeezed in enumerate(SQUEEZED)
        )
        heads = list(zip(widths, boxes_a_place(), strict=True))
        self.placing = nn.ModuleList(nn.Conv2d(w, 4 * n, 3, padding=1) for w, n in heads)
        self.naming = nn.ModuleList(
            nn.Conv2d(w, (n_classes + 1) * n, 3, padding=1) for w, n in heads
        )
        for module in [self.extra, self.placing, self.naming]:
            _start(module)
        self.register_buffer(
            "defaults",
            default_boxes(size, self._map_sizes(size), clamped=clamped),
            persistent=False,
        )

    defaults: Tensor
    """float32[D, 4], corners as shares of the side."""

    def _map_sizes(self, size: int) -> list[tuple[int, int]]:
        training = self.training
        self.eval()
        with torch.no_grad():
            found = [
                (int(one.shape[2]), int(one.shape[3]))
                for one in self.maps(torch.zeros(1, 3, size, size))
            ]
        self.train(training)
        return found

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """The six feature maps, finest first."""
        found = [self.trunk(pictures)]
        for block in self.extra:
            found.append(block(found[-1]))
        return found

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets float[B, D, 4] and logits float[B, D, 1 + n_classes], in the order of
        `defaults`."""
        maps = self.maps(pictures)
        return _rows(self.placing, maps, 4), _rows(self.naming, maps, self.n_classes + 1)


def _extra(n_in: int, squeezed: int, n_out: int, *, shrinks: bool) -> nn.Sequential:
    wide = (
        nn.Conv2d(squeezed, n_out, 3, stride=2, padding=1, bias=False)
        if shrinks
        else _AtLeastOnePlace(squeezed, n_out, 3, bias=False)
    )
    return nn.Sequential(
        nn.Conv2d(n_in, squeezed, 1, bias=False),
        nn.BatchNorm2d(squeezed),
        nn.ReLU(inplace=True),
        wide,
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class _AtLeastOnePlace(nn.Conv2d):
    """A convolution without padding, but for maps that are smaller than its kernel: they get a rim
    of zeros, so that pictures of any size have six maps."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, height, width] -> [B, n_out, max(1, height - 2), max(1, width - 2)]."""
        down, across = (max(0, 3 - int(side)) for side in x.shape[2:])
        return super().forward(nn.functional.pad(x, (0, across, 0, down)))


def _start(module: nn.Module) -> None:
    """Glorot's uniform distribution for what no pretrained weights exist for."""
    for one in module.modules():
        if isinstance(one, nn.Conv2d):
            nn.init.xavier_uniform_(one.weight)
            if one.bias is not None:
                nn.init.zeros_(one.bias)


def _rows(heads: nn.ModuleList, maps: Sequence[Tensor], width: int) -> Tensor:
    """float[B, D, width]: place after place, and at each place box after box."""
    rows = [
        head(one).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, width))
        for head, one in zip(heads, maps, strict=True)
    ]
    return torch.cat(rows, dim=1)
