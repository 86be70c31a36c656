"""Simulated retrains, whose truth is known: null ones, better ones, slowly worse ones, faulty ones.

    python -m tests.support.retrains null|power|creep|faults

prints the figures of the long form; the tests run the short one.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from falconer.workflows.retraining import drift
from falconer.workflows.retraining.config import Guard, Limits, Rule
from falconer.workflows.retraining.estimates import Float64, clopper_pearson
from falconer.workflows.retraining.verdict import Evidence, Measured, Verdict, decide

METRIC, BASELINE = 0.20, 0.15
USER_DEVIATION, OWN_DEVIATION, SEED_DEVIATION = 0.15, 0.10, 0.0007
"""Between users, of one model's values for a user, and of a model's mean between seeds. (Ten seeds
of ALS on MovieLens 1M: deviation of differences 0.00101.)"""
RULE = Rule(seed_deviation=SEED_DEVIATION, seeds=10, smallest_effect=0.001)


@dataclass
class World:
    """Users, and models of a known quality."""

    n_users: int
    seed: int

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.users = self.rng.normal(0, USER_DEVIATION, self.n_users)

    def model(self, label: str, quality: float) -> Measured:
        """One training: the quality, the luck of its seed, and noise for each user."""
        luck = self.rng.normal(0, SEED_DEVIATION)
        return Measured(label, self.users + quality + luck + self._noise())

    def baseline(self) -> Measured:
        """A plain recommender, which has no seed."""
        return Measured("popularity", self.users + BASELINE + self._noise())

    def _noise(self) -> Float64:
        return self.rng.normal(0, OWN_DEVIATION, self.n_users)


def null_retrains(n: int, *, n_users: int, seed: int = 0) -> tuple[int, int]:
    """Of `n` retrains with other seeds only: promoted by the verdict, and by a plain 95 % interval
    of users."""
    tests: list[bool] = []
    plain = 0
    for number in range(n):
        world = World(n_users, seed + number)
        champion, challenger = (world.model(name, METRIC) for name in ("champion", "new"))
        evidence = Evidence(
            challengers=(challenger,),
            champion=champion,
            baselines=(world.baseline(),),
            tests=tuple(tests),
        )
        tests.append(decide(evidence, RULE).outcome == "promote")
        gain = challenger.values - champion.values
        plain += bool(gain.mean() > 1.96 * gain.std(ddof=1) / np.sqrt(n_users))
    return sum(tests), plain


def power(effect: float, n: int, *, n_users: int, seed: int = 0) -> float:
    """Share promoted of `n` first challengers that are truly better by `effect`."""
    found = 0
    for number in range(n):
        world = World(n_users, seed + number)
        evidence = Evidence(
            challengers=(world.model("new", METRIC + effect),),
            champion=world.model("champion", METRIC),
            baselines=(world.baseline(),),
        )
        found += decide(evidence, RULE).outcome == "promote"
    return found / n


def creep(
    weeks: int, *, n_users: int, loss: float, margin: float = 0.0018, seed: int = 0
) -> tuple[float, float, int]:
    """After `weeks` of models, each worse by `loss` than the champion: the share of the true metric
    lost by naive non-inferiority to the champion alone, that lost by the freshness rule with its
    anchor, and how often the latter promoted."""
    rule = RULE.model_copy(update={"mode": "freshness", "smallest_effect": margin})
    naive = ours = METRIC
    tests: list[bool] = []
    for week in range(weeks):
        world = World(n_users, seed + week)
        old, new = world.model("champion", naive), world.model("new", naive - loss)
        gain = new.values - old.values
        lower = gain.mean() - 1.645 * gain.std(ddof=1) / np.sqrt(n_users)
        naive -= loss if lower > -2 * margin else 0
        evidence = Evidence(
            challengers=(world.model("new", ours - loss),),
            champion=world.model("champion", ours),
            anchor=world.model("anchor", METRIC),
            baselines=(world.baseline(),),
            tests=tuple(tests),
        )
        tests.append(decide(evidence, rule).outcome == "promote")
        ours -= loss if tests[-1] else 0
    return (METRIC - naive) / METRIC, (METRIC - ours) / METRIC, sum(tests)


Severity = float
HOURS = {str(hour): int(200 + 180 * np.sin((hour - 8) / 24 * 2 * np.pi)) for hour in range(24)}
DAYS = {f"2026-01-{day:02}": 4600 // 7 + (day < 6) for day in range(5, 12)}
PRICES = dict(zip("012345", (50, 300, 900, 800, 250, 40), strict=True))
LIGHT = ("history length", "1 to 5 events")


def window(**changes: object) -> dict[str, object]:
    """The profile of a usual window."""
    usual: dict[str, object] = {"events": 4600, "doubled": 3, "new_items": 90}
    usual["days"] = DAYS
    return {**usual, "distributions": {"hour": HOURS, "price": PRICES}, **changes}


def by_data(profile: dict[str, object]) -> Verdict:
    """The verdict on a good challenger whose window looks like this."""
    checks = drift.checks(profile, [window(), window(), window()], Limits())
    return decide(replace(usual(), data=tuple(checks)), RULE)


def usual(seed: int = 0, *, gain: float = 0.02) -> Evidence:
    """A clean window with a challenger that is better by `gain`."""
    world = World(5000, seed)
    return Evidence(
        challengers=(world.model("new", METRIC + gain),),
        champion=world.model("champion", METRIC),
        baselines=(world.baseline(),),
        usual_lift=METRIC / BASELINE,
    )


def _changed(evidence: Evidence, change: Callable[[Float64], Float64]) -> Evidence:
    model = evidence.challengers[0]
    return replace(evidence, challengers=(replace(model, values=change(model.values)),))


def _first(values: Float64, share: float, put: float) -> Float64:
    changed = values.copy()
    changed[: round(share * len(values))] = put
    return changed


def future_leak(share: Severity) -> Verdict:
    """This share of users has lists that hold what they will choose."""
    return decide(_changed(usual(), lambda values: _first(values, share, 1.0)), RULE)


def shuffled_ids(share: Severity) -> Verdict:
    """The lists of this share of users are of other items."""
    return decide(_changed(usual(), lambda values: _first(values, share, 0.0)), RULE)


def stale_vocabulary(share: Severity) -> Verdict:
    """The champion cannot name this share of what is chosen."""
    found = usual()
    assert found.champion is not None
    champion = replace(found.champion, values=found.champion.values * (1 - share))
    return decide(replace(found, champion=champion), RULE)


def doubled_day(days: Severity) -> Verdict:
    """So many days of seven came twice."""
    more = round(4600 * days / 7)
    return by_data(window(events=4600 + more, doubled=3 + more))


def empty_day(days: Severity) -> Verdict:
    """So many days of seven did not come."""
    left = {day: n if number >= days else 0 for number, (day, n) in enumerate(DAYS.items())}
    return by_data(window(events=sum(left.values()), days=left))


def drifted_feature(share: Severity) -> Verdict:
    """Prices of this share of events are in another unit, a hundred times as large."""
    moved = {name: round(count * (1 - share)) for name, count in PRICES.items()}
    moved |= {str(int(name) + 7): round(n * share) for name, n in PRICES.items()}
    return by_data(window(distributions={"hour": HOURS, "price": moved}))


def worse_model(loss: Severity) -> Verdict:
    """The challenger is worse by this share."""
    return decide(usual(gain=-loss * METRIC), RULE)


def better_for_heavy_users(loss: Severity) -> Verdict:
    """All in all better, and for a fifth of the users, the light ones, worse by so much."""
    found = usual()
    light = np.arange(5000) < 1000
    assert found.champion is not None

    def grouped(model: Measured, values: Float64) -> Measured:
        return replace(model, values=values, groups={LIGHT: np.where(light, values, np.nan)})

    new = found.challengers[0]
    values = np.where(light, new.values - 0.02 - loss, new.values + 0.02)
    evidence = replace(
        found,
        challengers=(grouped(new, values),),
        champion=grouped(found.champion, found.champion.values),
    )
    guard = Guard(slicing=LIGHT[0], limit=0.02)
    return decide(evidence, RULE.model_copy(update={"guards": (guard,)}))


def corrupt_checkpoint(bits: Severity) -> Verdict:
    """So many bits of the champion's files changed: its hash says so, and the window is refused."""
    damage = ("the files of the model are not those that were judged",)
    return decide(replace(usual(), damage=damage if bits else ()), RULE)


def clock_skew(hours: Severity) -> Verdict:
    """The source's clock is off by so many hours."""
    moved = {str((int(hour) + round(hours)) % 24): count for hour, count in HOURS.items()}
    return by_data(window(distributions={"hour": moved, "price": PRICES}))


Fault = Callable[[Severity], Verdict]

FAULTS: dict[str, tuple[Fault, Sequence[Severity]]] = {
    "future leak (share of users)": (future_leak, (0, 0.05, 0.1, 0.15, 0.2, 0.5, 1)),
    "shuffled ids (share of users)": (shuffled_ids, (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)),
    "stale vocabulary (share of choices)": (stale_vocabulary, (0, 0.1, 0.2, 0.3, 0.4, 0.6, 1)),
    "doubled days of seven": (doubled_day, (0, 0.1, 0.3, 0.5, 1, 2, 7)),
    "empty days of seven": (empty_day, (0, 1, 2, 3, 4, 5, 7)),
    "drifted feature (share of events)": (drifted_feature, (0, 0.02, 0.05, 0.1, 0.2, 0.5, 1)),
    "worse model (share of metric)": (worse_model, (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.9)),
    "better for heavy users only (loss)": (better_for_heavy_users, (0, 0.01, 0.02, 0.03, 0.05)),
    "corrupt checkpoint (bits)": (corrupt_checkpoint, (0, 1, 8)),
    "clock skew (hours)": (clock_skew, (0, 1, 2, 3, 6, 12)),
}


def false_alarms(n: int) -> Counter[str]:
    """Outcomes of clean windows with a challenger that is truly better."""
    return Counter(decide(usual(seed), RULE).outcome for seed in range(n))


def main(what: str) -> None:
    """Print the figures."""
    if what == "null":
        n = 208
        found, plain = null_retrains(n, n_users=20_000)
        print(f"null retrains: {found} of {n} promoted, 95 % bound {clopper_pearson(found, n):.3f}")
        print(f"a plain 95 % interval of users: {plain} of {n}")
    elif what == "power":
        for effect in (0.0, 0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.02):
            shares = [power(effect, 100, n_users=users) for users in (2_000, 20_000)]
            print(
                f"effect {effect:.3f}: promoted {shares[0]:.0%} / {shares[1]:.0%} (2,000 / 20,000)"
            )
    elif what == "creep":
        for loss, margin in ((0.0003, 0.0018), (0.0003, 0.004), (0.0, 0.004), (-0.0003, 0.004)):
            naive, ours, n = creep(52, n_users=100_000, loss=loss, margin=margin)
            print(
                f"52 weeks, each {loss / METRIC:+.2%} worse, margin {margin:.4f}: naive loses "
                f"{naive:.1%}, the freshness rule {ours:.1%} ({n} promoted)"
            )
    else:
        for name, (fault, severities) in FAULTS.items():
            print(name + ": " + ", ".join(f"{s:g} {fault(s).outcome}" for s in severities))
        print("clean windows:", dict(false_alarms(200)))


if __name__ == "__main__":
    main(sys.argv[1])
