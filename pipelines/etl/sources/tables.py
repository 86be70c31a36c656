"""One table from a parquet, text or JSON lines file of anybody's, with chosen columns under
canonical names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import parquet as pq

from falconer.pipelines import parquet
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.columns import joined
from falconer.pipelines.etl.sources.batches import batches
from falconer.pipelines.etl.sources.delimited import (
    MALFORMED,
    Delimited,
    Misfits,
    delimited_batches,
    malformed_of,
    read_delimited,
    read_header,
)
from falconer.pipelines.etl.sources.json_lines import JSON_LINES, MOST_ROWS, JsonLines

MOST_NAMES_SHOWN = 40
PARQUET = (".parquet", ".pq")
SEPARATORS = {".csv": ",", **dict.fromkeys((".tsv", ".txt", ".dat", ".inter"), "\t")}


@dataclass(frozen=True)
class Table:
    """`rows`: `ordinal` int64 and the chosen columns; `malformed`: rows that do not fit the
    header."""

    rows: pl.DataFrame
    malformed: pl.DataFrame

    @property
    def height(self) -> int:
        """Rows in the source, malformed ones included."""
        return self.rows.height + self.malformed.height


def read_table(
    path: Path,
    columns: Mapping[str, str],
    *,
    separator: str | None,
    quote: str,
    header: bool = True,
    lists: Collection[str] = (),
) -> Table:
    """Read `columns` (our name -> the file's name) of a parquet, CSV, TSV or JSON lines file.

    What is no parquet stays text, and each of `lists` is one too (`columns.joined`). `separator`
    None means by suffix: comma for .csv, tab for .tsv and .txt. Raises `DataError` for an absent,
    empty or damaged file, an unknown suffix, or a column that is not there.
    """
    check_file(path)
    if path.suffix.lower() in PARQUET:
        return _read_parquet(path, columns, lists)
    if kind_of(path) in JSON_LINES:
        pieces = list(_json_pieces(path, columns, lists))
        return Table(pl.concat(piece.rows for piece in pieces), pieces[-1].malformed)
    _refuse_lists(path, columns, lists)
    form, columns = _text_form(path, columns, separator=separator, quote=quote, header=header)
    rows, malformed = read_delimited(path, form, columns)
    return Table(rows.with_columns(_without_indent(rows[ours]) for ours in columns), malformed)


def table_pieces(
    path: Path,
    columns: Mapping[str, str],
    n_rows: int,
    *,
    separator: str | None,
    quote: str,
    header: bool = True,
    row_groups: Sequence[int] | None = None,
    lists: Collection[str] = (),
) -> Iterator[Table]:
    """The table that `read_table` reads, in pieces: first one without rows, whose types all have,
    then about `n_rows` at a time of a parquet or JSON lines file, last the misfits of a text file.
    Of a parquet file only the `row_groups`, if there are some, whose rows are numbered from 0."""
    check_file(path)
    if path.suffix.lower() in PARQUET:
        yield from _parquet_pieces(path, columns, n_rows, row_groups, lists)
        return
    if kind_of(path) in JSON_LINES:
        yield from _json_pieces(path, columns, lists, n_rows)
        return
    _refuse_lists(path, columns, lists)
    form, columns = _text_form(path, columns, separator=separator, quote=quote, header=header)
    misfits = Misfits() if header else Misfits(form="first line", before=1)
    none = misfits.frame()
    indented: set[str] | None = None
    for rows in delimited_batches(path, form, columns, misfits):
        found = {name for name in columns if _is_indented(rows[name])}
        if rows.height and found != (found if indented is None else indented):
            raise DataError(
                f"{path}: some columns have a blank after the separator in some rows only; take "
                "the blanks away, or raise memory_limit so that the file is read as a whole"
            )
        indented = found if rows.height else indented
        yield Table(rows.with_columns(_without_indent(rows[ours]) for ours in columns), none)
    yield Table(pl.DataFrame(schema=rows.schema), malformed_of(misfits, form))


def _json_pieces(
    path: Path, columns: Mapping[str, str], lists: Collection[str], n_rows: int = MOST_ROWS
) -> Iterator[Table]:
    file = JsonLines(path, columns, lists)
    none = file.malformed
    for rows in file.pieces(n_rows):
        yield Table(rows, none)
    if file.keys:
        check_columns(path, list(file.keys), columns)
    yield Table(rows.clear(), file.malformed)


def _refuse_lists(path: Path, columns: Mapping[str, str], lists: Collection[str]) -> None:
    found = [theirs for ours, theirs in columns.items() if ours in lists]
    if found:
        raise DataError(
            f"{path}: a text file has no lists; say in the recipe what parts the values of "
            f'{found[0]!r}, for example separator = "|" in the table of its feature'
        )


def _text_form(
    path: Path, columns: Mapping[str, str], *, separator: str | None, quote: str, header: bool
) -> tuple[Delimited, dict[str, str]]:
    """How a text file is written, and the columns as its header has them."""
    suffix = kind_of(path)
    if suffix not in SEPARATORS and not (suffix == "" and separator):
        raise DataError(
            f"{path}: unknown kind of file; its name must end in "
            f"{', '.join((*PARQUET, *SEPARATORS, *JSON_LINES))}, or the recipe must set "
            "source.separator for one without an ending"
        )
    form = Delimited(separator or SEPARATORS[suffix], quote, header)
    there = read_header(path, form)
    columns = {ours: _as_written(theirs, there) for ours, theirs in columns.items()}
    check_columns(path, there, columns)
    return form, columns


def kind_of(path: Path) -> str:
    """The suffix that tells how a file is written: `.csv` of `a.csv.gz`."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _as_written(name: str, there: Sequence[str]) -> str:
    """A column as the header has it, which may hold blanks around it or, as RecBole's, a type."""
    bare = {re.sub(r":(token|float)(_seq)?$", "", one.strip()): one for one in there}
    return name if name in there else bare.get(name, name)


def _without_indent(column: pl.Series) -> pl.Series:
    """Text of a file that has a blank after each separator, without that."""
    return column.str.strip_chars_start(" ") if _is_indented(column) else column


def _is_indented(column: pl.Series) -> bool:
    return len(column) > 0 and bool(column.str.starts_with(" ").all())


def expanded(path: str | Path) -> Path:
    """`path` with a leading `~` replaced by the home directory, where there is one of that name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def check_file(path: Path) -> None:
    """Raise `DataError` where `path` is absent, a directory, not readable or empty."""
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except IsADirectoryError as error:
        raise DataError(
            f"{path}: is a directory; name its files, for example {str(path / '*.parquet')!r}"
        ) from error
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file (relative paths start at the working directory, {Path.cwd()})"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if empty:
        raise DataError(f"{path}: the file is empty")


def _read_parquet(path: Path, columns: Mapping[str, str], lists: Collection[str]) -> Table:
    with _damage_named(path):
        check_columns(path, pq.read_schema(path).names, columns)
        table = parquet.read(path, list(dict.fromkeys(columns.values())))
        table.validate(full=True)
    return _parquet_table(path, columns, table, 0, lists)


def _parquet_pieces(
    path: Path,
    columns: Mapping[str, str],
    n_rows: int,
    row_groups: Sequence[int] | None,
    lists: Collection[str],
) -> Iterator[Table]:
    names = list(dict.fromkeys(columns.values()))
    with _damage_named(path):
        schema = pq.read_schema(path)
        check_columns(path, schema.names, columns)
        yield _parquet_table(path, columns, schema.empty_table(), 0, lists)
        first = 0
        for table in batches(path, n_rows, names, row_groups):
            table.validate(full=True)
            yield _parquet_table(path, columns, table, first, lists)
            first += table.num_rows


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    # pyarrow and not Polars, which on some damaged files panics and prints a trace of its own.
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: not a whole parquet file ({reason}); write or copy it again"
        ) from error


def _parquet_table(
    path: Path, columns: Mapping[str, str], table: pa.Table, first: int, lists: Collection[str]
) -> Table:
    read = [_series(path, ours, theirs, table.column(theirs)) for ours, theirs in columns.items()]
    try:
        rows = pl.DataFrame([joined(one) if one.name in lists else one for one in read])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    ordinal = pl.arange(first, first + rows.height, dtype=pl.Int64, eager=True).alias("ordinal")
    return Table(rows.insert_column(0, ordinal), pl.DataFrame(schema=MALFORMED))


def _series(path: Path, ours: str, theirs: str, column: pa.ChunkedArray) -> pl.Series:
    """A column as Polars has it: instants count from 1970 UTC whatever their zone is called, and
    decimals too wide for it are text."""
    try:
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            column = column.cast(pa.timestamp(column.type.unit))
        if pa.types.is_decimal256(column.type):
            column = column.cast(pa.string())
        return pl.Series(ours, pl.from_arrow(column))
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: column {theirs!r} holds {column.type}, which cannot be read; write it as a "
            "number or text"
        ) from error


def check_columns(path: Path, there: Sequence[str], columns: Mapping[str, str]) -> None:
    """Raise `DataError` where a column of `columns` (our name -> the file's name) is absent, or is
    there twice."""
    missing = [theirs for theirs in dict.fromkeys(columns.values()) if theirs not in there]
    if missing:
        lines = "; ".join(f"no column {name!r}{_nearest(name, there)}" for name in missing)
        raise DataError(
            f"{path}: {lines}. It has: {_listed(there)}. Mend the names in the recipe"
            f"{_form_advice(there)}"
        )
    twice = [theirs for theirs in columns.values() if there.count(theirs) > 1]
    if twice:
        raise DataError(f"{path}: two columns are called {twice[0]!r}; rename one of them")


def _form_advice(there: Sequence[str]) -> str:
    """What a first line looks like that is no header, or is parted by something else."""
    others = [one for one in (";", "|", "\t", "::") if len(there) == 1 and one in there[0]]
    if others:
        return f"; or set source.separator = {others[0]!r}"
    if any(re.fullmatch(r"-?\d+(\.\d+)?", name.strip()) for name in there):
        return "; or set source.header = false where the first line is no header"
    return ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:MOST_NAMES_SHOWN]))
    more = len(names) - MOST_NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _nearest(name: str, there: Sequence[str]) -> str:
    folded = {other.casefold().strip(): other for other in there}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" (did you mean {folded[near[0]]!r}?)" if near else ""
