"""Whose answers are judged, and what is known of them before they are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from falconer.recsys.judging.reads import Reads


@dataclass(frozen=True)
class Subject:
    """A run, or a file from elsewhere, whose answers are to be judged.

    `cost` holds the seconds that are known; `warnings` what a reader must know of the data and the
    run; `reads` how often the test fold was looked at, None on another fold; `answers` is the
    sha256 of the file of lists or predictions; `by_popularity` the number of questions that the
    model could not answer itself, where that is known; `protocol` what is particular to how it was
    trained, in words; `knobs` those of the run that differ from its recipe.
    """

    label: str
    run: str | None = None
    model: str | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reads: Reads | None = None
    answers: str | None = None
    by_popularity: int | None = None
    protocol: Mapping[str, str] = field(default_factory=dict)
    knobs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run's name, or else the label."""
        return self.run or self.label
