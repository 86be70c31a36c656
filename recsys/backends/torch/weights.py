"""A network's weights: random ones that follow from a seed, and on disk beside the items'
popularity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from falconer.pipelines.errors import ArtifactError

FILE = "model.safetensors"
M = TypeVar("M", bound=nn.Module)


def seeded(build: Callable[[], M], seed: int) -> M:
    """What `build` makes, with random weights that follow from `seed`; the process's own random
    numbers go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def save(directory: Path, model: nn.Module, **more: Tensor) -> None:
    """Write `model.safetensors`: the weights, and tensors beside them by their names."""
    weights = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    save_file(weights | more, directory / FILE)


def load(
    directory: Path, build: Callable[[dict[str, Tensor], Tensor | None], M]
) -> tuple[M, Tensor | None]:
    """What `save` wrote: `build(weights, popularity)` makes the network that the weights fit into.

    Raises `ArtifactError` where the file is missing or damaged, or the weights do not fit.
    """
    path = directory / FILE
    try:
        weights = load_file(path)
        popularity = weights.pop("popularity", None)
        model = build(weights, popularity)
        model.load_state_dict(weights)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"{path}: missing or damaged ({error}); train the model anew"
        ) from error
    return model, popularity


def load_for_lists(
    directory: Path, build: Callable[[dict[str, Tensor], int], M]
) -> tuple[M, Tensor]:
    """As `load`, of a model that is never saved without the popularity float32[n_items]:
    `build(weights, n_items)`."""

    def whole(weights: dict[str, Tensor], popularity: Tensor | None) -> M:
        if popularity is None:
            raise KeyError("popularity")
        return build(weights, len(popularity))

    model, popularity = load(directory, whole)
    assert popularity is not None
    return model, popularity
