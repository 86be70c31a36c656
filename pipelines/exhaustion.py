"""A full disk, exhausted memory or file handles, by whatever name a library raises them.

Arrow, Polars, SQLite, safetensors, zlib and torch each have their own error for a full disk or for
memory that is not there. Without a common name, a full disk reads as damaged data or as a defect.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from falconer.pipelines.errors import ExhaustedError, PipelineError

DISK = "the disk is full"
MEMORY = "there is not enough memory"
HANDLES = "too many files are open at once"
THREADS = "the system allows no further process or thread"

REMEDIES: Mapping[str, str] = {
    DISK: "free some space there (df -h shows it), or name another folder",
    MEMORY: "end other programs, use a machine with more, or make the job smaller (fewer rows, "
    "batch_size, queries_at_once)",
    HANDLES: "raise the limit (ulimit -n 4096)",
    THREADS: "raise the limit (ulimit -u), or use fewer threads (OMP_NUM_THREADS=1)",
}
AGAIN = "then give the same command again (a training goes on with `falconer train --resume RUN`)"

NUMBERS: Mapping[int, str] = {
    errno.ENOSPC: DISK,
    errno.EDQUOT: DISK,
    errno.EFBIG: DISK,
    errno.ENOMEM: MEMORY,
    errno.EMFILE: HANDLES,
    errno.ENFILE: HANDLES,
}
"""Of an `OSError`. EAGAIN is not among them: only a thread that cannot start means THREADS."""

TEXTS: Mapping[str, str] = {
    "no space left on device": DISK,
    "disk quota exceeded": DISK,
    "(os error 28)": DISK,
    "(os error 122)": DISK,
    "database or disk is full": DISK,
    "cannot allocate memory": MEMORY,
    "can't allocate memory": MEMORY,
    "out of memory": MEMORY,
    "not enough memory": MEMORY,
    "bad_alloc": MEMORY,
    "too many open files": HANDLES,
    "(os error 24)": HANDLES,
    "can't start new thread": THREADS,
}
"""Part of a library's message, in lower case -> what it means: of errors that hold no number."""


def exhausted(error: BaseException) -> str | None:
    """What ran out: DISK, MEMORY, HANDLES or THREADS; None where the error is of another kind.

    Causes are looked at too, since libraries wrap the system's error into their own.
    """
    return next((what for link in _chain(error) if (what := _of_one(link)) is not None), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _of_one(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        return NUMBERS.get(error.errno)
    if not isinstance(error, Exception) or isinstance(error, PipelineError):
        return None
    text = str(error).lower()
    return next((what for part, what in TEXTS.items() if part in text), None)


def named(error: BaseException, place: Path | str | None = None) -> ExhaustedError | None:
    """The error to raise instead of `error` where something ran out; None where nothing did.

    `place` is what was being written, where that is known.
    """
    if isinstance(error, ExhaustedError):
        return error
    what = exhausted(error)
    if what is None:
        return None
    if place is None and isinstance(error, OSError):
        place = error.filename
    where = f"{place}: " if place else ""
    return ExhaustedError(
        f"{where}{what}; nothing half-written was left: {REMEDIES[what]}, {AGAIN}"
    )


@contextmanager
def exhaustion_named(place: Path | str | None = None) -> Iterator[None]:
    """Raise the block's errors of a full disk or exhausted memory as `ExhaustedError`."""
    try:
        yield
    except Exception as error:
        found = named(error, place)
        if found is None or found is error:
            raise
        raise found from error
