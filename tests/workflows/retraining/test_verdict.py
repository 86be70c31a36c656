from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from falconer.workflows.retraining.config import Rule
from falconer.workflows.retraining.verdict import Check, Evidence, decide
from tests.support import retrains
from tests.support.retrains import METRIC, RULE, World

NOT_LIVE = {"refused", "suspicious", "keep"}


def test_a_better_challenger_is_promoted() -> None:
    verdict = decide(retrains.usual(), RULE)
    assert (verdict.outcome, verdict.challenger) == ("promote", "new")
    assert {finding.holds for finding in verdict.findings} == {"yes"}


def test_without_evidence_nothing_is_promoted() -> None:
    assert decide(Evidence(), RULE).outcome == "refused"
    nothing_to_compare = replace(retrains.usual(), champion=None, baselines=())
    assert decide(nothing_to_compare, RULE).outcome == "refused"


def test_without_a_champion_nobody_reads_of_one() -> None:
    verdict = decide(replace(retrains.usual(), champion=None), RULE)
    assert verdict.outcome == "promote"
    rules = {finding.rule for finding in verdict.findings}
    assert "better than the best baseline, as there is no champion" in rules
    assert not [rule for rule in rules if rule.endswith("the champion")]


def test_the_same_model_is_kept() -> None:
    champion = World(5000, 1).model("champion", METRIC)
    evidence = replace(
        retrains.usual(), champion=champion, challengers=(replace(champion, label="new"),)
    )
    assert decide(evidence, RULE).outcome == "keep"


def test_too_few_users_are_undecidable_and_it_says_how_many_it_takes() -> None:
    world = World(300, 1)
    evidence = Evidence(
        challengers=(world.model("new", METRIC + 0.012),),
        champion=world.model("champion", METRIC),
        baselines=(world.baseline(),),
    )
    verdict = decide(evidence, RULE)
    assert verdict.outcome == "undecidable"
    assert verdict.users_needed is not None
    assert 300 < verdict.users_needed < 10_000
    assert f"{verdict.users_needed:,} users" in verdict.reason


@pytest.mark.parametrize("n_users", [150, 600, 2500, 10_000])
@pytest.mark.parametrize("effect", [0.002, 0.004, 0.008])
def test_an_undecidable_one_asks_for_more_users_than_it_had(effect: float, n_users: int) -> None:
    """A gain too small for a number of users that would have shown a worthwhile one, too: with as
    many as it asks for, the same figures promote."""
    world = World(n_users, 3)
    new, champion = world.model("new", METRIC + effect), world.model("champion", METRIC)
    rule = RULE.model_copy(update={"seed_deviation": 0.0})
    verdict = decide(Evidence(challengers=(new,), champion=champion), rule)
    if verdict.outcome != "undecidable" or verdict.users_needed is None:
        assert verdict.outcome in ("keep", "promote")
        return
    assert verdict.users_needed > 1.1 * n_users
    seen = new.mean - champion.mean
    short = METRIC * rule.worthwhile + rule.smallest_effect - seen
    times = -(-verdict.users_needed // n_users)
    more = replace(new, values=np.tile(new.values + max(0.0, short), times))
    same = replace(champion, values=np.tile(champion.values, times))
    assert decide(Evidence(challengers=(more,), champion=same), rule).outcome == "promote"


def test_a_failed_preflight_makes_it_suspicious() -> None:
    preflight = (Check("repeatable", 0, 1, 1, "the same model gives other bytes"),)
    verdict = decide(replace(retrains.usual(), preflight=preflight), RULE)
    assert (verdict.outcome, verdict.reason) == ("suspicious", "the same model gives other bytes")


def test_a_plain_baseline_that_is_better_keeps_the_challenger_out() -> None:
    world = World(5000, 1)
    evidence = replace(retrains.usual(), baselines=(world.model("popularity", METRIC + 0.1),))
    assert decide(evidence, RULE).outcome in NOT_LIVE


def test_seed_luck_counts() -> None:
    """The same figures with noisier seeds promote no more."""
    noisy = RULE.model_copy(update={"seed_deviation": 0.02})
    assert decide(retrains.usual(), noisy).outcome != "promote"


def test_latency_fails_closed() -> None:
    rule = RULE.model_copy(update={"max_latency_ms": 5.0})
    assert decide(retrains.usual(), rule).outcome == "keep"
    evidence = retrains.usual()
    quick = replace(evidence.challengers[0], latency_ms=1.0)
    assert decide(replace(evidence, challengers=(quick,)), rule).outcome == "promote"


def test_of_several_challengers_the_best_is_tested_at_a_share_of_the_level() -> None:
    evidence = retrains.usual()
    other = World(5000, 9).model("other", METRIC)
    verdict = decide(replace(evidence, challengers=(*evidence.challengers, other)), RULE)
    alone = decide(evidence, RULE)
    assert verdict.challenger == "new"
    assert verdict.alpha is not None
    assert alone.alpha is not None
    assert verdict.alpha == pytest.approx(alone.alpha / 2)


@pytest.mark.parametrize("name", list(retrains.FAULTS))
def test_the_gravest_form_of_each_fault_is_stopped(name: str) -> None:
    fault, severities = retrains.FAULTS[name]
    assert fault(severities[-1]).outcome in NOT_LIVE


@pytest.mark.parametrize(
    ("severity", "fault", "outcome", "word"),
    [
        (0.15, retrains.future_leak, "suspicious", "test data"),
        (0.7, retrains.shuffled_ids, "suspicious", "shuffled ids"),
        (0.6, retrains.stale_vocabulary, "suspicious", "stale vocabulary"),
        (0.5, retrains.doubled_day, "refused", "repeat another"),
        (4, retrains.empty_day, "refused", "usual"),
        (0.2, retrains.drifted_feature, "refused", "price"),
        (0.05, retrains.better_for_heavy_users, "keep", "history length"),
        (1, retrains.corrupt_checkpoint, "refused", "not those that were judged"),
        (6, retrains.clock_skew, "refused", "hour"),
    ],
)
def test_faults_are_stopped_for_the_right_reason(
    severity: float, fault: retrains.Fault, outcome: str, word: str
) -> None:
    verdict = fault(severity)
    assert verdict.outcome == outcome
    assert word in verdict.reason


def test_clean_windows_raise_no_alarm() -> None:
    found = retrains.false_alarms(20)
    assert found["refused"] + found["suspicious"] == 0


def test_null_retrains_are_not_promoted() -> None:
    found, plain = retrains.null_retrains(59, n_users=5_000)
    assert found == 0
    assert plain > 0


def test_power_rises_with_the_effect() -> None:
    shares = [retrains.power(effect, 20, n_users=20_000) for effect in (0.0, 0.006, 0.012)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] > 0.9


def test_small_losses_do_not_add_up() -> None:
    naive, ours, _ = retrains.creep(52, n_users=20_000, loss=0.0003)
    assert naive > 0.05
    assert ours < 0.01


def test_a_model_as_good_as_the_others_may_be_fresh() -> None:
    _, _, promoted = retrains.creep(10, n_users=100_000, loss=0.0, margin=0.006)
    assert promoted > 5


def test_the_verdict_is_a_pure_function() -> None:
    rule = Rule()
    one, two = (decide(retrains.usual(3), rule) for _ in range(2))
    assert one == two
    assert np.isfinite([value for f in one.findings for value in f.figures.values() if value]).all()


def test_users_whom_a_model_does_not_know_are_counted_in_the_sentence() -> None:
    """Their lists are popularity's, so the figures are partly its own."""
    usual = retrains.usual()
    (challenger,) = usual.challengers
    stranger = replace(challenger, by_popularity=1200, queries=5000)
    verdict = decide(replace(usual, challengers=(stranger,)), RULE)
    assert verdict.reason == (
        "every rule holds; 1,200 of 5,000 users got the most popular items in place of new's, "
        "which does not know them"
    )
    assert "popular items" not in decide(usual, RULE).reason
