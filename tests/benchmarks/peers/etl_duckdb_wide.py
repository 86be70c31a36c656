"""The same in DuckDB's SQL: ids by frequency, and numbers scaled.

python etl_duckdb_wide.py ROWS.parquet FOLDER
"""

from __future__ import annotations

import sys

import duckdb

source, folder = sys.argv[1:]
con = duckdb.connect()
con.sql(f"create view rows as select * from read_parquet('{source}')")
names = [row[0] for row in con.sql("describe rows").fetchall()]
numbers = [name for name in names if name.startswith("x")]
categories = [name for name in names if name.startswith("c")]
for name in categories:
    con.sql(
        f"create table id_{name} as select {name}, "
        f"row_number() over (order by count(*) desc, {name}) - 1 as id from rows group by {name}"
    )
(moments,) = con.sql(
    "select " + ", ".join(f"avg({name}), stddev_samp({name})" for name in numbers) + " from rows"
).fetchall()
chosen = ["label"]
chosen += [
    f"(({name} - {moments[2 * place]}) / {moments[2 * place + 1]})::float as {name}"
    for place, name in enumerate(numbers)
]
chosen += [f"id_{name}.id::int as {name}" for name in categories]
joins = " ".join(f"left join id_{name} on rows.{name} = id_{name}.{name}" for name in categories)
con.sql(
    f"copy (select {', '.join(chosen)} from rows {joins}) to '{folder}/train.parquet' "
    "(format parquet, compression zstd)"
)
