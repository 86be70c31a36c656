"""The table of split protocols: each assigns every event to one part. Adding a protocol = a config,
a function, a table row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from falconer.pipelines.etl.split.by_chance import held_out_users, random
from falconer.pipelines.etl.split.by_time import rolling, temporal
from falconer.pipelines.etl.split.by_user import last_sessions, leave_last, user_share
from falconer.pipelines.etl.split.config import (
    Given,
    GivenCandidates,
    HeldOutUsers,
    LastSessions,
    LeaveLast,
    Random,
    Rolling,
    Temporal,
    UserShare,
)
from falconer.pipelines.etl.split.facts import Facts
from falconer.pipelines.etl.split.given import given, given_candidates
from falconer.pipelines.etl.split.parts import Assignment

Protocol = Callable[[Any, pl.DataFrame, Facts, pl.DataFrame | None], Assignment]
"""(config, events in order, facts of all events, candidates that the source gave) -> assignment."""

PROTOCOLS: Mapping[type[Any], Protocol] = {
    Temporal: temporal,
    Rolling: rolling,
    LeaveLast: leave_last,
    UserShare: user_share,
    LastSessions: last_sessions,
    HeldOutUsers: held_out_users,
    Random: random,
    Given: given,
    GivenCandidates: given_candidates,
}
