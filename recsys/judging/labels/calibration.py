"""How much calibration error chance alone gives: what the calibration error's interval is corrected
by.

The error is a sum of sizes, so noise never cancels: a calibrated model has a positive one too.
Under calibration a unit's surplus of labels over scores has mean zero in each bin; random signs of
the units keep all else (Mammen 1993, the wild bootstrap) and give the error that is noise alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from falconer.recsys.metrics.labels import N_BINS, bins_of

Float64 = NDArray[np.float64]

SIGNS_AT_ONCE = 2**22


def error_by_chance(
    label: Float64,
    score: Float64,
    codes: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
) -> float:
    """Mean `expected_calibration_error` of a calibrated model with these scores; `codes` int64[P]
    are the rows' units, whose rows share their luck."""
    n_units = int(codes.max()) + 1
    surplus = np.bincount(
        codes * N_BINS + bins_of(score), weights=label - score, minlength=n_units * N_BINS
    ).reshape(n_units, N_BINS)
    random = np.random.default_rng(seed)
    total, step = 0.0, max(1, SIGNS_AT_ONCE // n_units)
    for start in range(0, resamples, step):
        signs = random.integers(0, 2, (min(step, resamples - start), n_units)) * 2.0 - 1
        total += float(np.abs(signs @ surplus).sum())
    return total / (resamples * len(label))
