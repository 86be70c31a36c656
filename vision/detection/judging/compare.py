"""Detectors that were judged on the same pictures, by average precision."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.statistics.differences import Difference
from falconer.pipelines.statistics.significance import holm
from falconer.vision.detection.judging.average_precision import AveragePrecision
from falconer.vision.detection.judging.report import JudgedDetector, picture_weights

SWAPS = 999
"""Random exchanges of two detectors: the smallest p-value is one in a thousand. More where more
pairs are corrected together."""
ALPHA_SWAPS = 2
"""How many times the smallest p-value must fit below the level, after the correction."""


def refuse_other_pictures(judged: Sequence[JudgedDetector], metric: str) -> None:
    """`ArtifactError` where not all were judged on the same pictures and boxes, `ConfigError` for a
    metric that one has not."""
    first = judged[0].report
    for report in (one.report for one in judged):
        if (report.dataset_id, report.fold) != (first.dataset_id, first.fold):
            raise ArtifactError(
                f"{report.run}: judged on {report.dataset_name} {report.fold}, and {first.run} on "
                f"{first.dataset_name} {first.fold}, other pictures or boxes; evaluate both on one"
            )
        if metric not in report.metrics:
            raise ConfigError(f"{report.run}: has no {metric}, only {', '.join(report.metrics)}")


def differences(judged: Sequence[JudgedDetector], metric: str) -> tuple[Difference, ...]:
    """The difference of every two (first - second, in the given order) on one metric.

    Its interval is over resampled pictures, the same for all. Average precision is no mean over
    pictures (detections are ranked over all of them), so the test exchanges the two detectors'
    answers, picture by picture at random: were both alike, that would change nothing
    (`exchange_p`); p-values are corrected for the number of pairs (Holm).
    """
    pairs = list(combinations(judged, 2))
    drawn = [_resampled(one, metric) for one in judged]
    made = judged[0].report
    tail = (1 - made.level) / 2
    swaps = max(SWAPS, round(ALPHA_SWAPS * len(pairs) / (1 - made.level)))
    p = [exchange_p(*pair, metric, swaps=swaps, seed=made.seed) for pair in pairs]
    found = []
    for (first, second), (own, other), corrected, alone in zip(
        pairs, combinations(drawn, 2), holm(p), p, strict=True
    ):
        low, high = np.nanquantile(own - other, [tail, 1 - tail])
        found.append(
            Difference(
                metric=metric,
                first=first.report.label,
                second=second.report.label,
                difference=first.report.metrics[metric].mean - second.report.metrics[metric].mean,
                low=float(low),
                high=float(high),
                n=made.n,
                level=made.level,
                p_holm=corrected,
                p_is_bound=alone <= 1 / (1 + swaps),
            )
        )
    return tuple(found)


def exchange_p(
    first: JudgedDetector, second: JudgedDetector, metric: str, *, swaps: int, seed: int
) -> float:
    """Two-sided p-value of the randomisation test (Noreen 1989; Smucker et al. 2007): the share of
    random exchanges after which the two are as far apart as they are, itself counted.

    Both detectors' answers stand in one list, and an exchange is a choice of weights.
    """
    both = AveragePrecision(
        [*first.truths, *second.truths], [*first.founds, *second.founds], first.report.classes
    )
    rng = np.random.default_rng(seed)

    def gap(own: NDArray[np.float64]) -> float:
        one, other = (
            both.metrics(np.concatenate(weights), names=[metric])[metric]
            for weights in ((own, 1 - own), (1 - own, own))
        )
        return abs(one - other)

    observed = gap(np.ones(len(first.truths)))
    drawn = (rng.integers(0, 2, len(first.truths)).astype(np.float64) for _ in range(swaps))
    as_far = sum(gap(own) >= observed - 1e-12 for own in drawn)
    return (1 + as_far) / (1 + swaps)


def _resampled(judged: JudgedDetector, metric: str) -> NDArray[np.float64]:
    """float64[resamples]: the metric on each resample of the pictures."""
    made = judged.report
    weights = picture_weights(len(judged.truths), resamples=made.resamples, seed=made.seed)
    return np.array([judged.precision.metrics(one, names=[metric])[metric] for one in weights])
