"""A source, a split protocol and a feature operator of another package."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import Field

from falconer.pipelines.etl.operators import OperatorPlugin
from falconer.pipelines.etl.raw import Raw, with_features
from falconer.pipelines.etl.sources import SourcePlugin
from falconer.pipelines.etl.split.config import SplitPlugin
from falconer.pipelines.etl.split.parts import Assignment, FoldRule, Part


class Receipts(SourcePlugin):
    """Lines of `user item item ...`: what somebody bought, one receipt after the other."""

    path: Path

    def files(self):
        """The one file."""
        return {self.path.name: self.path}

    def read(self):
        """One event a word; the item's first letter is its shelf."""
        receipts = [line.split() for line in self.path.read_text(encoding="utf-8").splitlines()]
        rows = [(user, item) for user, *items in receipts for item in items]
        events = pl.DataFrame(rows, schema=["user", "item"], orient="row").with_row_index("ordinal")
        items = events.select("item").unique().with_columns(shelf=pl.col("item").str.head(1))
        return Raw(
            events=events.cast({"ordinal": pl.Int64}),
            items=with_features(items.sort("item")),
            notes=("Receipts of a toy shop.",),
        )


class LastOnes(SplitPlugin):
    """The last events of each user are test."""

    n: int = Field(default=1, ge=1)

    def assign(self, events, candidates):
        """By place, as there are no times."""
        place = pl.len().over("user") - pl.int_range(pl.len()).over("user")
        part = pl.when(place <= self.n).then(int(Part.TEST)).otherwise(int(Part.TRAIN))
        return Assignment(
            events.select(part=part)["part"],
            {"test": FoldRule(Part.TEST, (Part.TRAIN,))},
            f"Each user's last {self.n} events are test.",
            targets=f"a user's last {self.n}",
            validation="none",
        )


class Listed(OperatorPlugin):
    """Ids in the order of the alphabet."""

    def fit(self, column):
        """The distinct values of train."""
        return column.drop_nulls().unique().sort().to_list()

    def cardinality(self, state):
        """As many as there are."""
        return len(state)

    def apply(self, column, state):
        """The place among them, -1 for what was not in train."""
        return column.replace_strict(state, list(range(len(state))), default=-1)
