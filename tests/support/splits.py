"""A configuration of every split protocol, and small tables of events."""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import TypeAdapter

from falconer.pipelines.etl.split import SplitConfig

DAY = 86_400
CONFIGS: dict[str, dict[str, Any]] = {
    "temporal": {"protocol": "temporal", "test_days": 3, "valid_days": 2},
    "temporal without validation": {"protocol": "temporal", "test_days": 3, "valid_days": 0},
    "rolling": {"protocol": "rolling", "days": 2, "windows": 3, "window": 1},
    "leave_last": {"protocol": "leave_last"},
    "held_out_users": {
        "protocol": "held_out_users",
        "valid_users": 1,
        "test_users": 2,
        "given_share": 0.5,
    },
    "held_out_users by time": {
        "protocol": "held_out_users",
        "valid_users": 1,
        "test_users": 1,
        "given_by": "time",
    },
    "random": {"protocol": "random", "test_share": 0.3, "valid_share": 0.2, "seed": 5},
    "temporal first": {"protocol": "temporal", "test_days": 3, "valid_days": 2, "targets": "first"},
    "temporal last": {"protocol": "temporal", "test_days": 3, "valid_days": 2, "targets": "last"},
    "temporal, own last for validation": {
        "protocol": "temporal",
        "test_days": 3,
        "targets": "last",
        "valid_by": "last_event",
    },
    "leave two out": {"protocol": "leave_last", "test_events": 2, "valid_events": 1},
    "leave one out without validation": {"protocol": "leave_last", "valid_events": 0},
    "user_share": {"protocol": "user_share"},
    "user_share without validation": {"protocol": "user_share", "valid_share": 0},
    "user_share by chance": {"protocol": "user_share", "by": "random", "seed": 3},
    "last_sessions": {"protocol": "last_sessions", "gap_minutes": 600},
    "held_out_users by share": {
        "protocol": "held_out_users",
        "test_users_share": 0.3,
        "valid_users_share": 0.2,
    },
    "given": {"protocol": "given"},
    "given_candidates": {"protocol": "given_candidates"},
}
BY_CHANCE = (
    "held_out_users",
    "held_out_users by share",
    "random",
    "user_share by chance",
    "given",
)
BY_TIME = [name for name in CONFIGS if name not in BY_CHANCE]
"""Protocols that promise that a history is no later than its truth."""
ADAPTER: TypeAdapter[Any] = TypeAdapter(SplitConfig)


def frame(rows: list[tuple[int, int, int]], *, times: bool = True) -> pl.DataFrame:
    user, item, time = zip(*rows, strict=True)
    columns = {"ordinal": range(len(rows)), "user": user, "item": item} | (
        {"time": time} if times else {}
    )
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Int64))
