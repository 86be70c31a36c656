from __future__ import annotations

import numpy as np
import pytest

from falconer.workflows.retraining import ledger

ALPHA = 0.05


def test_without_promotions_all_tests_spend_the_first_wealth_at_most() -> None:
    levels = [ledger.level([False] * before, ALPHA) for before in range(400)]
    assert levels == sorted(levels, reverse=True)
    assert 0 < sum(levels) <= ledger.FIRST_WEALTH * ALPHA


def test_a_promotion_earns() -> None:
    assert ledger.level([False, True], ALPHA) > ledger.level([False, False], ALPHA)
    assert ledger.level([True, True], ALPHA) > ledger.level([False, True], ALPHA)


def test_false_promotions_stay_below_alpha_of_all() -> None:
    """The estimate of the false discovery proportion, as the paper's proof has it: the levels spent
    never exceed alpha times the promotions (one at least)."""
    rng = np.random.default_rng(0)
    for chance in (0.0, 0.1, 0.5, 1.0):
        done: list[bool] = []
        spent = 0.0
        for _ in range(120):
            spent += ledger.level(done, ALPHA)
            done.append(bool(rng.random() < chance))
            assert spent <= ALPHA * max(1, sum(done)) * (1 + 1e-9)


def test_the_first_level() -> None:
    """w0 gamma_1, with gamma's normalising sum computed elsewhere (numerically, to 1e7 terms and by
    the integral of the rest)."""
    assert ledger.level([], ALPHA) == pytest.approx(0.025 * np.log(2) / ledger._total())
