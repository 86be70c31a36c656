"""Configuration of the split protocols, told apart by the key `protocol`."""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from falconer.pipelines.config import Config
from falconer.pipelines.data.schema import View
from falconer.pipelines.etl.split.listed import read_ids
from falconer.pipelines.etl.split.parts import Assignment
from falconer.pipelines.plugin_configs import PluginConfig, open_to

Share = Annotated[float, Field(gt=0, lt=1)]
SECONDS_PER_DAY = 86_400
MOST_DAYS = 1_000_000
"""More than any source spans."""


def _listed(given: object) -> object:
    """Ids as text, from a list or from the file that a text names; `ValueError` where it cannot be
    read."""
    if isinstance(given, list | tuple):
        return tuple(str(one) if type(one) is int else one for one in given)
    return read_ids(Path(given)) if isinstance(given, str) else given


UserIds = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Users, by their ids as text."""


class SplitBase(Config):
    """What every protocol shares."""

    views: tuple[View, ...] | None = None
    """Which views a report shows; None = only `novel` where under 1 % of the events repeat a
    user's item, else all three. The first one is what models are selected on."""


Targets = Literal["all", "first", "last"]


class ByTime(SplitBase):
    """What the protocols of global time share."""

    targets: Targets = "all"
    """Which events of a user in a fold's span are asked for: all; the first, and what follows is
    dropped; the last, and what precedes it is history."""
    valid_by: Literal["time", "last_event"] = "time"
    """time: the span before test. last_event: each user's last event before test, of users who have
    two or more."""


class Temporal(ByTime):
    """Global time: test is what happened last, validation what happened just before, train all that
    is earlier.

    The boundaries are counted back from the last event, or given. A query's history is all that was
    known at its fold's boundary.
    """

    protocol: Literal["temporal"]
    test_days: float = Field(default=28, gt=0, le=MOST_DAYS)
    valid_days: float = Field(default=28, ge=0, le=MOST_DAYS)
    """0 = no validation fold."""
    test_share: float | None = Field(default=None, gt=0, lt=1)
    """The share of the events that test holds, instead of days: the boundary is between the times
    of two events, so that a share may come out a little smaller."""
    valid_share: float | None = Field(default=None, ge=0, lt=1)
    test_from: datetime | date | None = None
    """First instant of test, UTC where no zone is given; replaces `test_days`."""
    valid_from: datetime | date | None = None
    """First instant of validation; replaces `valid_days`."""
    until: datetime | date | None = None
    """What happens from this instant on is dropped; None = nothing. Needs `test_from`."""

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Temporal:
        if self.until is not None and (
            self.test_from is None or seconds(self.until) <= seconds(self.test_from)
        ):
            raise ValueError("until needs a test_from, which must be earlier")
        return self

    @model_validator(mode="after")
    def _one_measure(self) -> Temporal:
        if (self.test_share is None) != (self.valid_share is None):
            raise ValueError(
                "test_share and valid_share go together; valid_share = 0: no validation"
            )
        if self.test_share is None or self.valid_share is None:
            return self
        if self.test_share + self.valid_share >= 1:
            raise ValueError("test_share and valid_share leave nothing for train")
        others = {"test_days", "valid_days", "test_from", "valid_from"} & self.model_fields_set
        if any(getattr(self, name) is not None for name in others):
            raise ValueError(f"shares stand instead of {', '.join(sorted(others))}")
        return self

    @model_validator(mode="after")
    def _one_validation(self) -> Temporal:
        spans = {name for name in ("valid_days", "valid_from") if name in self.model_fields_set}
        if self.valid_by == "last_event" and (spans or self.valid_share):
            raise ValueError(
                "valid_by = 'last_event' needs no span: leave out valid_days and valid_from, and "
                "set valid_share = 0 beside a test_share"
            )
        return self

    @model_validator(mode="after")
    def _in_order(self) -> Temporal:
        if (
            self.valid_from is not None
            and self.test_from is not None
            and seconds(self.valid_from) > seconds(self.test_from)
        ):
            raise ValueError("valid_from must not be later than test_from")
        return self


class Rolling(ByTime):
    """The rule of `temporal` with moved boundaries: `windows` test spans of `days` each, one
    dataset for one of them.

    Window 0 is the newest and ends with the last event; window w ends w * days earlier, and what is
    later is dropped.
    """

    protocol: Literal["rolling"]
    days: float = Field(default=7, gt=0, le=MOST_DAYS)
    windows: int = Field(default=4, ge=1)
    window: int = Field(default=0, ge=0)
    valid_days: float | None = Field(default=None, ge=0, le=MOST_DAYS)
    """Length of the validation span before the test span; None = `days`, 0 = no validation fold."""

    @model_validator(mode="after")
    def _exists(self) -> Rolling:
        if self.window >= self.windows:
            raise ValueError(
                f"window {self.window} does not exist: windows = {self.windows} means 0 to "
                f"{self.windows - 1}"
            )
        return self


class LeaveLast(SplitBase):
    """Leave one out, or leave k out: a user's last events are test, those before validation; users
    with too few for one in train as well stay in train."""

    protocol: Literal["leave_last"]
    test_events: int = Field(default=1, ge=1)
    """Of each user."""
    valid_events: int = Field(default=1, ge=0)
    """Of each user; 0 = no validation fold."""


class UserShare(SplitBase):
    """A share of each user's own events is test, another one validation."""

    protocol: Literal["user_share"]
    test_share: Share = 0.2
    valid_share: float = Field(default=0.1, ge=0, lt=1)
    """0 = no validation fold."""
    by: Literal["time", "random"] = "time"
    """Which events are test: the user's last ones, validation those before; or a choice by
    `seed`."""
    seed: int = 0

    @model_validator(mode="after")
    def _leaves_train(self) -> UserShare:
        if self.test_share + self.valid_share >= 1:
            raise ValueError("test_share and valid_share leave nothing for train")
        return self


class LastSessions(SplitBase):
    """A user's last sessions are test, those before validation. A session ends where the user does
    nothing for `gap_minutes`."""

    protocol: Literal["last_sessions"]
    gap_minutes: float = Field(default=30, gt=0, le=MOST_DAYS * 24 * 60)
    test_sessions: int = Field(default=1, ge=1)
    """Of each user."""
    valid_sessions: int = Field(default=1, ge=0)
    """Of each user; 0 = no validation fold."""


class HeldOutUsers(SplitBase):
    """Fold-in: some users are kept out of train; part of their events is given as history, the rest
    is asked for.

    Only users with two events or more can be held out; each keeps at least one event on either
    side.
    """

    protocol: Literal["held_out_users"]
    valid_users: int | None = Field(default=None, ge=0)
    """0 = no validation fold."""
    test_users: int | None = Field(default=None, ge=1)
    valid_users_share: float | None = Field(default=None, ge=0, lt=1)
    """Instead of a number: of the users with two events or more; 0 = no validation fold."""
    test_users_share: Share | None = None
    valid_user_ids: UserIds | None = None
    """Instead of a number: who. A list, or a text file with an id a line; none = no validation
    fold."""
    test_user_ids: UserIds | None = None
    given_share: Share = 0.8
    given_by: Literal["random", "time"] = "random"
    """Which events are given: a random choice by `seed`, or the earliest."""
    seed: int = 0

    @property
    def is_given(self) -> bool:
        """Whether the recipe says who is held out."""
        return self.test_user_ids is not None

    @model_validator(mode="after")
    def _ids_go_alone(self) -> HeldOutUsers:
        if self.test_user_ids is None:
            if self.valid_user_ids is not None:
                raise ValueError("valid_user_ids need test_user_ids")
            return self
        if not self.test_user_ids:
            raise ValueError("test_user_ids names nobody")
        others = (
            *(self.test_users, self.valid_users, self.test_users_share),
            self.valid_users_share,
        )
        if any(other is not None for other in others):
            raise ValueError("test_user_ids stand instead of numbers and shares: leave these out")
        twice = sorted({*self.test_user_ids} & {*(self.valid_user_ids or ())})
        if twice:
            raise ValueError(f"{twice[0]!r} is in test_user_ids and in valid_user_ids")
        return self

    @model_validator(mode="after")
    def _one_measure(self) -> HeldOutUsers:
        if self.is_given:
            return self
        numbers = (self.test_users, self.valid_users)
        shares = (self.test_users_share, self.valid_users_share)
        if sorted(one.count(None) for one in (numbers, shares)) != [0, 2]:
            raise ValueError(
                "test_users and valid_users are wanted, or else test_users_share and "
                "valid_users_share, or test_user_ids"
            )
        if sum(one for one in shares if one is not None) >= 1:
            raise ValueError("test_users_share and valid_users_share leave nobody for train")
        return self


class Random(SplitBase):
    """Each event falls into test or validation by chance, whatever its time."""

    protocol: Literal["random"]
    test_share: Share = 0.1
    valid_share: float = Field(default=0.1, ge=0, lt=1)
    """0 = no validation fold."""
    seed: int = 0

    @model_validator(mode="after")
    def _leaves_train(self) -> Random:
        if self.test_share + self.valid_share >= 1:
            raise ValueError("test_share and valid_share leave nothing for train")
        return self


class Given(SplitBase):
    """The source names files for each part (`source.parts`): nothing is drawn or cut here.

    A history is what the user has in train and in the part's own history file; that of test holds
    the user's validation events too.
    """

    protocol: Literal["given"]
    shared_events: Literal["refuse", "keep"] = "refuse"
    """What to do where an event (user, item, time) of test or validation is in another part too."""


class GivenCandidates(SplitBase):
    """The source names each user's held-out item and the items it is ranked among: metrics are
    sampled metrics."""

    protocol: Literal["given_candidates"]
    valid_last: bool = True
    """Keep each user's last remaining event for validation, ranked in the whole catalogue."""


class SplitPlugin(SplitBase, PluginConfig):
    """A protocol of another package: an entry point of the group "falconer.splits", or `protocol =
    "mypackage.toy:SPLIT"` under [split].

    Subclass it with a field for each key of [split]. Its datasets are of the task `top_n`.
    """

    protocol: str

    @abstractmethod
    def assign(self, events: pl.DataFrame, candidates: pl.DataFrame | None) -> Assignment:
        """The part of each event, and how the folds' queries are made.

        `events` are in order and have the columns of `Raw.events` after the check, and
        `event_hash` uint64, which a protocol by chance should take its numbers from
        (`falconer.pipelines.etl.split.parts.mixed`): then the order of the rows decides nothing.
        """


OWN = (
    *(Temporal, Rolling, LeaveLast, UserShare, LastSessions, HeldOutUsers, Random),
    *(Given, GivenCandidates),
)
SplitConfig = Annotated[
    Temporal
    | Rolling
    | LeaveLast
    | UserShare
    | LastSessions
    | HeldOutUsers
    | Random
    | Given
    | GivenCandidates,
    Field(discriminator="protocol"),
    open_to("falconer.splits", key="protocol", own=OWN, base=SplitPlugin),
    SerializeAsAny(),
]


def seconds(moment: datetime | date) -> int:
    """Seconds since 1970 UTC; a moment without a zone counts as UTC, a date as its first
    instant."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def in_seconds(days: float) -> int:
    """Seconds; what is asked for is never rounded to nothing."""
    return max(round(days * SECONDS_PER_DAY), 1) if days else 0
