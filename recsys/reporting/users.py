"""Real users for a report: a choice that no result can influence, and what each model recommended
to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.data.schema import Fold, View
from falconer.pipelines.errors import ArtifactError
from falconer.recsys.judging.config import UserNames

SEED = 0
N_USERS = 10
N_HISTORY = 12
N_CHOSEN = 12
N_LISTED = 10

RULE = (
    "These users were chosen by their ids alone, never by a result: of all users with a history "
    "and at least one relevant item in the catalogue, those for whom the sha256 of "
    f"\u201c{SEED}:<user id>\u201d comes first."
)


def explorer_rule(n: int) -> str:
    """The same in words for the users of the explorer."""
    return (
        f"By the same rule, up to {n} users are in this page; "
        "a page with all of them would be too large."
    )


@dataclass(frozen=True)
class PastItem:
    """An item of a history: how often it occurs there, and the day (UTC) it last did, where the
    data has times."""

    label: str
    times: int
    last: str | None


@dataclass(frozen=True)
class ListedItem:
    """A recommended item, and whether it is relevant: the user then chose it, and the view counts
    it."""

    label: str
    hit: bool


@dataclass(frozen=True)
class Lists:
    """One view's lists for one user: a model's label -> its first items; empty where it gave no
    list."""

    view: View
    by_label: Mapping[str, tuple[ListedItem, ...]]

    def hits(self, label: str) -> int:
        """Number of hits in that model's list."""
        return sum(item.hit for item in self.by_label[label])


@dataclass(frozen=True)
class Example:
    """One user: the recent history (newest first, each item once), what came next, and every
    model's lists."""

    label: str
    n_events: int
    n_distinct: int
    history: tuple[PastItem, ...]
    n_chosen: int
    n_outside: int
    chosen: tuple[str, ...]
    lists: tuple[Lists, ...]


def examples(
    data: Dataset,
    fold: Fold,
    files: Mapping[View, Mapping[str, Path]],
    *,
    n: int = N_USERS,
    names: UserNames = "own",
) -> tuple[Example, ...]:
    """The first `n` users that `RULE` chooses. `files` holds view -> a model's label -> its
    `recommendations.parquet`. With pseudonyms the label of a user is its place in the choice.

    Raises `ArtifactError` where such a file is missing, damaged or lacks a column.
    """
    queries, truth, keys = data.queries(fold), data.truth(fold), data.query_keys(fold)
    rows = choose(keys, eligible=(queries.history.lengths > 0) & (truth.items.lengths > 0), n=n)
    chosen_keys = keys.take(pa.array(rows, pa.int64()))
    lists = {
        view: {label: read_lists(path, chosen_keys) for label, path in by_label.items()}
        for view, by_label in files.items()
    }
    catalogue = _Catalogue(data)
    found = []
    for place, (row, key) in enumerate(zip(rows, chosen_keys.to_pylist(), strict=True), start=1):
        past, following = queries.history[row].astype(np.int64), truth.items[row].astype(np.int64)
        history = _history(past, _times(queries, row), catalogue)
        found.append(
            Example(
                label=(
                    f"user {place}"
                    if names == "pseudonyms"
                    else _user_label(data, int(queries.user[row]), key)
                ),
                n_events=len(past),
                n_distinct=len(history),
                history=history[:N_HISTORY],
                n_chosen=len(following),
                n_outside=int(truth.n_outside[row]),
                chosen=tuple(catalogue.labels[item] for item in following[:N_CHOSEN]),
                lists=tuple(
                    Lists(view, _marked(by_label, key, relevant(view, following, past), catalogue))
                    for view, by_label in lists.items()
                ),
            )
        )
    return tuple(found)


def choose(keys: pa.Array, *, eligible: NDArray[np.bool_], n: int = N_USERS) -> list[int]:
    """The rows of the first `n` eligible keys that `RULE` chooses, in its order."""
    ranked = sorted((_hash(keys[int(row)].as_py()), int(row)) for row in np.flatnonzero(eligible))
    return [row for _, row in ranked[:n]]


def _hash(key: Any) -> str:
    return hashlib.sha256(f"{SEED}:{key}".encode()).hexdigest()


def read_lists(path: Path, keys: pa.Array) -> dict[Any, list[Any]]:
    """User -> the first items, best first, of those users of a `recommendations.parquet` that are
    in `keys`.

    Raises `ArtifactError` where the file is missing, damaged or lacks a column.
    """
    try:
        users = keys.cast(pq.read_schema(path).field("user").type)
        wanted = pc.field("user").isin(users)
        table = parquet.read_where(path, ["user", "item", "rank"], wanted)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{path}: missing or damaged ({error}); write it anew with `falconer recommend`"
        ) from error
    lists: dict[Any, list[Any]] = {user: [] for user in users.to_pylist()}
    for row in table.sort_by("rank").to_pylist():
        lists[row["user"]].append(row["item"])
    return {
        key: items[:N_LISTED] for key, items in zip(keys.to_pylist(), lists.values(), strict=True)
    }


def relevant(view: View, following: NDArray[np.int64], past: NDArray[np.int64]) -> set[int]:
    """The items that came next and count in this view."""
    if view == "repeat":
        return set(np.intersect1d(following, past).tolist())
    if view == "novel":
        return set(np.setdiff1d(following, past).tolist())
    return set(following.tolist())


class _Catalogue:
    """Labels of items by item id, and item ids by the source's own id."""

    def __init__(self, data: Dataset) -> None:
        keys = data.items.column("key").to_pylist()
        labels = data.items.column("label").to_pylist()
        self.labels = [_text(label, key) for label, key in zip(labels, keys, strict=True)]
        self.ids = {key: row for row, key in enumerate(keys)}


def _text(label: Any, key: Any) -> str:
    """A label to print; the source's own id where there is none."""
    return str(key) if label is None or not str(label).strip() else str(label)


def _user_label(data: Dataset, user: int, key: Any) -> str:
    return str(key) if user < 0 else _text(data.users.column("label")[user].as_py(), key)


def _times(queries: Queries, row: int) -> NDArray[np.int64] | None:
    return None if queries.history_times is None else queries.history_times[row].astype(np.int64)


def _history(
    past: NDArray[np.int64], times: NDArray[np.int64] | None, catalogue: _Catalogue
) -> tuple[PastItem, ...]:
    """Distinct items, last occurrence first."""
    items, from_end, counts = np.unique(past[::-1], return_index=True, return_counts=True)
    newest = np.argsort(from_end)
    days = [None if times is None else _day(int(times[::-1][place])) for place in from_end]
    return tuple(
        PastItem(catalogue.labels[items[place]], int(counts[place]), days[place])
        for place in newest
    )


def _day(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).date().isoformat()


def _marked(
    by_label: Mapping[str, Mapping[Any, list[Any]]], key: Any, hits: set[int], catalogue: _Catalogue
) -> dict[str, tuple[ListedItem, ...]]:
    """Each model's list for one user; an item that the catalogue lacks shows its own id and is no
    hit."""

    def listed(item: Any) -> ListedItem:
        number = catalogue.ids.get(item)
        return ListedItem(str(item) if number is None else catalogue.labels[number], number in hits)

    return {label: tuple(listed(item) for item in lists[key]) for label, lists in by_label.items()}
