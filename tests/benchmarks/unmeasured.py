"""Peers that this process could not measure, which `make bench` names at its end."""

from __future__ import annotations

import math
from pathlib import Path

REASONS: dict[str, str] = {}


def note(peer: str, reason: str) -> None:
    """Remember a peer; the first reason is kept."""
    REASONS.setdefault(peer, reason)


def note_ended(peer: str, errors: Path) -> None:
    """Remember a peer whose process ended before it answered; `errors` holds what it said."""
    said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    note(peer, f"it ended at once: {said[-1] if said else 'without a word'}")


def summary() -> list[str]:
    """What is printed at the end."""
    if not REASONS:
        return ["none was left out"]
    return [f"not measured: {peer}: {reason}" for peer, reason in sorted(REASONS.items())]


class Absent:
    """Stands for a peer that is not there: every figure of it is NaN, and so are ratios to it."""

    parameters = math.nan

    def samples_per_second(self, expected: int) -> float:
        """No number."""
        return math.nan
