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

    z starts so that the first weights are what they are. Where the rate changes from alpha' to
    alpha (a schedule, a warm-up), sigma is the growth of the whole proximal term,

        sigma = (beta + sqrt(n + g^2)) / alpha - (beta + sqrt(n)) / alpha'

    so that a step without a gradient leaves every weight as it is: z that was built with one rate
    and read with another would scale all of them. A rate of 0 is a step that changes nothing. Dense
    gradients only.
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
        rate, beta = group["lr"], group["beta"]
        if rate == 0:
            return
        z, n = self._state_of(weight, group)
        before = self.state[weight].setdefault("rate", rate)
        grown = n + gradient.square()
        z += gradient - (grown.sqrt() - n.sqrt()) / before * weight
        n.copy_(grown)
        if rate != before:
            z -= (beta + n.sqrt()) * (1 / rate - 1 / before) * weight
            self.state[weight]["rate"] = rate
        scale = (beta + n.sqrt()) / rate + group["l2"]
        weight.copy_(-torch.sign(z) * (z.abs() - group["l1"]).clamp_(min=0) / scale)

    def _state_of(self, weight: Tensor, group: dict[str, Any]) -> tuple[Tensor, Tensor]:
        state = self.state[weight]
        if not state:
            scale = group["beta"] / group["lr"] + group["l2"]
            state["z"] = -(weight * scale + torch.sign(weight) * group["l1"])
            state["n"] = torch.zeros_like(weight)
        return state["z"], state["n"]
