"""Features of users and items that train does not have: the source's tables may know them all the
same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from falconer.pipelines.data.schema import column_of
from falconer.pipelines.etl.catalogue import Kind
from falconer.pipelines.etl.engines import Engine, encoded
from falconer.pipelines.etl.features import Encoding
from falconer.pipelines.etl.operators import AnyFeature, encoded_names

UNKNOWN = -1


class NewcomerFeatures:
    """What is known of users, or of items, by their own ids: `entities` has the encoded features of
    those with an id, `table` is the source's. As `encodings` were fitted on train, nothing is
    fitted here."""

    def __init__(
        self,
        kind: Kind,
        entities: pl.DataFrame,
        table: pl.DataFrame | None,
        engine: Engine,
        features: Mapping[str, AnyFeature],
        encodings: Mapping[str, Encoding],
    ) -> None:
        self.kind = kind
        names = [one for name, config in features.items() for one in encoded_names(name, config)]
        self._known = entities.select("key", *map(column_of, names))
        self._table = table
        self._engine = engine
        self._features = features
        self._encodings = encodings

    def of(self, keys: pl.Series, ids: NDArray[np.int32]) -> pl.DataFrame | None:
        """The features row by row beside `keys`, by column; None where no row is of one that is new
        and in the table, so that the ids (-1 = new) say everything."""
        if self._table is None or not self._features:
            return None
        new = self._new(self._table, keys, ids)
        return None if new.is_empty() else self._beside(keys, new)

    def of_a_part(
        self, keys: pl.Series, ids: NDArray[np.int32]
    ) -> tuple[pl.DataFrame | None, bool]:
        """As `of`, for a part of the rows: also where the ids say everything, and whether they
        do."""
        if self._table is None or not self._features:
            return None, True
        new = self._new(self._table, keys, ids)
        return self._beside(keys, new), new.is_empty()

    def _new(self, table: pl.DataFrame, keys: pl.Series, ids: NDArray[np.int32]) -> pl.DataFrame:
        asked = keys.filter(pl.Series(ids == UNKNOWN, dtype=pl.Boolean)).unique()
        return table.filter(pl.col(self.kind).is_in(asked.implode()))

    def _beside(self, keys: pl.Series, new: pl.DataFrame) -> pl.DataFrame:
        features = encoded(new, self._features, self.kind, self._engine, self._encodings)
        all_known = pl.concat(
            [self._known, features.rename(column_of).select(new[self.kind].alias("key"), pl.all())],
            how="vertical_relaxed",
        )
        found = (
            keys.alias("key")
            .to_frame()
            .join(all_known, on="key", how="left", maintain_order="left")
        )
        return found.select(
            pl.col(name).fill_null(UNKNOWN if dtype.is_integer() else float("nan"))
            for name, dtype in self._known.schema.items()
            if name != "key"
        )
