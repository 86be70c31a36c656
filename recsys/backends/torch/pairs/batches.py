"""Batches that models of features are trained on: events with their negatives, or with their
labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import column_of, name_of
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.recsys.backends.torch.events import EventBatches, RowGroup, TrainEvents
from falconer.recsys.backends.torch.negatives import WithNegatives
from falconer.recsys.backends.torch.pairs.inputs import OURS, FieldEncoder, Inputs, by_input


@dataclass(frozen=True)
class FieldBatch:
    """B queries with K items each: inputs [B, ...], rows int[B, K] of the table of items, labels
    float32[B, K]."""

    query: Inputs
    items: Tensor
    labels: Tensor


class NegativeBatches:
    """Batches for lists: each event with its negatives (see `WithNegatives`), encoded."""

    def __init__(self, batches: WithNegatives, encoder: FieldEncoder) -> None:
        self._batches, self._encoder = batches, encoder

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[FieldBatch]:
        """Batches `start`, `start` + 1, ... of epoch `number`."""
        for batch in self._batches.epoch(number, start=start):
            yield FieldBatch(
                self._encoder.query(batch.users), self._encoder.item_rows(batch.items), batch.labels
            )


class LabelledEvents(TrainEvents):
    """Train events of a dataset of labels, encoded as they are read.

    `read` gives users int32[n], items int32[n] (-1 = unknown, or none in the source), ids int32[n,
    F] and numbers float32[n, C] of the context, labels float32[n].
    """

    def __init__(self, data: Dataset, encoder: FieldEncoder) -> None:
        ids = [name for name, n in (("user", data.n_users), ("item", data.n_items)) if n]
        features = [column_of(name_of(name)) for name in encoder.fields.of("context").names]
        super().__init__(data, (*ids, *features, "label"))
        self._encoder = encoder

    def read(self, groups: Sequence[RowGroup]) -> tuple[NDArray[Any], ...]:
        """The columns of `groups` in their order."""
        columns = dict(zip(self.columns, super().read(groups), strict=True))
        n = len(columns["label"])
        unknown = np.full(n, -1, np.int32)
        features = {name_of(name): column for name, column in columns.items() if name not in OURS}
        ids, numbers = self._encoder.context(by_input(features), n)
        return (
            columns.get("user", unknown),
            columns.get("item", unknown),
            ids,
            numbers,
            columns["label"],
        )


class LabelledBatches:
    """Batches of labelled events: K = 1."""

    def __init__(
        self, events: EventBatches, encoder: FieldEncoder, *, shard: Shard | None = None
    ) -> None:
        self._events, self._encoder, self._shard = events, encoder, shard or current_shard()

    def __len__(self) -> int:
        return len(self._events)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[FieldBatch]:
        """Batches `start`, `start` + 1, ... of epoch `number`."""
        for columns in self._events.epoch(number, start=start):
            own = self._shard.rows(len(columns[0]))
            users, items, ids, numbers, labels = (column[own] for column in columns)
            query = self._encoder.query(users, Inputs(ids, numbers))
            yield FieldBatch(query, self._encoder.item_rows(items)[:, None], labels[:, None])
