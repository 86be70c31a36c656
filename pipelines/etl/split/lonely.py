"""Boundaries that are counted back from the last event stand and fall with that event's time."""

from __future__ import annotations

import polars as pl

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.split.parts import written

FEW = 0.01
"""Of the events: a test fold with fewer, after a gap as long as itself, hangs on wrong times."""


def refuse_lonely(events: pl.DataFrame, start: int, until: int) -> None:
    """Raise `DataError` where the fold from `start` to before `until` holds few of the events and
    nothing happened before it for as long as it lasts: a wrong time made it, not the data."""
    times = events["time"]
    inside = times.filter((times >= start) & (times < until))
    before = times.filter(times < start)
    if inside.is_empty() or before.is_empty() or len(inside) >= FEW * len(events):
        return
    first, last = int(inside.min()), int(before.max())  # type: ignore[arg-type]
    if first - last >= until - start:
        raise DataError(
            f"split: test would be {len(inside):,} of {len(events):,} events, since the last ones "
            f"are from {written(first)} on and all others end on {written(last)}: such times are "
            "mostly mistakes; leave them out with contract.latest, or state split.test_from"
        )
