"""What somebody would write by hand in Polars for many numbers (x...) and categories (c...): ids by
frequency, and numbers scaled.

python etl_polars_wide.py ROWS.parquet FOLDER
"""

from __future__ import annotations

import sys

import polars as pl

source, folder = sys.argv[1:]
rows = pl.read_parquet(source)
columns = [rows["label"]]
for name in rows.columns:
    column = rows[name]
    if name.startswith("x"):
        columns.append(((column - column.mean()) / column.std()).cast(pl.Float32))
    if name.startswith("c"):
        counts = column.value_counts(name="n").sort(["n", name], descending=[True, False])
        ids = counts.select(name).with_row_index("id").cast({"id": pl.Int32})
        found = column.to_frame().join(ids, on=name, how="left", maintain_order="left")
        columns.append(found["id"].alias(name))
pl.DataFrame(columns).write_parquet(f"{folder}/train.parquet", compression="zstd")
