"""Lists as other systems write them: TREC run files, RecBole's atomic files, and CSV.

A file is recognised by its content, not by its name, and read in parts of bounded memory into a
parquet file of our columns, which `falconer.recsys.lists.parquet` then judges like any other. Ids
stay text as written, so "007" is not 7.

TREC run   six fields apart by blanks: query Q0 document rank score tag. As in trec_eval the score
           decides and the
           rank is not looked at. Ties are ordered by our item ids, where trec_eval takes the
           document's name backwards.
RecBole    an atomic file: tab-separated, header `user_id:token item_id:token` and `rank:float` or
           `score:float` (also
           `rating:float`, which counts as a score), in any order and beside other columns.
CSV        a header with user, item, and rank or score, apart by commas, tabs or semicolons.
"""

from __future__ import annotations

import gzip
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from falconer.pipelines.errors import DataError
from falconer.pipelines.files import scratch_folder

PARQUET, GZIP = b"PAR1", b"\x1f\x8b"
TREC_FIELDS = ("user", "q0", "item", "rank", "score", "tag")
RECBOLE_NAMES = {"user_id": "user", "item_id": "item", "rating": "score"}
LINES_AT_ONCE = 2**20


@dataclass(frozen=True)
class Layout:
    """How a text file is read: what is between fields, the columns' names in our words, and lines
    before the data."""

    separator: str
    names: tuple[str, ...]
    skip: int = 1


@contextmanager
def as_parquet(path: Path) -> Iterator[Path]:
    """Yield a parquet file with the lists of `path`: itself where it is one, else one that goes
    with the block.

    Raises `DataError` where the file is neither parquet nor one of the formats above, or a line of
    it is damaged; an error of the block about the temporary file names `path` instead.
    """
    if not path.is_file() or path.suffix == ".parquet" or _first_bytes(path).startswith(PARQUET):
        yield path
        return
    with scratch_folder() as folder:
        converted = folder / "lists.parquet"
        _convert(path, converted)
        try:
            yield converted
        except DataError as error:
            raise DataError(str(error).replace(str(converted), str(path))) from error


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(4)


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if _first_bytes(path).startswith(GZIP) else path.open("rb")  # type: ignore[return-value]


def _convert(path: Path, target: Path) -> None:
    try:
        layout = _layout(path)
        tables = _trec(path) if layout is None else _delimited(path, layout)
        _write(path, tables, target)
    except (OSError, EOFError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); mend that line, or write the lists as parquet"
        ) from error


def _layout(path: Path) -> Layout | None:
    """How the file is written; None for a TREC run."""
    with _opened(path) as stream:
        line = stream.readline()
    if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise DataError(
            f"{path}: is UTF-16; write it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`"
        )
    first = line.decode("utf-8-sig").strip("\r\n")
    if not first.strip():
        raise DataError(
            f"{path}: is empty, or begins with an empty line; there is nothing to judge"
        )
    if ":" in first and all(":" in field for field in first.split("\t")):
        names = (field.partition(":")[0] for field in first.split("\t"))
        return _checked(path, Layout("\t", tuple(RECBOLE_NAMES.get(name, name) for name in names)))
    if len(first.split()) == len(TREC_FIELDS) and _is_number(first.split()[4]):
        return None
    separator = next((sign for sign in "\t;," if sign in first), ",")
    return _checked(
        path, Layout(separator, tuple(name.strip().strip('"') for name in first.split(separator)))
    )


def _is_number(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _checked(path: Path, layout: Layout) -> Layout:
    wanted = ("user", "item", "rank") if "rank" in layout.names else ("user", "item", "score")
    missing = [name for name in wanted if name not in layout.names]
    if missing:
        raise DataError(
            f"{path}: is no parquet file, TREC run or RecBole file, and as CSV it has no column "
            f"{', '.join('rank or score' if name == 'score' else name for name in missing)}, only "
            f"{', '.join(layout.names)}; name the columns user, item, and rank (1 is best) or "
            "score (highest is best)"
        )
    return layout


def _delimited(path: Path, layout: Layout) -> Iterator[pa.Table]:
    order = "rank" if "rank" in layout.names else "score"
    types = {"user": pa.string(), "item": pa.string(), order: pa.float64()}
    with _opened(path) as stream:
        # One thread: a reader with several that ends by an error may abort the process at its end.
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(
                use_threads=False, column_names=list(layout.names), skip_rows=layout.skip
            ),
            parse_options=csv.ParseOptions(delimiter=layout.separator),
            convert_options=csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                strings_can_be_null=True,
                null_values=["", "NaN", "nan"],
            ),
        )
        with reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])


def _trec(path: Path) -> Iterator[pa.Table]:
    """The run's lines in parts; blanks and tabs may be mixed and repeated, which no CSV reader
    takes."""
    with _opened(path) as stream:
        number = 0
        if stream.read(len(BOM_UTF8)) != BOM_UTF8:
            stream.seek(0)
        while lines := stream.readlines(LINES_AT_ONCE * 16):
            rows = [line.split() for line in lines]
            bad = next(
                (place for place, row in enumerate(rows) if row and not _is_run_line(row)), None
            )
            if bad is not None:
                raise DataError(
                    f"{path}: line {number + bad + 1}: not `query Q0 document rank score tag` as "
                    "in a TREC run: "
                    f"{lines[bad].decode('utf-8', 'replace').strip()[:80]!r}"
                )
            number += len(rows)
            yield _of_rows([row for row in rows if row])


def _is_run_line(row: Sequence[bytes]) -> bool:
    return len(row) == len(TREC_FIELDS) and _is_number(row[4])


def _of_rows(rows: Sequence[Sequence[bytes]]) -> pa.Table:
    user, item = (
        pa.array([row[place].decode("utf-8") for row in rows], pa.string()) for place in (0, 2)
    )
    return pa.table(
        {
            "user": user,
            "item": item,
            "score": pa.array([float(row[4]) for row in rows], pa.float64()),
        }
    )


def _write(path: Path, tables: Iterator[pa.Table], target: Path) -> None:
    first = next(tables, None)
    if first is None:
        raise DataError(f"{path}: has no rows; recommend anew")
    with pq.ParquetWriter(target, first.schema, compression="zstd") as file:
        for table in chain([first], tables):
            file.write_table(_with_nan(table))


def _with_nan(table: pa.Table) -> pa.Table:
    """A missing rank or score becomes NaN, which the reader refuses with its row."""
    name = table.column_names[2]
    return table.set_column(2, name, pc.fill_null(table[name], float("nan")))
