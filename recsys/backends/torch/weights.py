"""A network's weights: random ones that follow from a seed, those of a trained run to start from,
and on disk beside the items' popularity."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.start import start_of

FILE = "model.safetensors"
M = TypeVar("M", bound=nn.Module)


def seeded(build: Callable[[], M], seed: int) -> M:
    """What `build` makes, with random weights that follow from `seed`; the process's own random
    numbers go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


@torch.no_grad()
def start(model: nn.Module, run: Run, tables: Collection[str], *, token: str = "") -> None:
    """Overwrite weights of `model` with those of the run that `run` starts from, on a dataset whose
    ids this one continues: new ids keep what they were initialised with. Nothing where it starts
    anew.

    tables  the tensors with a row for each id, which may have grown
    token   one of them whose last row is no id, and stays the last

    Raises `ConfigError` where a tensor's shape is not that which this training's knobs give it, and
    `ArtifactError` where the file is damaged or another one than when the training began.
    """
    folder = start_of(run)
    if folder is None:
        return
    path = folder / FILE
    try:
        old = load_file(path)
        for name, tensor in model.state_dict().items():
            _copy(tensor, old[name], name, grows=name in tables, last=name == token)
    except (OSError, KeyError, SafetensorError) as error:
        raise ArtifactError(f"{path}: missing or damaged ({error}); train anew") from error


def _copy(new: Tensor, old: Tensor, name: str, *, grows: bool, last: bool) -> None:
    fits = old.shape[1:] == new.shape[1:] and len(old) <= len(new) if grows else False
    if not (fits or old.shape == new.shape):
        raise ConfigError(
            f"{name} has the shape {list(new.shape)} with these knobs, and {list(old.shape)} in "
            "the run to start from; give it that run's knobs, or train without --from"
        )
    if not grows:
        new.copy_(old)
        return
    kept = len(old) - last
    new[:kept] = old[:kept]
    if last:
        new[-1] = old[-1]


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
