"""The alpha-wealth ledger: what each retrain's test may spend, so that wrong promotions stay rare
over all of them.

LORD++ (Ramdas, Yang, Wainwright, Jordan, "Online control of the false discovery rate with decaying
memory", 2017): test t has the level

    gamma_t w0 + (alpha - w0) gamma_{t - tau_1} + alpha * sum over j >= 2 of gamma_{t - tau_j}

where tau_j is the test of the j-th promotion. Every promotion earns wealth, every test spends some.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

FIRST_WEALTH = 0.5
"""Share of alpha that is there at the start (w0 / alpha)."""
TERMS = 100_000


def level(promoted: Sequence[bool], alpha: float) -> float:
    """The level of the next test after these: did each test so far end in a promotion?"""
    t = len(promoted) + 1
    wealth = FIRST_WEALTH * alpha
    tests = [number for number, found in enumerate(promoted, start=1) if found]
    spent = _gamma(t) * wealth
    for place, tau in enumerate(tests):
        spent += (alpha - wealth if place == 0 else alpha) * _gamma(t - tau)
    return spent


def _gamma(t: int) -> float:
    """The share of wealth for the t-th test after it was earned; all of them sum to one at most."""
    return _weight(t) / _total()


def _weight(t: int) -> float:
    return math.log(max(t, 2)) / (t * math.exp(math.sqrt(math.log(t))))


@cache
def _total() -> float:
    """The sum of all weights: of the first ones, and for the rest the integral, by u = sqrt(log t):
    of 2 u^3 exp(-u)."""
    u = math.sqrt(math.log(TERMS))
    rest = 2 * (u**3 + 3 * u**2 + 6 * u + 6) * math.exp(-u)
    return sum(map(_weight, range(1, TERMS + 1))) + rest
