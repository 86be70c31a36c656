"""A network that starts from a trained one on a dataset that continues the other's ids: ids that
both have keep their weights, new ones what they were initialised with."""

from __future__ import annotations

from collections.abc import Collection

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.start import start_of
from falconer.recsys.backends.torch.weights import FILE


@torch.no_grad()
def start(model: nn.Module, run: Run, tables: Collection[str], *, token: str = "") -> None:
    """Overwrite weights of `model` with those of the run that `run` starts from; nothing where it
    starts anew.

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
