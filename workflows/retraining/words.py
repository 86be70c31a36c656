"""What an outcome and a rule mean, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEANING = {
    "promote": "Every rule holds, so the challenger serves from now on.",
    "keep": "Nothing changes: the challenger was not shown to be better by enough, or a rule that "
    "protects users does not hold.",
    "suspicious": "Nothing changes: a figure is not believable. Look for its cause first; more "
    "data does not cure it.",
    "undecidable": "Nothing changes: with so few users nobody can tell.",
    "refused": (
        "Nothing changes: the data of the window, or the files of a model, cannot be trusted. When "
        "they can, `falconer retrain --window DAY --again` judges it."
    ),
}
"""Outcome -> what it means for what serves."""

NOT_FOLLOWED = (
    "Every rule holds, and yet the challenger does not serve: {cause}, and nobody knows how the "
    "two compare. `falconer promote` lets it serve all the same."
)
"""In place of what `promote` means."""

ANSWERS = {"yes": "holds", "no": "does not hold", "unknown": "cannot be told"}


def failed(decision: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules of a decision that do not hold, those that decided first."""
    rules = [one for one in decision["rules"] if one["holds"] != "yes"]
    return sorted(rules, key=lambda one: _outcome(one) != decision["outcome"])


def failures(decision: Mapping[str, Any]) -> list[str]:
    """What does not hold, one line a rule."""
    return [
        one["text"] if one["text"].startswith(one["rule"]) else f"{one['rule']}: {one['text']}"
        for one in failed(decision)
    ]


def _outcome(rule: Mapping[str, Any]) -> str:
    return str(rule["otherwise"]) if rule["holds"] == "no" else "undecidable"


def meaning(decision: Mapping[str, Any]) -> str:
    """What the outcome means, and how many users it would take where there were too few."""
    text = MEANING[decision["outcome"]]
    if decision["users_needed"]:
        text = f"{text} About {decision['users_needed']:,} users would be enough."
    return text
