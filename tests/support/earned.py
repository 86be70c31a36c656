"""Off-policy estimates for pages: one that is given, one whose weights do not fit, one refused."""

from __future__ import annotations

from falconer.pipelines.statistics.differences import Estimate
from falconer.recsys.judging.reports import OffPolicy, PolicyEstimate


def _estimate(mean: float) -> Estimate:
    return Estimate(mean=mean, low=mean - 0.02, high=mean + 0.03, definition="a test's")


def _policy(k: int, *, fit: bool) -> PolicyEstimate:
    return PolicyEstimate(
        k=k,
        effective_users=412.3,
        mean_weight=1.01 if fit else 0.2,
        weights_fit=fit,
        snips=_estimate(0.31),
        doubly_robust=_estimate(0.3),
    )


OFF_POLICY = OffPolicy(
    n_rows=5400,
    n_users=1882,
    n_outside=3,
    n_without_list=4,
    logged=_estimate(0.17),
    policies=(
        PolicyEstimate(
            k=1,
            effective_users=79,
            mean_weight=0.98,
            weights_fit=True,
            refused="1,882 logged users tell as much as 79, and 100 are wanted: about 2,383 logged "
            "users would do",
        ),
        _policy(5, fit=False),
        _policy(10, fit=True),
    ),
)
