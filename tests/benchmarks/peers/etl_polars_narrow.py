"""What somebody would write by hand in Polars for users, items and times, without any check: ids by
frequency, a split by time, the histories of those who are asked for.

python etl_polars_narrow.py EVENTS.parquet FOLDER
"""

from __future__ import annotations

import sys

import polars as pl

WEEK = 7 * 86_400

source, folder = sys.argv[1:]
events = pl.read_parquet(source).with_row_index("ordinal").sort("time", "ordinal")
end = events["time"].max() + 1
train = events.filter(pl.col("time") < end - 2 * WEEK)
for kind in ("user", "item"):
    counts = train[kind].value_counts(name="n").sort(["n", kind], descending=[True, False])
    ids = counts.select(kind).with_row_index(f"{kind}_id").cast({f"{kind}_id": pl.Int32})
    events = events.join(ids, on=kind, how="left", maintain_order="left")
    ids.write_parquet(f"{folder}/{kind}.parquet")
events.filter(pl.col("time") < end - 2 * WEEK).drop("user", "item").write_parquet(
    f"{folder}/train.parquet", compression="zstd"
)
for name, first in (("valid", end - 2 * WEEK), ("test", end - WEEK)):
    asked = events.filter(pl.col("time").is_between(first, first + WEEK, "left"))
    truth = asked.group_by("user", maintain_order=True).agg("item_id")
    before = events.filter(pl.col("time") < first, pl.col("item_id").is_not_null())
    known = before.join(truth.select("user"), on="user", how="semi", maintain_order="left")
    history = known.group_by("user", maintain_order=True).agg(history="item_id", times="time")
    truth.join(history, on="user", how="left").sort("user").write_parquet(
        f"{folder}/{name}.parquet", compression="zstd"
    )
