"""The verdict on a challenger: a pure function from what was measured to one of five outcomes.

It fails closed: only a challenger of which every rule holds is promoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from falconer.workflows.retraining import ledger
from falconer.workflows.retraining.config import Guard, Rule
from falconer.workflows.retraining.estimates import Float64, Gap, gap

Outcome = Literal["promote", "keep", "suspicious", "undecidable", "refused"]
Answer = Literal["yes", "no", "unknown"]
GUARD_ALPHA = 0.05
"""Of each comparison beside the main one: non-inferiority, and being above the best baseline."""
MAIN, EARNS = "better than the champion", "earns as much as the champion"
FIRST = "better than the best baseline, as there is no champion"


@dataclass(frozen=True)
class Measured:
    """One model on the window: a value of the metric for each user, in the same order for all.

    `groups`: (slicing, group) -> float64[n_users], NaN for users outside.
    """

    label: str
    values: Float64
    coverage: float = 1.0
    latency_ms: float | None = None
    by_popularity: int = 0
    """Of its `queries`, those that it did not answer itself, as it does not know their users."""
    queries: int = 0
    groups: Mapping[tuple[str, str], Float64] = field(default_factory=dict)
    earned: Float64 | None = None
    """Of users with logged rows: what lists would have earned; None where that is not known."""

    @property
    def mean(self) -> float:
        """The metric."""
        return float(self.values.mean()) if len(self.values) else 0.0


@dataclass(frozen=True)
class Check:
    """Something that has to lie between two bounds before anything is believed."""

    name: str
    value: float
    low: float
    high: float
    text: str

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True)
class Evidence:
    """All that a verdict depends on, besides the rule."""

    data: tuple[Check, ...] = ()
    """A failed one refuses the window."""
    damage: tuple[str, ...] = ()
    """Why nothing could be judged, in words."""
    preflight: tuple[Check, ...] = ()
    """A failed one makes every figure suspicious."""
    challengers: tuple[Measured, ...] = ()
    champion: Measured | None = None
    anchor: Measured | None = None
    baselines: tuple[Measured, ...] = ()
    usual_lift: float | None = None
    """The champion's metric over the best baseline's, the median of the windows before."""
    tests: tuple[bool, ...] = ()
    """Did each test before this one promote?"""


@dataclass(frozen=True)
class Finding:
    """One rule with its answer, the figures behind it, and a sentence."""

    rule: str
    holds: Answer
    text: str
    otherwise: Outcome
    """The outcome where the answer is no."""
    figures: Mapping[str, float | int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The outcome, why, and what the test spent."""

    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...]
    challenger: str | None = None
    alpha: float | None = None
    p: float | None = None
    users_needed: int | None = None

    @property
    def tested(self) -> bool:
        """Whether a test was made, so that the ledger has to know of it."""
        return self.alpha is not None


ORDER: tuple[Outcome, ...] = ("refused", "suspicious", "keep", "undecidable")
"""Of several reasons not to promote, the first of these decides."""


def decide(evidence: Evidence, rule: Rule) -> Verdict:
    """The verdict on the best challenger of a window."""
    findings = [*_of_data(evidence)]
    if any(finding.holds == "no" for finding in findings) or not evidence.challengers:
        return _concluded(findings)
    challenger = max(evidence.challengers, key=lambda one: (one.mean, one.label))
    findings += _of_checks("preflight", evidence.preflight, "suspicious")
    findings += _of_belief(challenger, evidence, rule)
    alpha = ledger.level(evidence.tests, rule.alpha) / len(evidence.challengers)
    main, p = _main(challenger, evidence, rule, alpha)
    findings += [main, *_of_guards(challenger, evidence, rule)]
    verdict = _concluded(findings)
    return Verdict(
        verdict.outcome,
        verdict.reason + _answered_otherwise(challenger, evidence.champion),
        verdict.findings,
        challenger=challenger.label,
        alpha=alpha,
        p=p,
        users_needed=verdict.users_needed,
    )


def _answered_otherwise(*models: Measured | None) -> str:
    """What of the figures is popularity's and not the models' own."""
    return "".join(
        f"; {model.by_popularity:,} of {model.queries:,} users got the most popular items in place "
        f"of {model.label}'s, which does not know them"
        for model in models
        if model is not None and model.by_popularity
    )


def _concluded(findings: list[Finding]) -> Verdict:
    failed = [finding for finding in findings if finding.holds != "yes"]
    if not findings:
        return Verdict("refused", "nothing was judged", ())
    if not failed:
        return Verdict("promote", "every rule holds", tuple(findings))
    outcomes = {id(one): one.otherwise if one.holds == "no" else "undecidable" for one in failed}
    worst = min(outcomes.values(), key=ORDER.index)
    reasons = [finding for finding in failed if outcomes[id(finding)] == worst]
    needed = [finding.figures.get("users_needed") for finding in reasons]
    users = [int(number) for number in needed if number is not None]
    return Verdict(
        worst,
        "; ".join(finding.text for finding in reasons),
        tuple(findings),
        users_needed=max(users) if users and worst == "undecidable" else None,
    )


def _of_data(evidence: Evidence) -> Iterator[Finding]:
    for text in evidence.damage:
        yield Finding("input", "no", text, "refused")
    yield from _of_checks("data", evidence.data, "refused")


def _of_checks(kind: str, checks: tuple[Check, ...], otherwise: Outcome) -> Iterator[Finding]:
    for check in checks:
        figures = {"value": check.value, "low": check.low, "high": check.high}
        figures = {name: value for name, value in figures.items() if abs(value) != np.inf}
        answer: Answer = "yes" if check.holds else "no"
        yield Finding(f"{kind}: {check.name}", answer, check.text, otherwise, figures)


def _of_belief(challenger: Measured, evidence: Evidence, rule: Rule) -> Iterator[Finding]:
    """What nobody should believe, whatever the test says."""
    champion, best = evidence.champion, _best(evidence.baselines)
    if champion is not None:
        gain = _share(challenger.mean - champion.mean, champion.mean)
        yield _plain(
            "not too good to be true",
            gain <= rule.too_good,
            f"{challenger.label} is {gain:+.1%} against the champion (believed up to "
            f"{rule.too_good:+.0%}): look for test data in its training",
            "suspicious",
            {"gain": gain, "limit": rule.too_good},
        )
    if best is None:
        return
    for name, model in (("challenger", challenger), ("champion", champion)):
        if model is None or model.label == best.label:
            continue
        usual = evidence.usual_lift if name == "champion" and evidence.usual_lift else 1.0
        lift = _share(model.mean, best.mean)
        yield _plain(
            f"{name} is not broken",
            lift >= rule.collapse * usual,
            f"the {name} has {lift:.2f} times the metric of {best.label}, usual is {usual:.2f}: "
            "look for shuffled ids, a stale vocabulary, a damaged model",
            "suspicious",
            {"lift": lift, "limit": rule.collapse * usual},
        )


def _main(
    challenger: Measured, evidence: Evidence, rule: Rule, alpha: float
) -> tuple[Finding, float]:
    """The test that the ledger pays for."""
    margin = margin_of(rule)
    others = [one for one in (evidence.champion, evidence.anchor) if one is not None]
    if rule.mode == "superiority" or not others:
        other = evidence.champion or _best(evidence.baselines)
        if other is None:
            return Finding(MAIN, "no", "there is nothing to compare with", "refused"), 1.0
        difference = _gap(challenger, other, rule)
        found = _superior(difference, other, rule, alpha)
        named = found if evidence.champion else replace(found, rule=FIRST)
        return named, difference.p_above(margin)
    gaps = [_gap(challenger, other, rule) for other in others]
    worst = min(range(len(gaps)), key=lambda place: gaps[place].lower(alpha))
    p = max(one.p_above(-margin) for one in gaps)
    return _not_worse(
        f"as good as {_role(others[worst], evidence)}", gaps[worst], margin, alpha, rule.power
    ), p


def _superior(difference: Gap, other: Measured, rule: Rule, alpha: float) -> Finding:
    margin, lower = margin_of(rule), difference.lower(alpha)
    figures = _figures(difference, margin, alpha)
    if difference.n < rule.min_users:
        figures["users_needed"] = rule.min_users
        text = f"{difference.n} users were judged, and {rule.min_users} are the least"
        return Finding(MAIN, "unknown", text, "keep", figures)
    shown = f"{difference.mean:+.4f} against {other.label}, at least {lower:+.4f}"
    if lower > margin:
        return Finding(MAIN, "yes", f"{shown}; the margin is {margin:.4f}", "keep", figures)
    blind = (difference.mean - lower) > rule.worthwhile * max(other.mean, 1e-12) + margin
    if difference.mean <= margin and not blind:
        return Finding(MAIN, "no", f"{shown}; it takes more than {margin:.4f}", "keep", figures)
    worthwhile = margin + rule.worthwhile * other.mean
    needed = difference.more_users(margin, worthwhile, alpha=alpha, power=rule.power)
    figures["users_needed"] = needed
    return Finding(MAIN, "unknown", f"{shown}; the noise of {_needed(needed)}", "keep", figures)


def _needed(users: int | None) -> str:
    if users is None:
        return "the seeds alone hides this: no number of users is enough"
    return f"these users hides this: it would take {users:,} users"


def _not_worse(rule: str, difference: Gap, margin: float, alpha: float, power: float) -> Finding:
    """Non-inferiority: the lower bound is above minus the margin."""
    lower, figures = difference.lower(alpha), _figures(difference, margin, alpha)
    text = f"{rule}: {difference.mean:+.4f}, at least {lower:+.4f}; allowed is {-margin:+.4f}"
    if lower > -margin:
        return Finding(rule, "yes", text, "keep", figures)
    if difference.n > 1 and difference.mean <= -margin:
        return Finding(rule, "no", text, "keep", figures)
    needed = difference.users_needed(-margin, alpha=alpha, power=power)
    figures["users_needed"] = needed
    return Finding(rule, "unknown", f"{text}; the noise of {_needed(needed)}", "keep", figures)


def _of_guards(challenger: Measured, evidence: Evidence, rule: Rule) -> Iterator[Finding]:
    """What must hold besides; each is tested at its own level without correction, and the power is
    corrected for their number."""
    champion, best = evidence.champion, _best(evidence.baselines)
    if best is not None:
        yield _above(challenger, best, rule)
    if champion is None:
        return
    groups = list(_guarded(rule.guards, champion))
    power = 1 - (1 - rule.power) / max(1, len(groups))
    for guard, group in groups:
        difference = _gap_of(challenger.groups[group], champion.groups[group], rule, trained=2)
        name = f"guard: {group[0]} {group[1]}"
        yield _not_worse(name, difference, guard.limit, GUARD_ALPHA, power)
    share = _share(challenger.coverage, champion.coverage)
    yield _plain(
        "coverage",
        share >= rule.min_coverage,
        f"it recommends {share:.2f} times as much of the catalogue as the champion (at least "
        f"{rule.min_coverage:.2f})",
        "keep",
        {"share": share, "limit": rule.min_coverage},
    )
    if rule.off_policy is not None:
        yield _earned(challenger, champion, rule.off_policy.limit, rule.power)
    if rule.max_latency_ms is not None:
        yield _latency(challenger, rule.max_latency_ms)


def _guarded(
    guards: tuple[Guard, ...], champion: Measured
) -> Iterator[tuple[Guard, tuple[str, str]]]:
    for guard in guards:
        for group in sorted(champion.groups):
            if group[0] == guard.slicing and guard.group in (None, group[1]):
                yield guard, group


def _above(challenger: Measured, best: Measured, rule: Rule) -> Finding:
    difference = _gap_of(challenger.values, best.values, rule, trained=1)
    lower = difference.lower(GUARD_ALPHA)
    text = f"{difference.mean:+.4f} against {best.label}, at least {lower:+.4f}"
    figures = _figures(difference, 0.0, GUARD_ALPHA)
    if lower > 0:
        return Finding("better than plain baselines", "yes", text, "keep", figures)
    if difference.mean <= 0:
        return Finding("better than plain baselines", "no", text, "keep", figures)
    needed = difference.users_needed(0.0, alpha=GUARD_ALPHA, power=rule.power)
    figures["users_needed"] = needed
    text = f"{text}; the noise of {_needed(needed)}"
    return Finding("better than plain baselines", "unknown", text, "keep", figures)


def _earned(challenger: Measured, champion: Measured, limit: float, power: float) -> Finding:
    if challenger.earned is None or champion.earned is None:
        who = challenger if challenger.earned is None else champion
        text = f"{EARNS}: too little was logged to tell what {who.label}'s lists earn"
        return Finding(EARNS, "unknown", text, "keep")
    difference = gap(challenger.earned, champion.earned, seed_variance=0, seeds=2)
    return _not_worse(EARNS, difference, limit, GUARD_ALPHA, power)


def _latency(challenger: Measured, limit: float) -> Finding:
    taken = challenger.latency_ms
    if taken is None:
        return Finding("latency", "no", "latency was not measured", "keep")
    text = f"{taken:.2f} ms a list (at most {limit:.2f})"
    return _plain("latency", taken <= limit, text, "keep", {"ms": taken, "limit": limit})


def _plain(
    rule: str,
    holds: bool,  # noqa: FBT001 - an answer, not a mode
    text: str,
    otherwise: Outcome,
    figures: Mapping[str, float],
) -> Finding:
    return Finding(rule, "yes" if holds else "no", text, otherwise, figures)


def margin_of(rule: Rule) -> float:
    """What a difference has to exceed: the smallest effect of interest, or twice the deviation
    between seeds."""
    return max(rule.smallest_effect, 2 * rule.seed_deviation)


def _gap(first: Measured, second: Measured, rule: Rule) -> Gap:
    return _gap_of(first.values, second.values, rule, trained=2)


def _gap_of(first: Float64, second: Float64, rule: Rule, *, trained: int) -> Gap:
    """`trained` of the two models have seeds, which are independent."""
    variance = trained * rule.seed_deviation**2
    return gap(first, second, seed_variance=variance, seeds=rule.seeds)


def _figures(difference: Gap, margin: float, alpha: float) -> dict[str, float | int | None]:
    return {
        "difference": difference.mean,
        "lower": difference.lower(alpha),
        "upper": difference.upper(alpha),
        "margin": margin,
        "alpha": alpha,
        "users": difference.n,
    }


def _best(baselines: tuple[Measured, ...]) -> Measured | None:
    return max(baselines, key=lambda one: (one.mean, one.label), default=None)


def _role(model: Measured, evidence: Evidence) -> str:
    return "the champion" if model is evidence.champion else "the anchor"


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float(part > 0) * 10.0
