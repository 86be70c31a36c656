"""What every metric carries: a function, and what its values mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from falconer.pipelines.errors import DataError

Function = TypeVar("Function")

COMMON_RULES = (
    "Mean over the queries with a relevant item in the catalogue and the view. Places beyond the "
    "end of a short list, "
    "unknown items and repeated items are misses. Lists come ranked: score descending, ties by "
    "item id."
)
"""Of metrics that have one value a query and compare its list with its relevant items."""

LISTED_RULES = (
    "Mean over the queries with a relevant item in the catalogue and the view that have a value. "
    "Empty places, unknown "
    "items and repeated items are no items of the list."
)
"""Of metrics that have one value a query and look at the list alone."""

ALL_LISTS_RULES = (
    "Over the lists of all queries, those without a relevant item too; no interval, "
    "since it is no mean."
)

TIES = (
    "Order among equal scores is not the metric's business: a list comes ranked, ties "
    "broken by item id ascending."
)
NO_RELEVANT = (
    "A query without a relevant item has no value and is left out of the mean; the "
    "report counts it."
)

ROUNDING = 1e-6
"""Of a bound, or of 1 where that is more: what a metric that counts in float32 may be beyond it."""


@dataclass(frozen=True)
class Definition(Generic[Function]):
    """One metric: its function, its definition in words (`{k}` stands for the cut-off), and where
    it comes from.

    function          what computes it; its type says which table it belongs to
    text              one or two sentences, as reports print them
    formula           of one query (or of all lists, or of all rows), in plain text
    denominator       what the value is divided by
    without_relevant  what happens to a query without a relevant item
    source            paper or convention
    rules             the rules that it shares with others, printed in reports
    ties              what the order among equal scores does
    bounds            the lowest and the highest value that there can be (of rows: their mean);
                      None = not bounded
    better            which direction is better, or that none is by itself
    """

    function: Function
    text: str
    formula: str
    denominator: str
    source: str
    rules: str = COMMON_RULES
    ties: str = TIES
    without_relevant: str = NO_RELEVANT
    bounds: tuple[float | None, float | None] = (0, 1)
    better: str = "higher"

    def sentence(self, k: int) -> str:
        """What reports print beside the value at cut-off k."""
        return " ".join(
            part for part in (self.text, self.rules, f"Source: {self.source}.") if part
        ).format(k=k)

    def within_bounds(self, name: str, values: ArrayLike) -> NDArray[Any]:
        """The values (NaN = none) as an array of float64, within the bounds. Raises `DataError`
        where one is no number, or beyond the bounds by more than rounding: what is computed from
        them, such as an interval, trusts them."""
        try:
            found = np.asarray(values, np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{name}: gave {values!r:.100}, and numbers are wanted") from error
        low, high = (
            limit if bound is None else bound
            for bound, limit in zip(self.bounds, (-np.inf, np.inf), strict=True)
        )
        beyond = (found < low - _rounding(low)) | (found > high + _rounding(high))
        if beyond.any():
            least, most = ("any" if bound is None else f"{bound!r}" for bound in self.bounds)
            raise DataError(
                f"{name}: gave {float(found[beyond][0])!r}, and its definition names the bounds "
                f"{least} to {most}; mend the metric, or name its bounds "
                "(Definition(bounds=(None, None)) has none), or leave it out"
            )
        return found.clip(low, high)


def _rounding(bound: float) -> float:
    return ROUNDING * max(1.0, abs(bound))
