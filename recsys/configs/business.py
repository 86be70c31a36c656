"""Business rules as data: which items no list may hold, and how many of a kind one list may
hold."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from falconer.pipelines.config import Config


class BusinessRules(Config):
    """What lists must keep to, besides what the model says."""

    deny: Path | None = None
    """A text file of items' own ids, one a line, that no list may hold."""
    fresh_days: float | None = Field(default=None, gt=0)
    """Items without an event in so many days before the lists are made are left out."""
    at_most: dict[str, int] = Field(default_factory=dict)
    """Categorical feature of items -> so many of one category in a list; items of unknown category
    are not counted."""
