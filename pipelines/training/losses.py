"""What must stay finite while training, and the mean loss since the last validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from falconer.pipelines.training.result import State

STEPS_BETWEEN_CHECKS = 20
"""Losses are fetched from the device together: fetching each would make a GPU wait at every
step."""


class NotFiniteError(Exception):
    """A loss, a weight or a metric is not finite; the message names it."""


class Losses:
    """The losses of the steps since the last check, still on the device."""

    def __init__(self, fetch: Callable[[Sequence[Any]], Sequence[float]]) -> None:
        """`fetch` brings a framework's scalars to the host."""
        self._fetch = fetch
        self._losses: list[Any] = []
        self._rows: list[int] = []

    def add(self, loss: Any, rows: int) -> None:
        """One step's mean loss over so many rows."""
        self._losses.append(loss)
        self._rows.append(rows)

    @property
    def are_due(self) -> bool:
        """Whether it is time to look at them."""
        return len(self._losses) == STEPS_BETWEEN_CHECKS

    def check_into(self, state: State) -> None:
        """Add them to the state's sums; `NotFiniteError` at the first that is not finite.

        They are added one by one, so that any number of checks gives the same sum.
        """
        losses = self._fetch(self._losses)
        first = state.step - len(losses) + 1
        for step, (loss, rows) in enumerate(zip(losses, self._rows, strict=True), start=first):
            if not math.isfinite(loss):
                raise NotFiniteError(f"the loss of step {step} is {loss}")
            state.loss_sum += loss * rows
            state.loss_rows += rows
        self._losses.clear()
        self._rows.clear()


def refuse_metrics_not_finite(values: Mapping[str, float]) -> None:
    """`NotFiniteError` that names the first metric that is not finite."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise NotFiniteError(f"the validation's {name} is {value}")
