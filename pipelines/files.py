"""Atomic writes: a visible file or directory is complete, and what existed stays until then."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from falconer.pipelines.errors import ArtifactError, PipelineError


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksums(root: Path, *, leave_out: Sequence[str] = ()) -> dict[str, str]:
    """Relative path -> sha256 of every file below `root`, sorted by path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in files}
    return {name: sha256_of(path) for name, path in names.items() if name not in leave_out}


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, finite numbers only (`ValueError` otherwise)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )


def identity_of(value: Any) -> str:
    """16 hex digits of the sha256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def _sibling(target: Path) -> Path:
    return target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.partial"


@contextmanager
def _refusals_named(place: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a `PipelineError` that names the place."""
    try:
        yield
    except OSError as error:
        raise PipelineError(
            f"{place}: cannot write there ({error.strerror}); choose another folder or mend this "
            "one"
        ) from error


@contextmanager
def _full_disk_named(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PipelineError(
            f"{target}: the disk is full; nothing half-written was left, free some space"
        ) from error


def make_directory(path: Path) -> None:
    """Make a new directory and its parents; `PipelineError` that names the parent where that is
    refused."""
    with _refusals_named(path.parent):
        path.mkdir(parents=True)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it takes `target`'s place, on any
    exception it goes."""
    partial = _sibling(target)
    with _refusals_named(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    try:
        with _full_disk_named(target):
            yield partial
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
        with _refusals_named(target):
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `target`, renamed to `target` when whole; on any exception
    it goes.

    An existing `target` stays untouched if the block fails, and is replaced if it succeeds.
    """
    partial = _sibling(target)
    make_directory(partial)
    try:
        with _full_disk_named(target):
            yield partial
        with _refusals_named(target):
            _take_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _take_place(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    retired = _sibling(target)
    target.rename(retired)
    partial.rename(target)
    shutil.rmtree(retired)


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(target) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON with a stable key order as given, atomically."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; absence or damage is an `ArtifactError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: not found") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path}: damaged ({error}); make it anew with the command that wrote it"
        ) from error
