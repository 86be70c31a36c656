"""Questions to a PostgreSQL server, each on a connection of its own, with an answer in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import Error
from psycopg.conninfo import make_conninfo

__all__ = ["Error", "has_table", "rows"]

SECONDS_TO_ANSWER = 3


def has_table(url: str, schema: str, table: str) -> bool:
    """Whether the table is there; False too where the database itself is absent. Raises `Error`
    where the server does not answer or refuses."""
    query = "select 1 from pg_tables where schemaname = %s and tablename = %s"
    try:
        return bool(rows(url, query, [schema, table]))
    except psycopg.OperationalError:
        database = urlsplit(url).path.removeprefix("/")
        every = make_conninfo(url, dbname="postgres")
        if rows(every, "select 1 from pg_database where datname = %s", [database]):
            raise
        return False


def rows(url: str, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    """What a query finds; raises `Error`."""
    with psycopg.connect(url, connect_timeout=SECONDS_TO_ANSWER) as connection:
        return connection.execute(query.encode(), values).fetchall()
