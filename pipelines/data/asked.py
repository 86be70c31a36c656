"""A query for every user, in a folder of its own: `pipelines.etl.everybody` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines import parquet

NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Asked:
    """The folder with the queries and what is known of the items at that moment."""

    folder: Path

    @property
    def queries(self) -> Path:
        """A row for each user, with a dataset's columns of queries, by ascending key."""
        return self.folder / "queries.parquet"

    @property
    def last_events(self) -> Path:
        """The columns `item_id` and `time` (seconds since 1970 UTC) of items that have events."""
        return self.folder / "last_event.parquet"

    def last_event(self, n_items: int) -> NDArray[np.int64]:
        """int64[n_items]: the second of each item's last event; `NEVER` for items without one."""
        table = parquet.read(self.last_events)
        found = np.full(n_items, NEVER)
        found[table.column("item_id").to_numpy()] = table.column("time").to_numpy()
        return found
