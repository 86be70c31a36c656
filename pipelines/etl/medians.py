"""Medians of train for what is null, from counts that add up over its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from falconer.pipelines.etl.operators import AnyFeature, Scaled

KEPT = np.uint64(0xFFFFFFF000000000)
"""Sign, exponent and 16 bits of the fraction of a float64."""


def with_medians(
    features: Mapping[str, AnyFeature], parts: Iterable[Mapping[str, pl.DataFrame]]
) -> tuple[dict[str, AnyFeature], dict[str, float]]:
    """`features` with numbers where `fill = "median"` was said, and these medians by name; `parts`
    are the `median_counts` of all rows of train, which are not asked for where nobody needs them.
    """
    asked = {name: one for name, one in features.items() if asks(one)}
    counts: dict[str, pl.DataFrame] = {}
    for part in parts if asked else ():
        for name, found in part.items():
            counts[name] = _together(counts[name], found) if name in counts else found
    medians = {name: median(counts[name]) if name in counts else 0.0 for name in asked}
    return {**features, **{n: filled_by(one, medians[n]) for n, one in asked.items()}}, medians


def median_counts(
    features: Mapping[str, AnyFeature], rows: pl.DataFrame
) -> dict[str, pl.DataFrame]:
    """What some rows of train, as operators are given them, tell of the medians that are asked
    for: each column's values and their frequencies."""
    return {name: _counts(rows[name]) for name, one in features.items() if asks(one)}


def asks(config: AnyFeature) -> bool:
    """Whether its nulls become the median of train."""
    return isinstance(config, Scaled) and config.fill == "median"


def filled_by(config: AnyFeature, fill: float) -> AnyFeature:
    """The same with a number for null."""
    return config.model_copy(update={"fill": fill})


def median(counts: pl.DataFrame) -> float:
    """The lower median of values with their frequencies; 0 where there is none."""
    ordered = counts.sort("value")
    upto = ordered["frequency"].cum_sum()
    if not len(upto):
        return 0.0
    place = upto.search_sorted(-(-upto[-1] // 2), "left")
    return float(ordered["value"][int(place)])


def _counts(column: pl.Series) -> pl.DataFrame:
    """Values without the last bits, so that there are few: whole numbers up to 131,072 as they are,
    others to 2e-5 of themselves."""
    bits = (column.drop_nulls().to_numpy() + 0.0).view(np.uint64) & KEPT
    values = pl.Series("value", bits.view(np.float64))
    return values.value_counts(name="frequency").cast({"frequency": pl.Int64})


def _together(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([one, other]).group_by("value").agg(pl.col("frequency").sum())
