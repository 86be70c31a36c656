"""The dataset directory's card (`dataset.json`): what is in it, how it came to be, and its three
identities.

data/<name>/<dataset_id>/
    dataset.json
    train/part-00000.parquet     user int32, item int32, ordinal int64 [, time int64, rating
                                 float32, weight float32,
                                 label float32, event features]; ordered by time at the
                                 source's full resolution, then ordinal
    refit/valid.parquet          the validation events of known users and items, with the columns
                                 of train: for a model that is fitted anew on both
    queries/{valid,test}.parquet user int32 (-1 unknown), user_key, history list<int32> [,
    history_times list<int64>,
                                 time int64, candidates list<int32>, user features where the
                                 users table has users who are not in train]
    truth/{valid,test}.parquet   items list<int32>, n_outside int64; row by row beside queries
    pairs/{valid,test}.parquet   user int32, item int32 (-1 unknown), ordinal int64 [, user_key,
                                 time int64, event features, user features as in queries]
    labels/{valid,test}.parquet  label float32; row by row beside pairs
    logged/test.parquet          query int32 (a row of queries/test), item int32 (-1 not in the
                                 catalogue), time int64, reward and propensity float64; by query
    users.parquet items.parquet  id int32 (0..n-1), key (the source's own id), label string, encoded
                                 features
    vocab/{user,item}.parquet    id int32, value, generation int32, frequency int64
    encoder/                     encoder.json, vocab-<feature>.parquet, table-<feature>.parquet: the
                                 fitted statistics
    events/{train,valid,test}.parquet  hash uint64: a sample of the part's events (`overlap`)
    columns.json                 what the columns of the events hold, after cleaning
    append/                      where days can be appended: `held.parquet`, `days.parquet` and
                                 `state.json`
    layers/                      of an appended day: tables as changes of an earlier dataset's
                                 (`layers`), which are not there by their own name then
    rejected/<table>.parquet     each refused row as it came, with `reason` and `row` (0-based in
                                 the source)

A feature's column (`Feature.column`) bears its name, behind `feature:` where one of our columns
is called so: a name of the source's never meets one of ours.

A dataset of the task `top_n` has queries and truth, and train events of the catalogue's items only.
One of the task `labels` has pairs and labels, and a label in train; where the source has no users
or no items, these columns are absent, and the vocabulary is empty.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from falconer.pipelines.config import Config
from falconer.pipelines.files import identity_of

FORMAT_VERSION = 2
LAYERED_VERSION = 3
"""Of datasets to which a day was appended: tables in layers, which earlier releases do not read."""

PLAIN_NAME = re.compile(r"[a-z0-9_-]{1,64}")
FEATURE = "feature:"
"""Before the name of a feature that is called as one of our columns, or begins so itself."""
OURS = frozenset(
    {
        *("user", "item", "ordinal", "time", "rating", "weight", "label", "user_key"),
        *("history", "history_times", "candidates", "items", "n_outside", "id", "key"),
    }
)
"""Every column of train, queries, pairs, users and items that is no feature's."""

VALID_EVENTS = "refit/valid.parquet"
LOGGED = "logged/test.parquet"
COLUMNS = "columns.json"
"""Of the events, train and held-out together: types, nulls, distinct values, ranges."""

Fold = Literal["valid", "test"]
TaskName = Literal["top_n", "labels"]
FORMER_TASK = "ranking"
"""What releases before called the task `labels`."""
"""top_n: the best items of the whole catalogue for each query; labels: the label of a given row
(click-through)."""
Target = Literal["binary", "rating"]
"""What the label of a dataset of labels is: 0 or 1, or a number."""
View = Literal["all", "repeat", "novel"]
"""Which relevant items count, and which may be recommended: every item; only items of the user's
history; only items outside it."""


def column_of(name: str) -> str:
    """The column of the feature of that name."""
    return FEATURE + name if name in OURS or name.startswith(FEATURE) else name


def name_of(column: str) -> str:
    """What the source calls a column, which may be a feature's."""
    return column.removeprefix(FEATURE)


def vocabulary_file(name: str) -> str:
    """The file of a feature's categories: its name has the feature's where any file system would
    take that, else a hash of it."""
    return f"encoder/vocab-{_file_name(name)}.parquet"


def table_file(name: str) -> str:
    """The file of what a feature's operator learnt of groups."""
    return f"encoder/table-{_file_name(name)}.parquet"


def _file_name(name: str) -> str:
    return name if PLAIN_NAME.fullmatch(name) is not None else f"name.{identity_of(name)}"


class IdSpace(Config):
    """The vocabularies' lineage: one hash per generation, each of all values up to that generation.

    A later generation only appends, so an id never changes its meaning within a lineage.
    """

    generations: tuple[str, ...] = Field(min_length=1)

    def descends_from(self, other: IdSpace) -> bool:
        """True where `other` is this id space or one of its ancestors."""
        return self.generations[: len(other.generations)] == other.generations


class Feature(Config):
    """One encoded column: `categorical` (int32 ids 0..cardinality-1, -1 unknown or null) or
    `continuous` (float32)."""

    name: str
    table: Literal["event", "user", "item"]
    kind: Literal["categorical", "continuous"]
    cardinality: int | None = None
    lineage: tuple[str, ...] = ()
    """One hash per generation of its encoding: the settings, the statistics, and all categories by
    id up to then. A later generation only appends categories, so an encoded value never changes its
    meaning within a lineage."""

    list: str | None = None
    """The feature of lists that this is a place of; its places have one vocabulary and lineage."""

    @property
    def column(self) -> str:
        """Its column in the dataset's tables."""
        return column_of(self.name)

    @property
    def vocabulary_file(self) -> str:
        """Where a categorical feature's values stand by id, below the dataset's directory."""
        return vocabulary_file(self.list or self.name)

    def descends_from(self, lineage: tuple[str, ...]) -> bool:
        """True where values of this column mean what they mean in a column of `lineage`, or are
        new."""
        return self.lineage[: len(lineage)] == lineage


class SplitCard(Config):
    """How train, validation and test were told apart, in words and numbers that a report can
    print."""

    protocol: str
    parameters: dict[str, Any]
    description: str
    views: tuple[View, ...]
    sampled: bool = False
    targets: str = ""
    """Which of a user's held-out events are asked for; empty in datasets of earlier releases."""
    validation: str = ""
    """How validation is told apart."""

    @property
    def facts(self) -> dict[str, str]:
        """Protocol, targets and validation, as far as they are known, in words."""
        facts = {"split": self.protocol, "targets": self.targets, "validation": self.validation}
        return {name: text for name, text in facts.items() if text}


class DatasetCard(Config):
    """The content of `dataset.json`."""

    format_version: int
    name: str
    task: TaskName
    target: Target | None = None
    """Of the task `labels`; None for `top_n`."""
    dataset_id: str
    id_space: IdSpace
    n_users: int
    n_items: int
    has_time: bool
    features: tuple[Feature, ...]
    split: SplitCard
    counts: dict[str, int]
    """Rows and drops by step, for example `rows_read`, `rejected: user is null`, `train_events`,
    `test_queries`."""
    sources: dict[str, str]
    """File name -> sha256 of every file that was read."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the packages that decided what bytes were written."""
    config: dict[str, Any]
    """The whole ETL recipe without paths, all defaults frozen in; `extends` is a dataset_id."""
    content: dict[str, str]
    """Relative path -> sha256 of every file of the directory but this one."""
    notes: tuple[str, ...] = ()
    """What a reader of a report must know: licence, published protocol, share of test events
    outside the catalogue."""

    @field_validator("content")
    @classmethod
    def _below_the_directory(cls, content: dict[str, str]) -> dict[str, str]:
        for name in content:
            if not {"", ".", ".."}.isdisjoint(name.split("/")):
                raise ValueError(f"{name!r} is no file below the dataset's directory")
        return content
