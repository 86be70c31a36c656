"""From a database to a file that a source of `files` reads: SQLite and PostgreSQL, over ADBC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.extras import missing
from falconer.pipelines.files import atomic_file

TOLD_BY = 2**20
"""Rows by which SQLite's driver tells a column's type, which it reads at once."""
SQLITE, POSTGRESQL = "sqlite:", ("postgresql://", "postgres://")


def extract(uri: str, query: str, out: Path) -> int:
    """Write what the query gives to the parquet file `out`, a batch at a time; returns the rows.

    `uri` is `sqlite:PATH` or `postgresql://...`. Raises `ConfigError` for another one, and
    `DataError` where the database cannot be read, refuses the query, or gives no row; then `out`
    stays as it was.
    """
    rows = 0
    with _cursor(uri) as cursor, atomic_file(out) as partial:
        cursor.execute(query)
        reader = cursor.fetch_record_batch()
        with pq.ParquetWriter(partial, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
        if not rows:
            raise DataError(f"{_shown(uri)}: the query gives no row, so {out} was not written")
    return rows


@contextmanager
def _cursor(uri: str) -> Iterator[Any]:
    """A cursor whose database errors, and those of Arrow on their way, are `DataError`s."""
    driver, address = _driver(uri)
    try:
        with driver.connect(address) as connection, connection.cursor() as cursor:
            if uri.startswith(SQLITE):
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(TOLD_BY)})
            yield cursor
    except (driver.Error, OSError) as error:
        reason = str(error).splitlines()[0]
        if "Type mismatch" in reason:
            reason += (
                f"; the first {TOLD_BY:,} rows tell a column's type: cast it in the query, and let "
                "a row with a value come first"
            )
        raise DataError(f"{_shown(uri)}: {reason}") from error


def _driver(uri: str) -> tuple[Any, str]:
    """The module that reads such a database, and the address as it takes it."""
    try:
        if uri.startswith(SQLITE):
            import adbc_driver_sqlite.dbapi as sqlite

            path = Path(uri.removeprefix(SQLITE)).expanduser().absolute()
            if not path.is_file():
                raise DataError(f"{path}: no such database")
            return sqlite, f"{path.as_uri()}?mode=ro"
        if uri.startswith(POSTGRESQL):
            import adbc_driver_postgresql.dbapi as postgresql

            return postgresql, uri
    except ModuleNotFoundError as error:
        raise missing(error.name or "", "Reading a database") from error
    raise ConfigError(f"{_shown(uri)}: a database is sqlite:PATH or postgresql://USER@HOST/NAME")


def _shown(uri: str) -> str:
    """The address without a password."""
    return re.sub(r"(//[^:/@]*):[^@/]*@", r"\1@", uri)
