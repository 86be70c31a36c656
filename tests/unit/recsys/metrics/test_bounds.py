"""Bounds are what a metric can reach, also one of another package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.errors import DataError
from falconer.recsys.metrics import translate
from falconer.recsys.metrics.compute import exposures, of_all_lists, per_query
from falconer.recsys.metrics.context import Context
from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.linear import row_values
from falconer.recsys.metrics.plugins import MetricPlugin, Of
from falconer.recsys.metrics.ranked import Ranked
from falconer.recsys.metrics.rating import RATING_METRICS

RANKED = Ranked(np.array([[0], [1]]), np.array([[True], [False]]), np.array([1, 1]))
CONTEXT = Context(np.array([2, 1]), Ragged.of([[], []]), {})
LABELS, SCORES = np.array([0.0, 1.0]), np.array([0.5, 0.5])


def gives(value: object, of: Of, bounds: tuple[float | None, float | None] = (0, 1)) -> Any:
    """A metric that gives this value, whatever it is asked about."""
    return MetricPlugin(
        of,
        Definition(
            lambda *_: value, "", formula="", denominator="", source="a test", bounds=bounds
        ),
    )


def found(name: str) -> object:
    """What is read of a metric of lists or of rows."""
    if name.startswith("ROWS"):
        return row_values(f"{__name__}:{name}", LABELS, SCORES, None)
    names = [f"{__name__}:{name}"]
    if name.startswith("ALL"):
        return of_all_lists(exposures(RANKED, CONTEXT, names, [1]), names)
    return per_query(RANKED, CONTEXT, names, [1])


INSIDE = gives(np.array([0, np.nan]), "query")
ROUNDED = gives(np.array([1 + 1e-12, -1e-12]), "list")
IN_FLOAT32 = gives(np.array([1.0000001, 0.5], np.float32), "query")
LARGE = gives(np.array([1e9 + 1e-3, 0]), "query", (0, 1e9))
ABOVE = gives(np.array([0.5, 1.01]), "query")
BELOW = gives(np.array([-0.01, np.nan]), "list")
WIDE = gives(np.array([-7.0, 1.01]), "query", (None, 2))
OPEN = gives(np.array([7.0, -0.5]), "query", (-0.5, None))
NEVER = gives(np.array([7.0, -0.51]), "query", (-0.5, None))
BARELY = gives(np.array([1.00001, 0.5]), "query")
WORDS = gives(["many", "few"], "query")
ALL_SEVERAL = gives(np.array([0.5, 0.5]), "all lists")
SHORT = gives(np.array([0.5]), "query")
ALL_ABOVE, ALL_INSIDE = gives(1.5, "all lists"), gives(1.0, "all lists")
ROWS_APART = gives(np.array([-1.0, 2.0]), "row")
ROWS_ABOVE = gives(np.array([1.0, 2.0]), "row")


@pytest.mark.parametrize(
    "name",
    ["INSIDE", "ROUNDED", "IN_FLOAT32", "LARGE", "WIDE", "OPEN", "ALL_INSIDE", "ROWS_APART"],
)
def test_values_within_the_bounds_that_a_metric_names_are_taken(name: str) -> None:
    assert found(name) is not None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ABOVE", "gave 1.01, and its definition names the bounds 0 to 1"),
        ("BELOW", "gave -0.01, and its definition names the bounds 0 to 1"),
        ("NEVER", "gave -0.51, and its definition names the bounds -0.5 to any"),
        ("ALL_ABOVE", "gave 1.5,"),
        ("ROWS_ABOVE", "gave 1.5,"),
        ("BARELY", "gave 1.00001, and its definition names the bounds 0 to 1"),
        ("WORDS", r"gave \['many', 'few'\], and numbers are wanted"),
        ("ALL_SEVERAL", r"gave an array of shape \(2,\); a metric of all lists gives one number"),
        ("SHORT", r"gave an array of shape \(1,\) for 2 queries"),
    ],
)
def test_values_beyond_them_are_refused_by_the_metric_s_name(name: str, says: str) -> None:
    with pytest.raises(DataError, match=f"{name}: {says}"):
        found(name)


def test_what_is_beyond_a_bound_by_rounding_is_the_bound() -> None:
    columns = per_query(RANKED, CONTEXT, [f"{__name__}:IN_FLOAT32"], [1])
    assert [list(values) for values in columns.values()] == [[1.0, 0.5]]


def test_errors_of_perfect_predictions_are_their_lower_bound() -> None:
    rating = np.array([1.0, 2.0, 5.0])
    for name in ("rmse", "mae"):
        metric = RATING_METRICS[name]
        assert metric.function(rating, rating) == 0 == metric.bounds[0]


def test_the_table_of_translations_has_a_line_for_each() -> None:
    lines = translate.markdown().splitlines()
    assert len(lines) == 2 + len(translate.TRANSLATIONS)
    for row, line in zip(translate.TRANSLATIONS, lines[2:], strict=True):
        assert row.library in line
        assert f"`{row.ours}`" in line
