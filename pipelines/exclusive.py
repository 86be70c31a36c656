"""A folder that belongs to one process at a time: a lock of the operating system, which goes with
its process however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from falconer.pipelines.errors import ArtifactError, PipelineError
from falconer.pipelines.files import make_directory


@contextmanager
def exclusive(folder: Path, busy: PipelineError) -> Iterator[None]:
    """Hold the folder, made where it is absent, as long as the block lasts.

    Raises `busy` where another process holds it, and `ArtifactError` where its file system locks no
    folder.
    """
    if not folder.is_dir():
        make_directory(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(folder, descriptor, busy)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def in_turn(file: Path) -> Iterator[None]:
    """For changes that take a moment: wait until nobody else is in a block on this file, which is
    made where it is absent, and stays. Raises `ArtifactError` as `exclusive` does, and where the
    file is another user's."""
    if not file.parent.is_dir():
        make_directory(file.parent)
    descriptor = _opened(file)
    try:
        _flock(file, descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _opened(file: Path) -> int:
    try:
        return os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    except PermissionError as error:
        refused = file if os.access(file, os.F_OK) else file.parent
        raise ArtifactError(
            f"{refused}: only {_owner(refused)} can write there; give the command as that user"
        ) from error


def _owner(path: Path) -> str:
    """The user's name, or number where it has none here."""
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


def _lock(folder: Path, descriptor: int, busy: PipelineError) -> None:
    try:
        _flock(folder, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise busy from error


def _flock(path: Path, descriptor: int, how: int) -> None:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise
    except OSError as error:
        raise ArtifactError(
            f"{path}: its file system cannot lock it ({error.strerror}); use a folder on a local "
            "disk"
        ) from error
