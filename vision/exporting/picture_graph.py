"""What every exported network of pictures is: pixels go in as they are, and are scaled inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from falconer.pipelines.exporting.checked_file import metadata
from falconer.pipelines.exporting.onnx_file import Session, to_onnx
from falconer.pipelines.exporting.parity import Parity, blocks_of, parity_of

INPUT = "pixels"
EXAMPLE_PICTURES = 3

Pixels = NDArray[np.uint8]
Answers = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class PictureGraph:
    """A network in its graph form, beside the model that it was made of.

    module   uint8[N, size, size, channels] -> its outputs, in the order of their names
    model    the model's own answers to such pixels, in the same order
    asked    uint8[n, size, size, channels]: pictures that both are asked
    """

    module: nn.Module
    outputs: Sequence[str]
    model: Callable[[Pixels], Answers]
    asked: Pixels
    facts: Mapping[str, Any]


class Scaled(nn.Module):
    """Pixels 0 to 255 as a network takes them: channels first, (pixel / 255 - mean) / std."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8[N, height, width, channels] -> float32[N, channels, height, width]."""
        found: Tensor = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        return found


def graph_bytes(graph: PictureGraph) -> bytes:
    """The graph as the bytes of an ONNX file that takes any number of pictures; raises as `to_onnx`
    does."""
    return to_onnx(
        graph.module.eval(),
        {INPUT: graph.asked[:EXAMPLE_PICTURES]},
        outputs=graph.outputs,
        free={name: {0: "rows"} for name in (INPUT, *graph.outputs)},
        facts=metadata(graph.facts),
    )


def compared(graph: PictureGraph, content: bytes) -> Parity:
    """How near the file's answers are to the model's, on blocks of several sizes."""
    session = Session(content)
    return parity_of(
        pair
        for start, stop in blocks_of(len(graph.asked))
        for pair in _pairs(graph, session, graph.asked[start:stop])
    )


def _pairs(
    graph: PictureGraph, session: Session, pixels: Pixels
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    found = session({INPUT: pixels})
    expected = zip(graph.outputs, graph.model(pixels), strict=True)
    return [(own, found[name]) for name, own in expected]


def with_edge_cases(pixels: Sequence[Pixels]) -> Pixels:
    """The pictures after a black one, a white one and one of noise; all of one size."""
    first = pixels[0]
    noise = np.random.default_rng(0).integers(0, 256, first.shape, np.uint8)
    return np.stack([np.zeros_like(first), np.full_like(first, 255), noise, *pixels])


def some_rows(n: int, *, wanted: int, seed: int) -> NDArray[np.int64]:
    """Places of `wanted` of `n`, drawn with the seed, in order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:wanted])
