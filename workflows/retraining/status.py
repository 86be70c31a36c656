"""What a pipeline's files say of it, without starting anything."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from falconer.pipelines.errors import ArtifactError
from falconer.workflows.retraining import champions, database, failures, mirror, signing, words
from falconer.workflows.retraining.config import HISTORY, USUAL, Limits, Pipeline
from falconer.workflows.retraining.places import DECISION, Places

SCORES = "drift of the champion's scores"
"""Among the figures of a window's health."""
LEAST_PAST = 3
CHECKED = 60
"""Of so many newest decisions the signature is checked: `status` is asked often."""


def status(pipeline: Pipeline, today: date) -> dict[str, Any]:
    """Champion, windows, unfinished and orphaned workflows, and alarms, as JSON has it.

    Signatures of old decisions are not checked here: `falconer verdict list` does.
    """
    places = Places.of(pipeline)
    mended = champions.mend(places)
    now = champions.current(places)
    alarms = [
        *mended,
        *champions.differences(places),
        *_age(pipeline, now, today),
        *_damage(places, now),
        *_clock(pipeline, places, today),
    ]
    alarms += failures.untold(places)
    alarms += [one for one in _not_followed(places, now) if one not in alarms]
    try:
        known = database.workflows(pipeline)
    except database.StoreError as error:
        known = []
        alarms.append(str(error))
    alarms += mirror.mend(places)
    windows, wrong = _windows(places)
    alarms += [one for one in wrong if one not in alarms]  # the history needs the same key
    alarms += score_alarms(windows, pipeline.limits)
    orphans = [one.id for one in known if one.is_orphan]
    if orphans:
        alarms.append(f"of another version, so that nothing goes on with: {', '.join(orphans)}")
    return {
        "pipeline": pipeline.name,
        "champion": now.model_dump(mode="json") if now else None,
        "windows": windows,
        "unfinished": [
            one.id for one in known if one.status in database.UNFINISHED and not one.is_orphan
        ],
        "failed": failures.read(places),
        "alarms": alarms,
    }


def _windows(places: Places) -> tuple[list[dict[str, Any]], list[str]]:
    """Each decided window, and what is wrong with those whose decision is damaged or not the one
    that was signed; signatures are checked of the newest only."""
    names, found, wrong = places.decided(), [], list[str]()
    try:
        key = signing.key_of(places) if names else None
    except ArtifactError as error:
        key = None
        wrong.append(str(error))
    for number, name in enumerate(names, start=-len(names)):
        path = places.window(name) / DECISION
        try:
            decision = signing.stored(path)
            if key is not None and number >= -CHECKED:
                signing.verified(decision, key, path)
        except ArtifactError as error:
            wrong.append(str(error))
        else:
            found.append(_window(places, name, decision))
    return found, wrong


def _window(places: Places, name: str, decision: Mapping[str, Any]) -> dict[str, Any]:
    seen = places.observed(name)
    done, shift = seen["steps"], seen.get("scores", {})
    return {
        "window": name,
        "outcome": decision["outcome"],
        "challenger": decision["challenger"],
        "reason": decision["reason"],
        "failures": words.failures(decision),
        "meaning": words.meaning(decision),
        "means": decision["means"],
        "health": _health(decision) | ({SCORES: shift["psi"]} if shift else {}),
        "seconds": round(sum(one["seconds"] for one in done), 1),
        "steps": len(done),
        "skipped": sum(bool(one["skipped"]) for one in done),
    }


def _health(decision: Mapping[str, Any]) -> dict[str, float]:
    """Figures of the window's data: name of a check -> value."""
    return {
        one["rule"].removeprefix("data: "): one["figures"]["value"]
        for one in decision["rules"]
        if one["rule"].startswith("data: ")
    }


def _age(pipeline: Pipeline, now: champions.Champion | None, today: date) -> list[str]:
    if now is None or pipeline.max_age_days is None:
        return []
    days = (today - date.fromisoformat(now.champion.window)).days
    if days <= pipeline.max_age_days:
        return []
    return [
        f"the champion was trained {days} days ago (at most {pipeline.max_age_days}); it goes on "
        "serving, and somebody should look why no other was good enough"
    ]


def _clock(pipeline: Pipeline, places: Places, today: date) -> list[str]:
    length = timedelta(pipeline.days)
    later = [name for name in places.decided() if date.fromisoformat(name) + length > today]
    if not later:
        return []
    return [
        f"window {later[-1]} is decided, and by the clock ({today}) it is not over: was the clock "
        "set back? Nothing is retrained before that day is over"
    ]


def _not_followed(places: Places, now: champions.Champion | None) -> list[str]:
    """Whether the last verdict is to promote a model, and an order given meanwhile kept it from
    serving."""
    try:
        for window in places.decided()[-1:]:
            decision = signing.stored(places.window(window) / DECISION)
            open_ = decision["outcome"] == "promote" and places.finished(window)
            if open_ and not champions.was_followed(places, decision["sha256"]):
                wanted = (decision["challenger"], window)
                if now is None or wanted != (now.champion.label, now.champion.window):
                    return [
                        f"{wanted[0]} of window {window} was to serve and does not: "
                        f"{champions.why_not_followed(places, window)}; `falconer promote` lets "
                        "it serve all the same"
                    ]
    except ArtifactError as error:
        return [str(error)]
    return []


def _damage(places: Places, now: champions.Champion | None) -> list[str]:
    try:
        if now is not None:
            champions.intact(places, now.champion)
    except ArtifactError as error:
        return [str(error)]
    return []


def score_alarms(windows: Sequence[Mapping[str, Any]], limits: Limits) -> list[str]:
    """An alarm where the last window's shift of scores is beyond the limit and beyond what is usual
    here: with fewer than three windows before, nobody knows what is."""
    found = [one["health"][SCORES] for one in windows if SCORES in one["health"]]
    past = found[-HISTORY - 1 : -1]
    if len(past) < LEAST_PAST or SCORES not in windows[-1]["health"]:
        return []
    high = max(limits.max_psi, USUAL * statistics.median(past))
    if found[-1] <= high:
        return []
    return [
        f"window {windows[-1]['window']}: the champion's scores have shifted (PSI {found[-1]:.3f}, "
        f"usual is up to {high:.3f}): look at what its histories hold"
    ]
