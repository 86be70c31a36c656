"""What a recipe expects of the event columns beyond their types, and what becomes of rows that
break it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import polars as pl
from pydantic import Field, FiniteFloat

from falconer.pipelines.config import Config
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.columns import true
from falconer.pipelines.etl.contract import Checked
from falconer.pipelines.etl.raw import Raw, event_column


class Expectation(Config):
    """Of one event column: one of ours (`user`, `item`, `time`, `rating`, `weight`) or a
    feature."""

    least: FiniteFloat | None = None
    most: FiniteFloat | None = None
    values: tuple[str, ...] | None = None
    """The values that there are, as text."""
    nulls: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of nulls that is too much above this; 0 = a null is a violation of its row."""
    unique: bool = False
    """A value stands in one row only; the first one is kept."""
    violation: Literal["quarantine", "stop"] = "quarantine"
    """quarantine: the row is set aside and counted; stop: nothing is built."""


def expect(
    raw: Raw, checked: Checked, expectations: Mapping[str, Expectation], max_rejected_share: float
) -> Checked:
    """`checked` without the events that break an expectation: they are rejected as they came in
    `raw`, and counted as `rejected: expected ...`.

    Raises `DataError` for a column that is not there or cannot be compared, for a violation that
    stops, for more nulls than expected, and where more than `max_rejected_share` of the rows are
    rejected.
    """
    bad: list[pl.DataFrame] = []
    for name, expectation in expectations.items():
        column = event_column(checked.raw.events, name, "expect")
        _refuse_nulls(name, column, expectation)
        for reason, mask in _violations(name, column, expectation):
            n = int(mask.sum())
            if n and expectation.violation == "stop":
                raise DataError(
                    f"events: {n:,} of {len(mask):,} rows break what the recipe expects: {reason}; "
                    f'mend them, or set violation = "quarantine" in [expect.{name}]'
                )
            rows = checked.raw.events.filter(mask).select("ordinal")
            bad.append(rows.with_columns(reason=pl.lit(f"expected {reason}")))
    if not any(len(rows) for rows in bad):
        return checked
    return _without(raw, checked, pl.concat(bad), max_rejected_share)


def _refuse_nulls(name: str, column: pl.Series, expectation: Expectation) -> None:
    share = column.null_count() / max(len(column), 1)
    if expectation.nulls > 0 and share > expectation.nulls:
        raise DataError(
            f"events: {share:.1%} of {name} is null, and the recipe expects at most "
            f"{expectation.nulls:.1%} (expect.{name}.nulls)"
        )


def _violations(
    name: str, column: pl.Series, expectation: Expectation
) -> Iterator[tuple[str, pl.Series]]:
    least, most = expectation.least, expectation.most
    if (least is not None or most is not None) and not column.dtype.is_numeric():
        raise DataError(
            f"expect.{name}: least and most need numbers, and the column holds {column.dtype}; "
            "make it a continuous feature, or use values"
        )
    if expectation.nulls == 0:
        yield f"{name} not to be null", column.is_null()
    if least is not None:
        yield f"{name} of at least {least:g}", true(column < least)
    if most is not None:
        yield f"{name} of at most {most:g}", true(column > most)
    if expectation.values is not None:
        known = column.cast(pl.String).is_in(expectation.values)
        yield f"{name} to be one of the values", ~known.fill_null(value=True)
    if expectation.unique:
        yield f"{name} to be unique", column.is_not_null() & ~column.is_first_distinct()


def _without(raw: Raw, checked: Checked, bad: pl.DataFrame, max_rejected_share: float) -> Checked:
    """A row that breaks several expectations is rejected for the first one."""
    bad = bad.unique("ordinal", keep="first", maintain_order=True)
    counts = {f"rejected: {why}": n for why, n in bad["reason"].value_counts(sort=True).rows()}
    n_read = checked.counts["rows_read"]
    if len(bad) > max_rejected_share * n_read:
        told = ", ".join(f"{n:,} x {why}" for why, n in counts.items())
        raise DataError(
            f"events: {len(bad):,} of {n_read:,} rows break what the recipe expects, more than "
            f"contract.max_rejected_share = {max_rejected_share:.1%}: {told}"
        )
    rows = raw.events.join(bad, on="ordinal", how="inner", maintain_order="left")
    rows = rows.rename({"ordinal": "row"}).cast({"row": pl.Int64})
    before = checked.rejected.get("events")
    rejected = rows if before is None else pl.concat([before, rows], how="diagonal").sort("row")
    kept = checked.raw.events.join(bad, on="ordinal", how="anti", maintain_order="left")
    return Checked(
        replace(checked.raw, events=kept),
        checked.rejected | {"events": rejected},
        checked.counts | counts,
    )
