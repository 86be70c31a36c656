"""A metric of another package."""

from __future__ import annotations

import numpy as np

from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.plugins import MetricPlugin


def first_hit(ranked, k):
    """Share of the k places that stand before the first hit; 1 without one."""
    within = ranked.hits[:, :k]
    waited = np.where(within.any(axis=1), within.argmax(axis=1), k) / k
    return np.where(ranked.n_relevant > 0, waited, np.nan)


METRIC = MetricPlugin(
    "query",
    Definition(
        first_hit,
        "Share of the first {k} places before the first relevant item; 1 where there is none.",
        formula="(min(r in 1..{k} where hit[r]) - 1) / {k}, 1 where there is none",
        denominator="{k}",
        source="An example",
        better="lower",
    ),
)
