"""Boundaries that are counted back from the last event stand and fall with that event's time."""

from __future__ import annotations

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.split.facts import Facts
from falconer.pipelines.etl.split.parts import written

FEW = 0.01
"""Of the events: a test fold with fewer, after a gap as long as itself, hangs on wrong times."""


def refuse_lonely(facts: Facts, start: int, until: int) -> None:
    """Raise `DataError` where the fold from `start` to before `until` holds few of the events and
    nothing happened before it for as long as it lasts: a wrong time made it, not the data."""
    assert facts.times is not None
    times, n = facts.times["time"].to_numpy(), facts.times["n"].to_numpy()
    inside, before = (times >= start) & (times < until), times < start
    n_inside, n_all = int(n[inside].sum()), int(n.sum())
    if not n_inside or not before.any() or n_inside >= FEW * n_all:
        return
    first, last = int(times[inside].min()), int(times[before].max())
    if first - last >= until - start:
        raise DataError(
            f"split: test would be {n_inside:,} of {n_all:,} events, since the last ones "
            f"are from {written(first)} on and all others end on {written(last)}: such times are "
            "mostly mistakes; leave them out with contract.latest, or state split.test_from"
        )
