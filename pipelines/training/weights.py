"""A model's tensors by name, and their exponential moving average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.training.losses import NotFiniteError


def tensors_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers that are saved, by name; a shared one once, under its first name."""
    seen: dict[int, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        seen.setdefault(id(tensor), name)
    named = model.state_dict(keep_vars=True)
    return {name: named[name].detach() for name in seen.values()}


@torch.no_grad()
def copy_into(
    own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor], origin: str
) -> None:
    """Overwrite `own` tensors with the saved ones; `ArtifactError` for the first name or shape that
    differs."""
    names = sorted(own.keys() ^ saved.keys())
    if names:
        holder = "the model" if names[0] in own else "the file"
        raise ArtifactError(
            f"{origin}: made by another model: only {holder} has {names[0]!r}; train anew"
        )
    for name, tensor in own.items():
        if tensor.shape != saved[name].shape:
            raise ArtifactError(
                f"{origin}: made by a model of another size: {name} has shape "
                f"{list(saved[name].shape)} there "
                f"and {list(tensor.shape)} here; train anew"
            )
    for name, tensor in own.items():
        tensor.copy_(saved[name])


def refuse_not_finite(weights: Mapping[str, torch.Tensor], step: int) -> None:
    """`NotFiniteError` that names the first tensor with a value that is not finite."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NotFiniteError(f"{name} is not finite after step {step}")


class Ema:
    """Exponential moving average of a model's floating-point tensors: a <- d a + (1 - d) w after
    each step.

    It starts at the first weights. Integer buffers (counters) are those of the model.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._own = {
            name: tensor for name, tensor in tensors_of(model).items() if tensor.is_floating_point()
        }
        self.tensors = {name: tensor.clone() for name, tensor in self._own.items()}
        self._decay = decay

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's weights in."""
        torch._foreach_lerp_(list(self.tensors.values()), list(self._own.values()), 1 - self._decay)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The model holds the average within the block, and its own weights again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self._own.items():
            kept = tensor.clone()
            tensor.copy_(self.tensors[name])
            self.tensors[name].copy_(kept)
