"""What a recipe says of anybody's files: which column means what."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, model_validator

from falconer.pipelines.config import Config

TIME_UNITS = ("s", "ms", "us", "ns", "iso")


def _features(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a feature is named twice")
    return names


Features = Annotated[tuple[str, ...], AfterValidator(_features)]


def _known_unit(unit: str) -> str:
    if "%Z" in unit:
        raise ValueError(
            "%Z: names of zones are not read; use %z for an offset such as +0100, or write a "
            "name that never changes, like UTC, as it is"
        )
    if unit not in TIME_UNITS and "%" not in unit:
        raise ValueError(
            f"must be one of {', '.join(TIME_UNITS)}, or a format such as '%d/%m/%Y %H:%M'"
        )
    return unit


TimeUnit = Annotated[str, AfterValidator(_known_unit)]


class Columns(Config):
    """The files' own names of the event columns. Only for the task `labels` may `user` and `item`
    be left out."""

    user: str | None = None
    item: str | None = None
    time: str | None = None
    rating: str | None = None
    weight: str | None = None
    label: str | None = None
    """0 or 1, or a number: what the task `labels` is to tell."""


class EntityTable(Config):
    """A table with one row a user or item: `key` is the id that events use, `label` a name that
    people read."""

    path: str
    key: str
    label: str | None = None
    features: Features = ()


Paths = str | tuple[str, ...]
"""One path, a glob, or a list of them."""


class PartFiles(Config):
    """Event files of validation and test, beside `events`, which is then train; and of what is
    known of the users who are asked for, where that is not in train (fold-in)."""

    valid: Paths | None = None
    test: Paths
    valid_history: Paths | None = None
    test_history: Paths | None = None

    @model_validator(mode="after")
    def _history_of_something(self) -> PartFiles:
        if self.valid_history is not None and self.valid is None:
            raise ValueError("valid_history needs a valid, the events that are asked for")
        return self
