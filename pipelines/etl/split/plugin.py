"""What a split protocol of another package answered, checked."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.split.config import SplitPlugin
from falconer.pipelines.etl.split.parts import Assignment, Part


def by_plugin(
    config: SplitPlugin, events: pl.DataFrame, candidates: pl.DataFrame | None
) -> Assignment:
    """What the plugin's protocol says; `DataError` where that is no assignment of these events."""
    found = config.assign(events, candidates)
    at_fault = f"split protocol {config.protocol} of {config.package}"
    if not isinstance(found, Assignment):
        raise DataError(f"{at_fault}: gave {type(found).__name__}, and an Assignment is wanted")
    part = found.part.cast(pl.Int8, strict=False).alias("part")
    if (
        len(part) != len(events)
        or not part.is_in([int(one) for one in Part]).fill_null(value=False).all()
    ):
        raise DataError(
            f"{at_fault}: `part` must hold one of {', '.join(f'{p.value} {p.name}' for p in Part)} "
            f"for each of the {len(events):,} events"
        )
    if "test" not in found.folds:
        raise DataError(f"{at_fault}: `folds` has no rule for the fold test")
    return replace(found, part=part)
