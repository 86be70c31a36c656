"""Bounds are what a metric can reach."""

from __future__ import annotations

import numpy as np

from falconer.recsys.metrics import translate
from falconer.recsys.metrics.rating import RATING_METRICS


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
