"""Does the new window look like the ones before? Its profile against theirs."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Any

from falconer.workflows.retraining import signing
from falconer.workflows.retraining.config import HISTORY, USUAL, Limits
from falconer.workflows.retraining.places import DECISION, PROFILE, Places
from falconer.workflows.retraining.verdict import Check

BINS = 20
"""The most frequent values of the window before; all others are one bin more."""
EVENTS_A_DAY = 20
"""Where a day usually has fewer, it may have none by chance."""
FLOOR = 0.5
"""Events added to each bin, so that an empty one has a logarithm."""

Counts = Mapping[str, int]


def psi(before: Counts, after: Counts) -> float:
    """Population stability index: sum over bins of (a - b) ln(a / b) of the shares."""
    return sum((a - b) * math.log(a / b) for b, a in zip(*_shares(before, after), strict=True))


def jensen_shannon(before: Counts, after: Counts) -> float:
    """Jensen-Shannon divergence in bits, from 0 to 1 (Lin 1991)."""
    total = 0.0
    for b, a in zip(*_shares(before, after), strict=True):
        middle = (a + b) / 2
        total += (a * math.log2(a / middle) + b * math.log2(b / middle)) / 2
    return max(0.0, total)


def _shares(before: Counts, after: Counts) -> tuple[list[float], list[float]]:
    bins = sorted(before, key=lambda name: (-before[name], name))[:BINS]
    counts = [[table.get(name, 0) + FLOOR for name in bins] for table in (before, after)]
    for row, table in zip(counts, (before, after), strict=True):
        row.append(sum(table.values()) - sum(row) + FLOOR * (len(bins) + 1))
    first, second = ([count / sum(row) for count in row] for row in counts)
    return first, second


def accepted(places: Places, window: str) -> list[dict[str, Any]]:
    """The profiles of the last windows before this one that were not refused, oldest first."""
    names = [
        name
        for name in places.decided()
        if name < window
        and signing.stored(places.window(name) / DECISION)["outcome"] != "refused"
        and (places.window(name) / PROFILE).exists()
    ]
    return [found for name in names[-HISTORY:] if (found := places.profile(name)) is not None]


def shifts(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Name of a distribution -> its `psi` and `js` from one profile to the next."""
    first, second = before["distributions"], after["distributions"]
    return {
        name: {
            "psi": psi(first[name], second[name]),
            "js": jensen_shannon(first[name], second[name]),
        }
        for name in sorted(first.keys() & second.keys())
    }


def checks(
    profile: Mapping[str, Any], history: list[dict[str, Any]], limits: Limits
) -> list[Check]:
    """What must hold of a window's profile; bounds come from `limits` and from the accepted windows
    before."""
    events = profile["events"]
    found = [_at_least("events", events, 1, f"{events:,} events")]
    if not events:
        return found
    found += [
        _share(profile, "doubled", limits.max_doubled, "repeat another one in every column"),
        _share(profile, "new_items", limits.max_new_items, "are of items never seen before"),
    ]
    if history:
        found += [_volume(profile, history, limits), *_empty_days(profile, history, limits)]
        found += _drift(profile, history, limits)
    return found


def _at_least(name: str, value: float, low: float, text: str) -> Check:
    return Check(name, value, low, math.inf, text)


def _share(profile: Mapping[str, Any], name: str, high: float, text: str) -> Check:
    share = profile[name] / profile["events"]
    return Check(
        name.replace("_", " "), share, 0, high, f"{share:.1%} of events {text} (at most {high:.0%})"
    )


def _volume(profile: Mapping[str, Any], history: list[dict[str, Any]], limits: Limits) -> Check:
    """Events against those that so many days usually have."""
    days = len(profile.get("days", {})) or 1
    usual = statistics.median(
        one["events"] * days / (len(one.get("days", {})) or days) for one in history
    )
    share = profile["events"] / max(usual, 1)
    text = (
        f"{profile['events']:,} events are {share:.2f} times the usual {usual:,.0f} "
        f"({limits.min_volume:.2f} to {limits.max_volume:.2f} is believed)"
    )
    return Check("volume", share, limits.min_volume, limits.max_volume, text)


def _empty_days(
    profile: Mapping[str, Any], history: list[dict[str, Any]], limits: Limits
) -> list[Check]:
    """A day that did not come is lost among seven. It is held against the same days of the week,
    as a shop may be shut on one; none where the windows before had no such days, or where there is
    one day, whose events are counted anyway."""
    days = profile.get("days", {})
    past = defaultdict[int, list[int]](list)
    for day, n in (counted for one in history for counted in one.get("days", {}).items()):
        past[_weekday(day)].append(n)
    usual = {day: statistics.median(past[_weekday(day)]) for day in days if past[_weekday(day)]}
    if len(days) < 2 or not usual:
        return []
    empty = [
        f"{day}, usually {often:,.0f}"
        for day, often in usual.items()
        if days[day] == 0 and often >= EVENTS_A_DAY
    ]
    found = f"no event on {', '.join(empty)}" if empty else "every usual day has events"
    text = f"{found}; at most {limits.max_empty_days} such days are believed"
    return [Check("empty days", len(empty), 0, limits.max_empty_days, text)]


def _weekday(day: str) -> int:
    return date.fromisoformat(day).weekday()


def _drift(
    profile: Mapping[str, Any], history: list[dict[str, Any]], limits: Limits
) -> list[Check]:
    found = []
    for name, shift in shifts(history[-1], profile).items():
        past = [
            shifts(one, other)[name]["psi"]
            for one, other in pairwise(history)
            if name in one["distributions"] and name in other["distributions"]
        ]
        high = max([limits.max_psi, *([USUAL * statistics.median(past)] if past else [])])
        text = (
            f"{name}: PSI {shift['psi']:.3f}, Jensen-Shannon {shift['js']:.3f} (PSI up to "
            f"{high:.3f})"
        )
        found.append(Check(f"drift of {name}", shift["psi"], 0, high, text))
    return found
