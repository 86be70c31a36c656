"""What a protocol must know of all events before it can assign any: gathered from parts of the
events, each user's in one part, and put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.split.config import (
    ByTime,
    HeldOutUsers,
    Rolling,
    SplitBase,
    Temporal,
    in_seconds,
)
from falconer.pipelines.etl.split.hashes import text_hashes
from falconer.pipelines.etl.split.parts import mixed


@dataclass(frozen=True)
class Facts:
    """`last` time in seconds (None without times); the `times` in order with their number of events
    `n`, where the protocol parts by time, with one row for all before `_counted_from`; the `users`
    who may be held out, in the order of `chance`, and how many there are."""

    last: int | None = None
    times: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    n_users: int = 0


def facts_of(config: SplitBase, events: pl.DataFrame) -> Facts:
    """The facts of these events, which are in order, that the protocol needs."""
    last = events["time"].to_numpy().max() if "time" in events.columns and len(events) else None
    times = users = None
    n_users = 0
    if isinstance(config, ByTime) and last is not None:
        each = events["time"].rle().struct.unnest().select(time="value", n="len")
        times = _shortened(each, config, int(last))
    if isinstance(config, HeldOutUsers):
        enough = events.group_by("user").len().filter(pl.col("len") >= 2)["user"]
        n_users = len(enough)
        if config.is_given:
            enough = enough.filter(enough.cast(pl.String).is_in(_wanted(config)))
        chance = pl.Series("chance", mixed(text_hashes(enough), config.seed), dtype=pl.UInt64)
        users = _first(pl.DataFrame([enough, chance]), config)
    return Facts(None if last is None else int(last), times, users, n_users)


def together(config: SplitBase, parts: Iterable[Facts]) -> Facts:
    """The facts of all events; there is a part."""
    whole, *rest = parts
    for part in rest:
        lasts = [one for one in (whole.last, part.last) if one is not None]
        times, users = whole.times, whole.users
        if isinstance(config, ByTime) and times is not None and part.times is not None:
            times = _shortened(_merged(times, part.times), config, max(lasts))
        if isinstance(config, HeldOutUsers) and users is not None and part.users is not None:
            users = _first(pl.concat([users, part.users]), config)
        whole = Facts(max(lasts, default=None), times, users, whole.n_users + part.n_users)
    return whole


def _counted_from(config: ByTime, last: int) -> int | None:
    """The first second whose own count a boundary may ask for, as the last event's is known so far;
    None: each. Of what is before, the number and the latest are enough."""
    if isinstance(config, Rolling):
        return last + 1 - (config.window + 1) * in_seconds(config.days)
    if isinstance(config, Temporal) and config.test_share is None:
        return last + 1 - (0 if config.test_from else in_seconds(config.test_days))
    return None


def _shortened(times: pl.DataFrame, config: ByTime, last: int) -> pl.DataFrame:
    """The counts, with one row for all that need none of their own: memory does not grow with the
    time that the events span."""
    since = _counted_from(config, last)
    n = 0 if since is None else int(np.searchsorted(times["time"].to_numpy(), since))
    before = times.head(n).select(pl.col("time").last(), pl.col("n").sum())
    return pl.concat([before, times[n:]]) if n else times


def _merged(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Both counts as one, in order of time, which takes less memory than a hash table does."""
    both = one.merge_sorted(other, "time").with_columns(pl.col("time").set_sorted())
    return both.group_by("time", maintain_order=True).agg(pl.col("n").sum())


def _first(users: pl.DataFrame, config: HeldOutUsers) -> pl.DataFrame:
    """As many as can be held out; all where shares of their number are wanted."""
    ordered = users.sort("chance", "user")
    if config.test_users is None or config.valid_users is None:
        return ordered
    return ordered.head(config.test_users + config.valid_users)


def _wanted(config: HeldOutUsers) -> list[str]:
    return [*(config.test_user_ids or ()), *(config.valid_user_ids or ())]


def numbers_of(config: HeldOutUsers, n_users: int) -> tuple[int, int]:
    """Test and validation users."""
    if config.test_users is not None and config.valid_users is not None:
        return config.test_users, config.valid_users
    shares = (config.test_users_share or 0.0, config.valid_users_share or 0.0)
    n_test, n_valid = (max(round(share * n_users), int(share > 0)) for share in shares)
    return n_test, n_valid


def last_time(facts: Facts, protocol: str) -> int:
    """Time of the last event; raises `DataError` where the source has no times."""
    if facts.last is None:
        raise DataError(
            f"split {protocol} needs times, and the source has none; name its time column, or use "
            "leave_last, user_share, held_out_users or random"
        )
    return facts.last


def from_share(facts: Facts, share: float) -> int:
    """The first time after which at most this share of the events lies, that time included."""
    assert facts.times is not None
    times = facts.times["time"].to_numpy()
    ends = np.cumsum(facts.times["n"].to_numpy().astype(np.int64))
    total, wanted = int(ends[-1]), round(share * int(ends[-1]))
    place = int(np.searchsorted(ends, total - wanted, side="right"))
    if place == len(times):
        return int(times[-1]) + 1
    later = total - (int(ends[place - 1]) if place else 0)
    return int(times[place]) + (later > wanted)
