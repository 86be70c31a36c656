"""Whether two models differ by more than chance: randomisation tests, Holm's correction, letters,
numbers of users.

All of it works on paired differences: one value a query, of two models on the same query. Chance is
which queries were asked; what another training of the same model would change is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

FLIPS, MOST_FLIPS = 10_000, 1_000_000
"""Random assignments of signs: the smallest p-value is one in so many. More where many tests are
corrected together, up to what a machine can do in a minute."""
EXACT_QUERIES = 20_000
"""With more queries the sum of signed differences is taken as normal, which it is within what
10,000 flips can tell."""
SIGNS_AT_ONCE = 2**22
POWER = 0.8


Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Columns of values: those of the first of each pair, and of the second."""


def randomisation_p(
    values: Float64, *, seed: int, flips: int = FLIPS, pairs: Pairs | None = None
) -> Float64:
    """float64[P]: two-sided p-value of each column of paired differences `values` float64[n, P],
    n > 0; with `pairs`, of the difference of two columns of `values` float64[n, M], pair by pair.

    Fisher's randomisation test (Smucker et al. 2007): were both models alike, each difference could
    as well have the other sign. The share of random signs whose sum is as far from zero as the
    observed one, itself counted (Phipson and Smyth 2010), so that p is never 0. Columns share their
    signs; the signs depend on n and `seed` only.
    """
    observed = np.abs(_contrast(values.sum(axis=0), pairs))
    if len(values) > EXACT_QUERIES:
        return _normal_p(observed, _root_of_squares(values, pairs))
    # sums that are equal but for their rounding count
    far = observed * (1 - 1e-12) - _rounding(values, pairs)
    as_far = np.zeros(len(observed), np.int64)
    for signs in _signs(len(values), flips, seed):
        as_far += (np.abs(_contrast(signs @ values, pairs)) >= far).sum(axis=0)
    return np.asarray((1 + as_far) / (1 + flips), np.float64)


def _contrast(sums: Float64, pairs: Pairs | None) -> Float64:
    """The sums of differences from sums of values: signs are drawn for models, not for pairs, of
    which there are many more."""
    return sums if pairs is None else np.asarray(sums[..., pairs[0]] - sums[..., pairs[1]])


def _root_of_squares(values: Float64, pairs: Pairs | None) -> Float64:
    if pairs is None:
        return np.asarray(np.sqrt((values**2).sum(axis=0)))
    squares = [((values[:, a] - values[:, b]) ** 2).sum() for a, b in zip(*pairs, strict=True)]
    return np.asarray(np.sqrt(np.array(squares)), np.float64)


def _rounding(values: Float64, pairs: Pairs | None) -> Float64:
    """What the order of summing can change in a difference of two sums."""
    size = 1e-14 * np.abs(values).sum(axis=0)
    return np.asarray(size if pairs is None else size[pairs[0]] + size[pairs[1]])


def _signs(n: int, flips: int, seed: int) -> Iterator[Float64]:
    """float64[some, n] of -1 and 1, `flips` rows in all."""
    rng = np.random.default_rng(seed)
    step = max(1, SIGNS_AT_ONCE // n)
    for start in range(0, flips, step):
        rows = min(step, flips - start)
        packed = np.frombuffer(rng.bytes(rows * -(-n // 8)), np.uint8).reshape(rows, -1)
        yield np.unpackbits(packed, axis=1, count=n).astype(np.float64) * 2 - 1


def flips_for(tests: int, *, alpha: float) -> int:
    """Flips that let the smallest p-value survive Holm's correction for so many tests, twice over;
    never more than `MOST_FLIPS`."""
    return min(MOST_FLIPS, max(FLIPS, math.ceil(2 * tests / alpha)))


@dataclass(frozen=True)
class Corrected:
    """Randomisation tests that were made together.

    p         float[T]   each alone
    p_holm    float[T]   corrected for their number
    is_bound  bool[T]    no flip was as far as what was observed: the p-values are "at most"
    """

    p: list[float]
    p_holm: list[float]
    is_bound: list[bool]


def randomisation_tests(
    values: Float64, *, seed: int, alpha: float, pairs: Pairs | None = None
) -> Corrected:
    """`randomisation_p` of all columns, or pairs of columns, and Holm's correction for their number
    T.

    The smallest p-value, one in the number of flips, is multiplied by T: there are as many flips as
    it takes to come below `alpha` all the same.
    """
    n_tests = values.shape[1] if pairs is None else len(pairs[0])
    flips = flips_for(n_tests, alpha=alpha)
    p = randomisation_p(values, seed=seed, flips=flips, pairs=pairs)
    floor = 0.0 if len(values) > EXACT_QUERIES else 1 / (1 + flips)
    return Corrected(p.tolist(), holm(p.tolist()), (p <= floor * (1 + 1e-9)).tolist())


def _normal_p(observed: Float64, deviation: Float64) -> Float64:
    z = np.divide(observed, deviation, out=np.zeros_like(observed), where=deviation > 0)
    return np.array([math.erfc(value / math.sqrt(2)) for value in z])


def bootstrap_p(resampled: Float64) -> Float64:
    """float64[P]: two-sided p-value of each column of resampled mean differences float64[resamples,
    P].

    Twice the smaller share of resamples on one side of zero (Efron and Tibshirani 1993, chapter
    15), at most 1, with one resample added to either share, so that p is never 0.
    """
    below, above = (resampled <= 0).sum(axis=0), (resampled >= 0).sum(axis=0)
    return np.asarray(
        np.minimum(1.0, 2 * (1 + np.minimum(below, above)) / (1 + len(resampled))), np.float64
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number (Holm 1979), in the given order.

    Calling whatever is at or below alpha a difference then errs anywhere among them with
    probability alpha at most, however the tests depend on each other.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def queries_needed(differences: Float64, *, alpha: float, power: float = POWER) -> int | None:
    """How many queries would show a difference like the observed one with this power, in one
    two-sided test.

    n = (z(1 - alpha / 2) + z(power))^2 variance / mean^2 (Sakai 2016): for another experiment, not
    as a reading of this one. `differences` is float64[n] with n > 1; None where the mean is zero,
    which no number could show.
    """
    mean, variance = (
        float(differences.mean()),
        float(differences.var(ddof=1)) if len(differences) > 1 else 0.0,
    )
    if abs(mean) < 1e-12:
        return None
    z = NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)
    return max(2, math.ceil(z * z * variance / (mean * mean)))


def letters(labels: Sequence[str], separated: Mapping[tuple[str, str], bool]) -> dict[str, str]:
    """Label -> letters, in order from `a`: two models that share a letter were not told apart,
    others were.

    The compact letter display of Piepho 2004 by insertion and absorption. `separated` holds every
    pair in the order of `labels`.
    """
    groups: list[frozenset[str]] = [frozenset(labels)]
    for first, second in (pair for pair, apart in separated.items() if apart):
        split = [
            group - {gone}
            for group in groups
            if {first, second} <= group
            for gone in (first, second)
        ]
        groups = [group for group in groups if not {first, second} <= group] + split
        groups = [
            group for group in dict.fromkeys(groups) if not any(group < other for other in groups)
        ]
    place = {label: number for number, label in enumerate(labels)}
    groups.sort(key=lambda group: sorted(place[label] for label in group))
    return {
        label: "".join(_letter(n) for n, group in enumerate(groups) if label in group)
        for label in labels
    }


def _letter(number: int) -> str:
    """a to z, then a2 to z2 and so on."""
    return chr(ord("a") + number % 26) + (str(number // 26 + 1) if number >= 26 else "")
