"""The registry of one pipeline: which model serves, which served before, and who decided it.

`champion.json` is the truth that serving reads. It is replaced atomically, and every change is a
signed line of `history.jsonl`, written before it.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from falconer.pipelines.config import Config, parse
from falconer.pipelines.console import warn
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.exclusive import in_turn
from falconer.pipelines.files import read_json, write_json, write_text
from falconer.pipelines.models.saved import hash_of
from falconer.workflows.retraining import signing
from falconer.workflows.retraining.places import HISTORY, MODEL, Places

CHAMPION, TURN = "champion.json", "changes.lock"


class Model(Config):
    """A trained model: where it is below the pipeline's root, and the hash of its files."""

    label: str
    run: str
    sha256: str
    window: str
    """The window that it was judged on when it came here."""


class Champion(Config):
    """What serves now, what served before, and the anchor that models must not fall behind."""

    champion: Model
    previous: Model | None = None
    anchor: Model
    since: str
    """The window from which on it serves."""
    decision: str
    """sha256 of the decision, or of the person's order, that made it champion."""


def current(places: Places) -> Champion | None:
    """The champion, or None before the first one. A file that is gone or damaged is put back first,
    with a warning; `ArtifactError` where nothing is recorded to put back."""
    for text in mend(places):
        warn(f"warning: {text}")
    path = places.registry / CHAMPION
    return parse(Champion, read_json(path), str(path)) if path.exists() else None


def mend(places: Places) -> list[str]:
    """Put `champion.json` back as the last recorded change has it, where it is gone or damaged;
    returns what was wrong, in words. `ArtifactError` where no change is recorded."""
    path = places.registry / CHAMPION
    wrong = _wrong_with(path)
    changes = history(places) if wrong else []
    if wrong == "damaged" and not changes:
        raise ArtifactError(f"{path}: damaged, and no change of it is recorded; remove it")
    if not changes:
        return []
    last = Champion(**changes[-1]["champion"])
    write_json(path, last.model_dump(mode="json"))
    serves = f"{last.champion.label} of window {last.champion.window}"
    return [f"{path} was {wrong}, and is as {HISTORY} recorded it last: {serves} serves"]


def _wrong_with(path: Path) -> str | None:
    if not path.exists():
        return "gone"
    try:
        parse(Champion, read_json(path), str(path))
    except (ArtifactError, ConfigError):
        return "damaged"
    return None


def intact(places: Places, model: Model) -> Path:
    """The model's run; `ArtifactError` where it is gone, or its files are not those that were
    judged."""
    run = places.root / model.run
    if not run.exists():
        raise ArtifactError(
            f"{run}: model {model.label} of window {model.window} is not there any more; bring it "
            "back from a copy, or take another model (`falconer prune` removes models that never "
            "served)"
        )
    found = hash_of(run / "model")
    if found != model.sha256:
        raise ArtifactError(
            f"{run}: the files of model {model.label} are not those that were judged (hash "
            f"{found}, was {model.sha256}); go back with `falconer rollback`"
        )
    return run


def succeed(
    places: Places, model: Model, *, decision: str, judged_against: Model | None, moves_anchor: bool
) -> None:
    """Make `model` champion by a verdict. The same decision twice changes nothing the second time,
    but for what a kill behind its record left undone; one that was made against another champion
    than today's changes nothing at all, with a warning: an order that a person gave meanwhile is
    not undone.

    `moves_anchor`: the model was shown to be better, so that the ones after it are held to it.
    """
    with _changing(places):
        before = current(places)
        if was_followed(places, decision):
            _complete(places, before, decision)
            return
        serving = before.champion if before else None
        if serving != judged_against:
            who = f"{serving.label} of window {serving.window}" if serving else "nobody"
            warn(
                f"warning: {model.label} of window {model.window} does not serve: it was judged "
                f"against another champion than {who}, who serves by an order given meanwhile"
            )
            return
        after = Champion(
            champion=model,
            previous=serving,
            anchor=model if before is None or moves_anchor else before.anchor,
            since=model.window,
            decision=decision,
        )
        _replace(places, after, {"by": "verdict", "decision": decision})


def _complete(places: Places, now: Champion | None, decision: str) -> None:
    """Write the champion that this decision's record names, where no other change came since."""
    last = history(places)[-1]
    recorded = Champion(**last["champion"])
    if last.get("decision") == decision and now != recorded:
        write_json(places.registry / CHAMPION, recorded.model_dump(mode="json"))


def was_followed(places: Places, decision: str) -> bool:
    """Whether a change of the champion was made by this decision, whatever came after it."""
    return decision in [change.get("decision") for change in history(places)]


def why_not_followed(places: Places, window: str) -> str:
    """What kept a window's verdict to promote from being followed, as far as files tell."""
    causes = []
    if any("order" in change for change in history(places)):
        causes.append("the champion was changed by an order while the window was judged")
    if places.decided()[-1] > window:
        causes.append("a later window was decided first")
    return " or ".join(causes) or f"{HISTORY} has no change by this verdict"


def _changing(places: Places) -> AbstractContextManager[None]:
    """One change at a time: a person's order may come while a verdict is followed."""
    return in_turn(places.registry / TURN)


def promote(places: Places, window: str, label: str, *, reason: str) -> Champion:
    """A person's override: the named model of a window becomes champion, signed and recorded."""
    path = places.judged(window, label) / MODEL
    if not path.exists():
        raise ConfigError(f"{window}: no model {label!r} was judged there")
    model = parse(Model, read_json(path), str(path))
    intact(places, model)
    with _changing(places):
        return _override(places, model, "promote", reason)


def rollback(places: Places, *, reason: str) -> Champion:
    """A person's override: the model that served before serves again."""
    with _changing(places):
        now = current(places)
        if now is None or now.previous is None:
            raise ConfigError("there is no model before this one to go back to")
        intact(places, now.previous)
        return _override(places, now.previous, "rollback", reason)


def _override(places: Places, model: Model, order: str, reason: str) -> Champion:
    if not reason.strip():
        raise ConfigError("--reason: say why; it is signed and kept")
    before = current(places)
    document = {
        "order": order,
        "model": model.model_dump(mode="json"),
        "by": getpass.getuser(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
    }
    after = Champion(
        champion=model,
        previous=before.champion if before else None,
        anchor=before.anchor if before else model,
        since=model.window,
        decision=signing.digest(document),
    )
    _replace(places, after, document)
    return after


def _replace(places: Places, after: Champion, document: Mapping[str, Any]) -> None:
    """Record first, then replace: a record without its change is seen and harmless."""
    key = signing.key_of(places)
    line = signing.signed({**document, "champion": after.model_dump(mode="json")}, key)
    history = places.registry / HISTORY
    lines = history.read_text(encoding="utf-8") if history.exists() else ""
    added = json.dumps(line, sort_keys=True) + "\n"
    if not lines.endswith(added):
        write_text(history, lines + added)
    write_json(places.registry / CHAMPION, after.model_dump(mode="json"))


def differences(places: Places) -> list[str]:
    """What does not fit together between `champion.json` and the signed changes, in words."""
    path = places.registry / CHAMPION
    now = parse(Champion, read_json(path), str(path)) if path.exists() else None
    try:
        changes = history(places)
    except ArtifactError as error:
        return [str(error)]
    last = Champion(**changes[-1]["champion"]) if changes else None
    if now == last:
        return []
    who = f"{last.champion.label} of window {last.champion.window}" if last else "no champion"
    return [
        f"{path} is not what {HISTORY} recorded last ({who}): it was changed by hand, or an order "
        "was cut off; give the order with `falconer promote`"
    ]


def history(places: Places) -> list[dict[str, Any]]:
    """Every change of the champion, oldest first, its signature checked."""
    path = places.registry / HISTORY
    if not path.exists():
        return []
    key = signing.key_of(places)
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        changes = [_change(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path}: damaged ({error}); take it from a backup: it cannot be made anew"
        ) from error
    return [signing.verified(change, key, path) for change in changes]


def _change(line: str) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a line of it is no record")
    return found
