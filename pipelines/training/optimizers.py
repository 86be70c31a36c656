"""Torch's optimisers by name, several of them over one model's parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.ftrl import Ftrl
from falconer.pipelines.training.row_wise_adagrad import RowWiseAdagrad

Groups = list[dict[str, Any]]

OPTIMIZERS: Mapping[str, Callable[[Groups, TrainingConfig], torch.optim.Optimizer]] = {
    "adam": lambda groups, c: torch.optim.Adam(
        groups, lr=c.learning_rate, weight_decay=c.weight_decay, fused=True
    ),
    "adamw": lambda groups, c: torch.optim.AdamW(
        groups, lr=c.learning_rate, weight_decay=c.weight_decay, fused=True
    ),
    "sgd": lambda groups, c: torch.optim.SGD(
        groups, lr=c.learning_rate, weight_decay=c.weight_decay, momentum=c.momentum
    ),
    "adagrad": lambda groups, c: torch.optim.Adagrad(
        groups, lr=c.learning_rate, weight_decay=c.weight_decay
    ),
    "sparse_adam": lambda groups, c: torch.optim.SparseAdam(groups, lr=c.learning_rate),
    "row_wise_adagrad": lambda groups, c: RowWiseAdagrad(groups, lr=c.learning_rate),
    "ftrl": lambda groups, c: Ftrl(groups, lr=c.learning_rate, l2=c.weight_decay),
}
"""The fused kernels take one pass over the weights; they want dense gradients, so sgd and adagrad,
which also take sparse ones, go without."""


class Optimizers:
    """One optimiser for each name among the groups, which then step together.

    `groups` are torch's parameter groups; one may name its own "optimizer". Raises `ConfigError`
    for an unknown name.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], config: TrainingConfig) -> None:
        by_name: dict[str, Groups] = {}
        for group in groups:
            options = dict(group)
            by_name.setdefault(options.pop("optimizer", config.optimizer), []).append(options)
        self._members = [_make(name, members, config) for name, members in by_name.items()]
        for group in self._groups():
            group["initial_lr"] = group["lr"]
        self.factor = 1.0

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Every parameter that is trained."""
        return [parameter for group in self._groups() for parameter in group["params"]]

    def _groups(self) -> Iterator[dict[str, Any]]:
        """Torch's own groups, which `load` replaces: they are looked up each time."""
        for member in self._members:
            yield from member.param_groups

    def place_of(self, parameter: torch.nn.Parameter) -> str:
        """What the names of the parameter's state in `tensors` begin with. Raises `KeyError` for a
        foreign one."""
        for place, member in enumerate(self._members):
            every = [own for group in member.param_groups for own in group["params"]]
            for number, own in enumerate(every):
                if own is parameter:
                    return f"{place}.{number}"
        raise KeyError("the parameter is in no group")

    def set_rate(self, factor: float) -> None:
        """Each group's learning rate becomes `factor` x its full one."""
        if factor == self.factor:
            return
        self.factor = factor
        for group in self._groups():
            group["lr"] = group["initial_lr"] * factor

    def step(self) -> None:
        """Update the weights and drop the gradients."""
        for member in self._members:
            member.step()
            member.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state's tensors, as "<optimiser>.<parameter>.<name>"."""
        return {
            name: value
            for name, value in self._entries().items()
            if isinstance(value, torch.Tensor)
        }

    def numbers(self) -> dict[str, float]:
        """What else the state holds: counters."""
        return {
            name: value
            for name, value in self._entries().items()
            if not isinstance(value, torch.Tensor)
        }

    def _entries(self) -> dict[str, Any]:
        return {
            f"{place}.{parameter}.{name}": value
            for place, member in enumerate(self._members)
            for parameter, state in member.state_dict()["state"].items()
            for name, value in state.items()
            if value is not None
        }

    def load(self, entries: Mapping[str, Any]) -> None:
        """Take over a state: the union of `tensors` and `numbers`."""
        states: list[dict[int, dict[str, Any]]] = [{} for _ in self._members]
        for key, value in entries.items():
            place, parameter, name = key.split(".", 2)
            states[int(place)].setdefault(int(parameter), {})[name] = value
        for member, state in zip(self._members, states, strict=True):
            member.load_state_dict(
                {"state": state, "param_groups": member.state_dict()["param_groups"]}
            )


def _make(name: str, groups: Groups, config: TrainingConfig) -> torch.optim.Optimizer:
    if name not in OPTIMIZERS:
        raise ConfigError(f"no optimizer {name!r}; known: {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name](groups, config)


@torch.no_grad()
def clip(
    parameters: Sequence[torch.nn.Parameter], max_norm: float, *, squares_elsewhere: float = 0.0
) -> None:
    """Scale all gradients by min(1, max_norm / norm of all together); gradients may be sparse.

    `squares_elsewhere` is the sum of squares of gradients that belong to the model and are in other
    processes only.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(
        [g.coalesce().values() if g.is_sparse else g for g in gradients]
    )
    if squares_elsewhere:
        norm = (norm.square() + squares_elsewhere).sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)
