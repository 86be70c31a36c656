"""FTRL-Proximal: for linear models whose weights should be exactly zero where the data say
nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Ftrl(torch.optim.Optimizer):
    """Follow the regularised leader: McMahan et al. 2013, "Ad click prediction: a view from the
    trenches", algorithm 1.

    For each weight w with gradient g, alpha = `lr`, lambda_1 = `l1` and lambda_2 = `l2`:

        sigma = (sqrt(n + g^2) - sqrt(n)) / alpha
        z <- z + g - sigma w,    n <- n + g^2
        w <- 0 where |z| <= lambda_1, else -(z - sign(z) lambda_1) / ((beta + sqrt(n)) / alpha +
        lambda_2)

    z starts so that the first weights are what they are. Dense gradients only.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, l1: float = 0.0, l2: float = 0.0, beta: float = 1.0
    ) -> None:
        super().__init__(params, {"lr": lr, "l1": l1, "l2": l2, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient; `closure` is evaluated first, if there is
        one."""
        if closure is not None:
            closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        z, n = self._state_of(weight, group)
        grown = n + gradient.square()
        z += gradient - (grown.sqrt() - n.sqrt()) / group["lr"] * weight
        n.copy_(grown)
        scale = (group["beta"] + n.sqrt()) / group["lr"] + group["l2"]
        weight.copy_(-torch.sign(z) * (z.abs() - group["l1"]).clamp_(min=0) / scale)

    def _state_of(self, weight: Tensor, group: dict[str, Any]) -> tuple[Tensor, Tensor]:
        state = self.state[weight]
        if not state:
            scale = group["beta"] / group["lr"] + group["l2"]
            state["z"] = -(weight * scale + torch.sign(weight) * group["l1"])
            state["n"] = torch.zeros_like(weight)
        return state["z"], state["n"]
