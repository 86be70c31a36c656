"""The search space of a recipe's knobs: its table `[search]`.

[search]
"model.l2" = { low = 10.0, high = 5000.0, log = true }
"model.dim" = { choices = [32, 64, 128] }
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict, model_validator

from falconer.pipelines.config import Config

BETWEEN = 0.382
"""Where between its ends a range is tried out: a place at which a real number is no whole one."""


class Knob(Config):
    """The values that a search may give to one knob: one of `choices`, or any from `low` to `high`,
    both included.

    Whole numbers where both ends are, else real ones. With `log` a ratio counts as much as the same
    ratio elsewhere.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.choices and (self.low, self.high, self.log) != (None, None, False):
            raise ValueError("give either choices, or low and high")
        if not self.choices and (self.low is None or self.high is None):
            raise ValueError("give low and high, or choices")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError("low must be less than high")
        if self.log and self.low is not None and self.low <= 0:
            raise ValueError("a range with log must begin above 0")
        if len({repr(value) for value in self.choices}) < len(self.choices):
            raise ValueError("a choice is named twice")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether a range is one of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def trials(self) -> tuple[Any, ...]:
        """Values that must be allowed for the whole knob to be: all choices, or the ends and one
        between."""
        if self.low is None or self.high is None:
            return self.choices
        between = self.low + BETWEEN * (self.high - self.low)
        return (self.low, self.high) if self.is_whole else (self.low, self.high, between)
