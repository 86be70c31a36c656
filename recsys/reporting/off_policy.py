"""Off-policy estimates as people read them: lines of a console, and the table of a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from falconer.pipelines import page
from falconer.pipelines.page import Column, Table
from falconer.pipelines.statistics.differences import Estimate
from falconer.recsys.judging.reports import OffPolicy, PolicyEstimate

NONE = "\u2013"
MANY = 1e6
"""Of a reward so large nobody reads the fourth decimal."""


def of_log(found: OffPolicy) -> str:
    """What was logged, and what it earned."""
    return (
        f"{page.count(found.n_rows)} logged rows of {page.count(found.n_users)} users earned "
        f"{page.decimal(found.logged.mean)}"
    )


def lines(found: OffPolicy) -> Iterator[str]:
    """What was logged, and a line for each cut-off."""
    yield (
        f"off-policy, {found.n_rows:,} logged rows of {found.n_users:,} users; the reward of what "
        f"was shown is {_with_ends(found.logged)}"
    )
    names = f"{'SNIPS':<26} {'doubly robust':<26} {'effective users':>15} {'mean weight':>11}"
    yield f"  {'k':>4}  {names}"
    for one in found.policies:
        if one.refused is None:
            estimates = f"{_with_ends(one.snips):<26} {_with_ends(one.doubly_robust):<26}"
            yield (
                f"  {one.k:>4}  {estimates} {one.effective_users:>15,.0f} {one.mean_weight:>11.2f}"
            )
        else:
            yield f"  {one.k:>4}  refused: {one.refused}"


def table(name: str, found: Mapping[str, OffPolicy], *, title: str) -> Table:
    """A row for each model, by its label, and each cut-off."""
    rows = [
        (page.breakable(label), page.count(one.k), *_cells(one))
        for label, earned in found.items()
        for one in earned.policies
    ]
    columns = (
        Column("Model"),
        Column("k", numeric=True),
        Column("SNIPS", numeric=True),
        Column("Doubly robust", numeric=True),
        Column("Effective users", numeric=True),
        Column("Mean weight", numeric=True),
        Column("Remark"),
    )
    return Table(name, title, columns, tuple(rows))


def _cells(one: PolicyEstimate) -> tuple[str, ...]:
    sizes = (page.count(one.effective_users), page.decimal(one.mean_weight, digits=2))
    if one.refused is not None:
        return (NONE, NONE, *sizes, page.sentence(f"Refused: {one.refused}."))
    remark = "" if one.weights_fit else "The mean weight is not 1 but for chance."
    return (_cell(one.snips), _cell(one.doubly_robust), *sizes, page.sentence(remark))


def _cell(estimate: Estimate | None) -> str:
    low, high = _ends(estimate)
    return (
        NONE
        if estimate is None
        else page.with_note(page.decimal(estimate.mean), page.span(low, high))
    )


def _with_ends(estimate: Estimate | None) -> str:
    low, high = _ends(estimate)
    return (
        NONE if estimate is None else f"{_short(estimate.mean)} ({_short(low)} to {_short(high)})"
    )


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) < MANY else f"{value:.4g}"


def _ends(estimate: Estimate | None) -> tuple[float, float]:
    if estimate is None or estimate.low is None or estimate.high is None:
        return math.nan, math.nan
    return estimate.low, estimate.high
