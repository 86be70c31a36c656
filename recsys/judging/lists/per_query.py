"""What an evaluation finds: a report, and a table with a value of every metric for every query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines.errors import ArtifactError
from falconer.recsys.judging import slices
from falconer.recsys.judging.reports import ListsReport
from falconer.recsys.judging.stored import ANSWERS_KEY

Float64 = NDArray[np.float64]

KEYS = ("user_key", "n_relevant")
ROWS_AT_ONCE = 2**14


class PerQuery:
    """A table with a row a query: user_key, n_relevant, one float64 column a metric and a group of
    a slicing.

    NaN = no value: the metric is undefined for the query, or the query takes no part in the group.
    It stays in its parquet file (or in bytes like one), and is read column by column.
    """

    def __init__(self, source: Path | pa.Buffer) -> None:
        self.source = source
        with self._opened() as file:
            self.column_names = tuple(file.schema_arrow.names)
            about = (file.schema_arrow.metadata or {}).get(ANSWERS_KEY)
        self.answers = about.decode() if about else None
        """sha256 of the lists that were judged, where it was noted."""

    @classmethod
    def of(cls, table: pa.Table) -> PerQuery:
        """A table in memory."""
        sink = pa.BufferOutputStream()
        with per_query_writer(sink) as write:
            write({name: table[name] for name in table.column_names})
        return cls(sink.getvalue())

    @property
    def values(self) -> tuple[str, ...]:
        """Names of all columns but the keys."""
        return self.column_names[len(KEYS) :]

    def table(self, *names: str) -> pa.Table:
        """The named columns, in this order; all where none is named."""
        with self._opened() as file:
            return file.read(columns=list(names) or None)

    def evaluated(self, *names: str) -> Float64:
        """float64[n_evaluated, len(names)]: columns of the queries that have a relevant item."""
        return np.concatenate([np.empty((0, len(names))), *self.blocks(names)])

    def blocks(self, names: Sequence[str]) -> Iterator[Float64]:
        """As `evaluated`, some rows at a time."""
        with self._opened() as file:
            for part in file.iter_batches(
                ROWS_AT_ONCE, columns=["n_relevant", *names], use_threads=False
            ):
                rows = part.column("n_relevant").to_numpy() > 0
                yield np.stack(
                    [np.asarray(part.column(name).to_numpy()[rows], np.float64) for name in names],
                    axis=1,
                )

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        source = self.source if isinstance(self.source, Path) else pa.BufferReader(self.source)
        try:
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(
                f"{source}: damaged report ({error}); evaluate anew with `falconer evaluate`"
            ) from error


@dataclass(frozen=True)
class JudgedLists:
    """A report, and the table behind it."""

    report: ListsReport
    per_query: PerQuery

    @property
    def keys(self) -> pa.Table:
        """The queries, in order."""
        return self.per_query.table(*KEYS)

    @property
    def groups(self) -> tuple[str, ...]:
        """Columns of groups."""
        return tuple(name for name in self.per_query.values if slices.is_slice(name))

    def group(self, name: str) -> Float64:
        """float64[n_evaluated], NaN for a query that takes no part in the group."""
        return self.per_query.evaluated(name)[:, 0]

    def labelled(self, label: str) -> JudgedLists:
        """The same under another label."""
        return replace(self, report=self.report.model_copy(update={"label": label}))

    def values(self, metric: str) -> Float64:
        """float64[n_evaluated]: the metric ("ndcg@10") of the evaluated queries, in the queries'
        order.

        Raises `ArtifactError` where the metric was not judged, and where a query has no value of
        it.
        """
        names = [name for name in self.per_query.values if not slices.is_slice(name)]
        if metric not in names:
            known = ", ".join(names)
            raise ArtifactError(
                f"{self.report.label}: has no {metric!r} a query, only {known}; evaluate it with "
                "that k"
            )
        values = self.per_query.evaluated(metric)[:, 0]
        absent = int(np.isnan(values).sum())
        if absent:
            raise ArtifactError(
                f"{self.report.label}: {absent} of {len(values)} queries have no {metric}, so it "
                "cannot be compared "
                "query by query; choose another metric"
            )
        return values


class PerQueryWriter:
    """Writes `PerQuery` content block after block of queries."""

    def __init__(self, sink: Path | pa.NativeFile, answers: str | None = None) -> None:
        self._sink = sink
        self._metadata = {ANSWERS_KEY: answers} if answers else None
        self._writer: pq.ParquetWriter | None = None

    def __call__(self, columns: Mapping[str, Any]) -> None:
        """Append a row group; all of them have the same columns."""
        table = pa.table(dict(columns)).replace_schema_metadata(self._metadata)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._sink, table.schema, compression="zstd", write_page_checksum=True
            )
        self._writer.write_table(table)

    def close(self) -> None:
        """End the file."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def per_query_writer(
    sink: Path | pa.NativeFile, *, answers: str | None = None
) -> Iterator[PerQueryWriter]:
    """A writer that is closed when the block ends; `answers` is the sha256 of what is judged."""
    writer = PerQueryWriter(sink, answers)
    try:
        yield writer
    finally:
        writer.close()
