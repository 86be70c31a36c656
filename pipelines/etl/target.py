"""The target of the task `labels`: which column is the label, and what it means."""

from __future__ import annotations

from typing import Annotated, Literal

import polars as pl
from pydantic import Field, FiniteFloat, model_validator

from falconer.pipelines.config import Config
from falconer.pipelines.errors import DataError

Column = Literal["label", "rating", "weight"]


class Binary(Config):
    """A label of 0 or 1: the column's own, or whether its value is above a threshold.

    For example, `column = "rating"`, `above = 3`, `drop = [3]`: films that were liked, without
    those in between.
    """

    kind: Literal["binary"]
    column: Column = "label"
    above: FiniteFloat | None = None
    """The label is 1 where the value is above this. None: the values are 0 and 1, and others are
    rejected."""
    drop: tuple[FiniteFloat, ...] = ()
    """Rows with one of these values are dropped, whatever `above` says."""

    @model_validator(mode="after")
    def _drops_by_a_threshold(self) -> Binary:
        if self.drop and self.above is None:
            raise ValueError("drop without above: values other than 0 and 1 are rejected anyway")
        return self


class Rating(Config):
    """A label that is a number, as it came."""

    kind: Literal["rating"]
    column: Column = "rating"


TargetConfig = Annotated[Binary | Rating, Field(discriminator="kind")]


def with_label(
    events: pl.DataFrame, target: Binary | Rating
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The events with `label` float64, and without those to drop; the drops by name.

    Raises `DataError` where the column is absent.
    """
    if target.column not in events.columns:
        raise DataError(
            f"target.column is {target.column!r}, but the events have no {target.column}; "
            "map one under [source], or choose another column"
        )
    value, drops = pl.col(target.column), {}
    if isinstance(target, Binary) and target.drop:
        kept = events.filter(~value.is_in(target.drop))
        drops[
            f"dropped: {target.column} is {' or '.join(f'{number:g}' for number in target.drop)}"
        ] = events.height - kept.height
        events = kept
    if isinstance(target, Binary) and target.above is not None:
        value = (value > target.above).cast(pl.Float64)
    return events.with_columns(value.alias("label")), drops


def refuse_constant(n_labels: int, target: Binary | Rating) -> None:
    """Raise `DataError` where a binary label has fewer than two values."""
    if isinstance(target, Binary) and n_labels < 2:
        raise DataError(
            "every label is the same, so there is nothing to learn; see the counts above, and mend "
            "[target]"
        )
