"""Atomic writes: a visible file or directory is complete, and what existed stays until then."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import ArtifactError, PipelineError


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, finite numbers only (`ValueError` otherwise)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def identity_of(value: Any) -> str:
    """16 hex digits of the sha256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def _sibling(target: Path) -> Path:
    return target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.partial"


@contextmanager
def writable_parent(target: Path) -> Iterator[None]:
    """Create `target`'s parent; an operating system refusal becomes a `PipelineError` that names the folder."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise PipelineError(
            f"{target.parent}: cannot write there ({error.strerror}); choose another folder or mend its permissions"
        ) from error
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        raise PipelineError(f"{target}: cannot be written ({error.strerror}); nothing was left behind") from error


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it takes `target`'s place, on any exception it goes."""
    with writable_parent(target):
        partial = _sibling(target)
        try:
            yield partial
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `target`, renamed to `target` when whole; on any exception it goes.

    An existing `target` stays untouched if the block fails, and is replaced if it succeeds.
    """
    with writable_parent(target):
        partial = _sibling(target)
        partial.mkdir()
        try:
            yield partial
            if target.exists():
                retired = _sibling(target)
                target.rename(retired)
                partial.rename(target)
                shutil.rmtree(retired)
            else:
                partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


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
        raise ArtifactError(f"{path}: damaged ({error}); make it anew with the command that wrote it") from error
