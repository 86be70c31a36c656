"""Rows that a recommender logged where it chose by chance: who was shown what, with which
probability, and what came of it.

    [logged]
    events = "shown/*.csv"
    columns = { user = "customer", item = "sku", time = "at", reward = "clicked", propensity = "p" }

Only rows of the test window are of use: they say what a model's lists would have earned there.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from pydantic import Field, model_validator

from falconer.pipelines.config import Config
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.common_ids import id_type, whole
from falconer.pipelines.etl.contract import (
    Checked,
    ContractConfig,
    Rules,
    check_table,
    counts_of,
)
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.sources.declared import Paths, TimeUnit
from falconer.pipelines.etl.sources.files import paths_of, stack
from falconer.pipelines.etl.sources.tables import check_file, read_table
from falconer.pipelines.etl.split.parts import FoldRule, written

NAME = "logged"
END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)
"""The window says which rows count, and never the clock."""


class LoggedColumns(Config):
    """The files' own names of the columns."""

    user: str
    item: str
    time: str
    reward: str
    """A number, such as 1 for a click and 0 for none."""
    propensity: str
    """With which probability this item was chosen for this place: above 0, at most 1."""

    @model_validator(mode="after")
    def _differ(self) -> LoggedColumns:
        names = [name for _, name in self]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two of them cannot be the column {twice[0]!r}")
        return self


class LoggedConfig(Config):
    """Files with one row for each item that was shown; they are written as source.events may be."""

    events: Paths
    columns: LoggedColumns
    time_unit: TimeUnit = "s"
    separator: str | None = Field(default=None, pattern=r"^([\t -~]|[!-~]{2,4})$")
    """Of text files; None means comma for .csv and tab for .tsv, .txt, .dat and .inter."""

    def files(self) -> dict[str, Path]:
        """Name -> path of every file; `DataError` where one is absent or empty."""
        paths = paths_of("logged.events", self.events)
        for path in paths:
            check_file(path)
        return {path.as_posix(): path for path in paths}

    def read(self) -> Raw:
        """All rows as `events`, as they are in the files."""
        paths = paths_of("logged.events", self.events)
        columns = dict(self.columns)
        each = [read_table(path, columns, separator=self.separator, quote='"') for path in paths]
        table = stack(paths, each)
        heights = [(path.as_posix(), one.height) for path, one in zip(paths, each, strict=True)]
        return Raw(
            events=table.rows,
            time_unit=self.time_unit,
            files=tuple(heights),
            malformed={NAME: table.malformed} if table.malformed.height else {},
        )


def with_logged(
    checked: Checked, config: LoggedConfig, contract: ContractConfig, rule: FoldRule
) -> tuple[Checked, dict[str, int]]:
    """`checked` with the logged rows of the fold's window, and with the bad rows among all that
    were logged set aside; and how many there were of each.

    Raises `DataError` as `contract.check` does, and where ids are not of the events' type.
    """
    assert rule.asked_at is not None
    assert rule.until is not None
    raw = config.read()
    rules = Rules(required=("reward", "propensity"), chances=("propensity",))
    endless = contract.model_copy(update={"latest": END_OF_TIME})
    part = check_table(NAME, raw.events, raw, endless, rules)
    rows = _with_ids_of(checked.raw.events, part.kept)
    inside = rows.filter(pl.col("time") >= rule.asked_at, pl.col("time") < rule.until)
    notes = checked.raw.notes if inside.height else (*checked.raw.notes, _no_rows(rows, rule))
    found = replace(
        checked,
        raw=replace(checked.raw, logged=inside, notes=notes),
        rejected=checked.rejected | ({NAME: part.rejected} if part.rejected.height else {}),
    )
    return found, counts_of(NAME, part) | {
        "logged outside the test window": rows.height - inside.height,
        "logged_rows": inside.height,
    }


def _no_rows(rows: pl.DataFrame, rule: FoldRule) -> str:
    """What a reader must know where no row is of the window."""
    assert rule.asked_at is not None
    assert rule.until is not None
    window = f"from {written(rule.asked_at)} to before {written(rule.until)}"
    times = rows["time"].to_numpy()
    there = f", only from {written(times.min())} to {written(times.max())}" if len(times) else ""
    return f"Nothing was logged in the test window, {window}{there}: no off-policy estimate."


def _with_ids_of(events: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, with ids of the types that the events have."""
    for kind in ("user", "item"):
        try:
            dtype = id_type(kind, events.schema[kind], all_whole=whole(rows[kind]))
        except DataError as error:
            raise DataError(
                f"logged: {kind} ids are text, and those of the events are whole numbers; write "
                "both alike, or set source.types"
            ) from error
        rows = rows.with_columns(pl.col(kind).cast(dtype))
    return rows


def rows_of(logged: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    """The rows as the dataset has them, beside queries of the users `keys`."""
    queries = pl.DataFrame({"user": keys}).with_row_index("query")
    rows = logged.join(queries, on="user", maintain_order="left").sort("query", maintain_order=True)
    return rows.select(
        pl.col("query").cast(pl.Int32), "time", "reward", "propensity", item="item_id"
    )
