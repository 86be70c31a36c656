"""Raw tables with features, as tests like to write and to read them: under the features' names."""

from __future__ import annotations

import polars as pl

from falconer.pipelines.data.schema import name_of
from falconer.pipelines.etl.raw import feature_column


def named(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its features under their own names."""
    return frame.rename({name: name_of(name) for name in frame.columns})


def prefixed(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every column as a feature's."""
    return frame.rename({name: feature_column(name) for name in frame.columns})


ENGINES = ("nvtabular", "polars")
"""Those that are installed together; `polars-gpu` has an environment of its own."""
