"""Off-policy estimates against answers that are known: by hand, by enumeration, and by a simulated
recommender whose chances and rewards are ours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Logged
from falconer.pipelines.statistics.differences import Estimate
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists import off_policy as judging
from falconer.recsys.judging.reports import OffPolicy
from falconer.recsys.lists.stored import Lists
from falconer.recsys.metrics.off_policy import (
    PARTS,
    PRIOR_ROWS,
    ExpectedRewards,
    doubly_robust,
)

Float64 = NDArray[np.float64]
CONFIG = EvaluationConfig(k=(1, 2), resamples=200)


@dataclass(frozen=True)
class Log:
    """What the judging reads of a dataset."""

    rows: Logged
    n_items: int

    def logged(self, fold: str) -> Logged:
        return self.rows


def rows(*given: tuple[int, int, float, float]) -> Logged:
    """(query, item, reward, propensity)."""
    query, item, reward, propensity = zip(*given, strict=True)
    return Logged(
        np.array(query, np.int64),
        np.array(item, np.int32),
        np.array(reward, np.float64),
        np.array(propensity, np.float64),
    )


def lists(*given: list[int]) -> Lists:
    items = np.full((len(given), max(2, *map(len, given))), -1, np.int32)
    for row, one in enumerate(given):
        items[row, : len(one)] = one
    return Lists(items, (items >= 0).any(axis=1))


def judged(shown: Lists, log: Logged, n_items: int, config: EvaluationConfig = CONFIG) -> OffPolicy:
    found = judging.off_policy(shown, cast(Dataset, Log(log, n_items)), "test", config)
    assert found is not None
    return found


def mean(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.mean


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "LEAST_USERS", 0)


@pytest.mark.usefixtures("any_size")
def test_a_table_done_by_hand() -> None:
    log = rows(
        (0, 0, 1.0, 0.5),  # the first item of its list: w = 2 at 1, (1/2) / (1/2) = 1 at 2
        (0, 1, 0.0, 0.25),  # the second: 0 at 1, (1/2) / (1/4) = 2 at 2
        (1, 2, 3.0, 0.5),  # in no list
        (2, 0, 2.0, 0.2),  # the only item of a list: 5 at 1 and at 2
    )
    found = judged(lists([0, 1], [0, 1], [0]), log, n_items=3)
    first, second = found.policies
    assert mean(first.snips) == pytest.approx((2 * 1 + 5 * 2) / (2 + 5))
    assert mean(second.snips) == pytest.approx((1 * 1 + 2 * 0 + 5 * 2) / (1 + 2 + 5))
    assert first.mean_weight == pytest.approx(7 / 4)
    assert first.effective_users == pytest.approx((2 + 5) ** 2 / (2**2 + 5**2))
    assert second.effective_users == pytest.approx((3 + 5) ** 2 / (3**2 + 5**2))
    assert found.logged.mean == pytest.approx(6 / 4)
    assert (found.n_rows, found.n_users, found.n_outside, found.n_without_list) == (4, 3, 0, 0)


@pytest.mark.usefixtures("any_size")
@given(
    log=st.lists(
        st.tuples(st.integers(0, 4), st.integers(-1, 3), st.integers(0, 3), st.integers(1, 10)),
        min_size=1,
        max_size=30,
    ),
    shown=st.lists(st.lists(st.integers(0, 3), max_size=3, unique=True), min_size=5, max_size=5),
    k=st.integers(1, 4),
)
def test_it_is_what_its_formulas_say(
    log: list[tuple[int, int, int, int]], shown: list[list[int]], k: int
) -> None:
    given_rows = [(q, i, float(r), p / 10) for q, i, r, p in sorted(log)]
    config = CONFIG.model_copy(update={"k": (k,)})
    found = judged(lists(*shown), rows(*given_rows), 4, config).policies[0]
    part = np.random.default_rng(config.seed).integers(0, PARTS, 5)

    def expected(item: int, user: int) -> float:
        others = [r for r in given_rows if part[r[0]] != part[user]]
        overall = sum(r[2] for r in others) / len(others) if others else 0.0
        own = [r[2] for r in others if r[1] == item]
        return overall if item < 0 else (sum(own) + PRIOR_ROWS * overall) / (len(own) + PRIOR_ROWS)

    weights, terms, listed = [], [], []
    for query, item, reward, propensity in given_rows:
        top = shown[query][:k]
        weight = (item in top) / len(top) / propensity if top else 0.0
        of_policy = sum(expected(one, query) for one in top) / len(top) if top else 0.0
        weights.append(weight)
        terms.append(of_policy + weight * (reward - expected(item, query)) if top else 0.0)
        listed.append(bool(top))
    rewards = [row[2] for row in given_rows]
    assert mean(found.doubly_robust) == pytest.approx(np.mean(terms))
    if sum(weights):
        snips = np.dot(weights, rewards) / sum(weights) * np.mean(listed)
        assert mean(found.snips) == pytest.approx(snips)


@pytest.mark.usefixtures("any_size")
def test_a_constant_reward_is_what_snips_says_and_its_ends() -> None:
    shop = Shop.of(n_users=300, seed=5)
    log = replace(shop.log(seed=6), reward=np.full(300, 3.0))
    one = judged(shop.lists, log, shop.n_items).policies[0].snips
    assert one is not None
    assert (one.mean, one.low, one.high) == pytest.approx((3.0, 3.0, 3.0), abs=1e-12)


@pytest.mark.usefixtures("any_size")
def test_users_without_a_list_are_shown_nothing_and_earn_nothing() -> None:
    log = rows((0, 0, 1.0, 0.5), (1, 0, 1.0, 0.5), (2, 0, 1.0, 0.5), (3, 0, 1.0, 0.5))
    found = judged(lists([0], [], [0], []), log, n_items=1)
    assert mean(found.policies[0].snips) == pytest.approx(0.5)
    assert found.n_without_list == 2


@dataclass(frozen=True)
class Shop:
    """One question a user: `chance` float64[users, items] that each item is shown, and `reward`
    float64[users, items]: how probably it is clicked."""

    chance: Float64
    reward: Float64
    lists: Lists

    @property
    def n_items(self) -> int:
        return self.chance.shape[1]

    @classmethod
    def of(cls, n_users: int, *, n_items: int = 6, seed: int = 0) -> Shop:
        rng = np.random.default_rng(seed)
        chance = np.exp(rng.normal(0, 0.5, (n_users, n_items)))
        reward = rng.uniform(0.05, 0.6, (n_users, n_items))
        best = np.argsort(-(reward + rng.normal(0, 0.3, reward.shape)), axis=1)[:, :3]
        return cls(
            chance / chance.sum(axis=1, keepdims=True),
            reward,
            Lists(best.astype(np.int32), np.ones(n_users, np.bool_)),
        )

    def log(self, seed: int) -> Logged:
        rng = np.random.default_rng(seed)
        users = np.arange(len(self.chance))
        item = (self.chance.cumsum(axis=1) < rng.random((len(users), 1))).sum(axis=1)
        clicked = rng.random(len(users)) < self.reward[users, item]
        return Logged(
            users, item.astype(np.int32), clicked.astype(np.float64), self.chance[users, item]
        )

    def truth(self, k: int) -> float:
        users = np.arange(len(self.chance))[:, None]
        return float(self.reward[users, self.lists.items[:, :k]].mean())


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Just above the floor of effective users, where a bootstrap is at its worst. At a true 95 %,
    fewer than 136 of 150 would be seen once in 100 such tests (binomial)."""
    shop = Shop.of(n_users=1000, seed=1)
    inside: dict[tuple[str, int], int] = {}
    for seed in range(150):
        for one in judged(shop.lists, shop.log(seed), shop.n_items).policies:
            for name in ("snips", "doubly_robust"):
                found = getattr(one, name)
                assert found is not None, one.refused
                held = found.low <= shop.truth(one.k) <= found.high
                inside[name, one.k] = inside.get((name, one.k), 0) + held
    assert min(inside.values()) >= 136, inside


def exact_mean(shop: Shop, propensity: Float64, expected: Float64) -> float:
    """The expectation of the doubly robust estimate at 1 over what is shown and clicked, by
    enumeration; float64[users, items] is what was written down and what was expected."""
    users = np.arange(len(shop.chance))
    top = shop.lists.items[:, 0]
    total = 0.0
    for item in range(shop.n_items):
        weights = (top == item) / propensity[:, item]
        for clicked in (0.0, 1.0):
            chance = shop.chance[:, item] * np.abs(1 - clicked - shop.reward[:, item])
            terms = doubly_robust(
                weights, np.full(len(users), clicked), expected[:, item], expected[users, top]
            )
            total += float((chance * terms).sum())
    return total / len(users)


def test_doubly_robust_is_right_where_either_part_is() -> None:
    shop = Shop.of(n_users=40, seed=2)
    wrong_model, wrong_chance = 1 - shop.reward, np.full_like(shop.chance, 0.5)
    truth = shop.truth(1)
    assert exact_mean(shop, shop.chance, wrong_model) == pytest.approx(truth)
    assert exact_mean(shop, wrong_chance, shop.reward) == pytest.approx(truth)
    assert abs(exact_mean(shop, wrong_chance, wrong_model) - truth) > 0.05


def test_expected_rewards_do_not_know_their_own_part() -> None:
    part = np.array([0, 0, 1, 1])
    item = np.array([0, 1, 0, 0], np.int32)
    expected = ExpectedRewards.of(part, item, np.array([1.0, 1.0, 0.0, 4.0]), n_items=2)
    of_others = np.array([(4 + PRIOR_ROWS * 2) / (2 + PRIOR_ROWS), 2.0, 2.0])
    assert expected(np.zeros(3, np.int64), np.array([0, 1, -1], np.int32)) == pytest.approx(
        of_others
    )


def test_too_few_effective_users_are_refused_with_how_many_would_do() -> None:
    shop = Shop.of(n_users=120, seed=3)
    found = judged(shop.lists, shop.log(seed=1), shop.n_items).policies[0]
    assert found.effective_users < judging.LEAST_USERS
    assert (found.snips, found.doubly_robust) == (None, None)
    wanted = int(np.ceil(120 * judging.LEAST_USERS / found.effective_users))
    assert found.refused is not None
    assert f"about {wanted:,} logged users would do" in found.refused


def test_lists_that_were_never_shown_are_refused() -> None:
    log = rows(*[(user, 1, 1.0, 0.5) for user in range(200)])
    found = judged(lists(*[[0]] * 200), log, n_items=2).policies[0]
    assert found.refused == "no logged row of 200 users shows what these lists would"


def test_propensities_that_cannot_be_right_are_told() -> None:
    shop = Shop.of(n_users=2000, seed=4)
    log = shop.log(seed=1)
    assert judged(shop.lists, log, shop.n_items).warnings == ()
    halved = replace(log, propensity=log.propensity / 2)
    [warning] = judged(shop.lists, halved, shop.n_items).warnings
    assert "off-policy weights have the mean" in warning


def test_rows_of_one_user_are_no_more_users() -> None:
    shop = Shop.of(n_users=1500, seed=7)
    log = shop.log(seed=1)
    tenfold = Logged(*(np.repeat(getattr(log, name), 10) for name in vars(log)))
    once, often = (judged(shop.lists, one, shop.n_items).policies[0] for one in (log, tenfold))
    assert often.effective_users == pytest.approx(once.effective_users)
    assert often.snips is not None
    assert once.snips is not None
    assert often.snips.low == pytest.approx(once.snips.low)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop.of(n_users=1500, seed=8)
    log = shop.log(seed=1)
    kept = np.flatnonzero(log.query % 50 < 40)  # blocks without a row
    log = Logged(*(np.repeat(getattr(log, name)[kept], 2) for name in vars(log)))
    whole = judged(shop.lists, log, shop.n_items)
    monkeypatch.setattr(judging, "QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(judging, "ROWS_AT_ONCE", 3)
    parts = judged(shop.lists, log, shop.n_items)
    assert flat(parts) == pytest.approx(flat(whole), rel=1e-9)


def flat(found: OffPolicy) -> dict[str, float]:
    figures: dict[str, float] = {"logged": found.logged.mean}
    for one in found.policies:
        figures |= {f"users {one.k}": one.effective_users, f"weight {one.k}": one.mean_weight}
        for name in ("snips", "doubly_robust"):
            estimate: Any = getattr(one, name)
            figures |= {f"{name} {one.k} {end}": getattr(estimate, end) for end in ENDS}
    return figures


ENDS = ("mean", "low", "high")


def test_a_log_that_hardly_shows_the_lists_promises_nothing_of_more_users() -> None:
    """Of 2,000 users 20 were shown what the lists would, with a chance that says half of them."""
    log = rows(*[(user, int(user >= 20), 1.0, 0.5) for user in range(2000)])
    found = judged(lists(*[[0]] * 2000), log, n_items=2).policies[0]
    assert found.refused is not None
    assert "hardly shows what these lists would" in found.refused
    assert "would do" not in found.refused


def of_users(shown: Lists, log: Logged, n_items: int, k: int) -> Float64 | None:
    return judging.snips_of_users(shown, cast(Dataset, Log(log, n_items)), "test", k)


@pytest.mark.parametrize("k", [1, 2])
def test_values_of_users_have_the_estimate_as_mean_and_the_bootstraps_spread(k: int) -> None:
    shop = Shop.of(n_users=3000, seed=9)
    some = shop.lists.items.copy()
    some[::7] = -1  # users without a list
    shown = Lists(some, (some >= 0).any(axis=1))
    log = shop.log(seed=1)
    log = Logged(*(np.repeat(getattr(log, name), 1 + log.query % 3) for name in vars(log)))
    estimate = judged(shown, log, shop.n_items).policies[k - 1].snips
    values = of_users(shown, log, shop.n_items, k)
    assert values is not None
    assert estimate is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert values.mean() == pytest.approx(estimate.mean)
    spread = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert spread == pytest.approx(estimate.high - estimate.low, rel=0.2)


def test_a_refused_estimate_has_no_values_of_users() -> None:
    shop = Shop.of(n_users=120, seed=3)
    assert of_users(shop.lists, shop.log(seed=1), shop.n_items, 1) is None
