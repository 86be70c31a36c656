"""A source of another package: an entry point of the group "falconer.sources", or `kind =
"mypackage.toy:SOURCE"` under [source]."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import polars as pl

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.plugin_configs import PluginConfig


class SourcePlugin(PluginConfig):
    """Subclass it with a field for each key of [source]. A field called `path` or `events` says
    where the data is and is no part of a dataset's identity, which knows the files by checksum.
    """

    kind: str

    @abstractmethod
    def files(self) -> dict[str, Path]:
        """Name -> path of every file that `read` reads. They are checked for changes while they are
        read, and a dataset is named after their content."""

    @abstractmethod
    def read(self) -> Raw:
        """The tables; `Raw` says which columns they have, and that values may be as they came."""


def read_by_plugin(source: SourcePlugin) -> Raw:
    """What the plugin's source reads; `DataError` where that are no tables of interactions."""
    raw = source.read()
    at_fault = f"source {source.kind} of {source.package}"
    if not isinstance(raw, Raw):
        raise DataError(f"{at_fault}: gave {type(raw).__name__}, and a Raw is wanted")
    if raw.events.schema.get("ordinal") != pl.Int64:
        raise DataError(f"{at_fault}: its events need a column `ordinal` int64, the rows' numbers")
    return raw
