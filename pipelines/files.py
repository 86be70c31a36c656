"""Atomic writes: a visible file or directory is complete, and what existed stays until then."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from falconer.pipelines.console import warn
from falconer.pipelines.errors import ArtifactError, ConfigError, PipelineError, WorkerLostError
from falconer.pipelines.exhaustion import exhaustion_named, named

PARTIAL = ".partial"
"""Ending of the names of what is not whole yet."""
KEPT = ".kept"
"""The same, of what the next process goes on with."""


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksums(root: Path, *, leave_out: Sequence[str] = ()) -> dict[str, str]:
    """Relative path -> sha256 of every file below `root`, sorted by path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in files}
    wanted = {name: path for name, path in names.items() if name not in leave_out}
    with ThreadPoolExecutor() as pool:
        return dict(zip(wanted, pool.map(sha256_of, wanted.values()), strict=True))


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, finite numbers only (`ValueError` otherwise)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )


def identity_of(value: Any) -> str:
    """16 hex digits of the sha256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


@contextmanager
def _refusals_named(place: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a `PipelineError` that names the place."""
    try:
        yield
    except OSError as error:
        raise named(error, place) or PipelineError(
            f"{place}: cannot write there ({error.strerror}); choose another folder or mend this "
            "one"
        ) from error


def make_directory(path: Path) -> None:
    """Make a directory and its parents, where another process has not yet; `PipelineError` that
    names the parent where that is refused."""
    with _refusals_named(path.parent):
        path.mkdir(parents=True, exist_ok=True)


def remove_directory(path: Path) -> None:
    """Remove a directory, which is there whole or not at all: what a kill leaves of it has another
    name, and is swept like what was never finished."""
    doomed = path.with_name(f".{uuid.uuid4().hex[:12]}{PARTIAL}")
    with _refusals_named(path):
        path.rename(doomed)
        shutil.rmtree(doomed)


def remove_file(path: Path) -> None:
    """Remove a file; a refusal of the system names it."""
    with _refusals_named(path):
        path.unlink()


@contextmanager
def _workplace(parent: Path, prefix: str = ".") -> Iterator[Path]:
    """A new folder in `parent` that goes when the block ends.

    It is locked as long as this process lives, by which `sweep` tells it from what a killed process
    left. A sweep between its making and its locking takes it away: then another is made.
    """
    with _refusals_named(parent):
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent, prefix)
        place, descriptor = _locked_folder(parent, prefix)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(descriptor)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        place = parent / f"{prefix}{uuid.uuid4().hex[:12]}{PARTIAL}"
        place.mkdir(mode=0o777 if prefix == "." else 0o700)
        with suppress(FileNotFoundError):
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # some network file systems lock no folder; nor can sweep then
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if place.exists():
                return place, descriptor
            os.close(descriptor)


def sweep(folder: Path, prefix: str = ".", *, depth: int = 0) -> None:
    """Remove what killed processes left in `folder`, and in its folders down to `depth`.

    What a living process is writing is locked, and stays; so does what may not be removed.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.name.startswith(prefix) and entry.name.endswith(PARTIAL):
                _remove_unless_held(Path(entry.path))
            elif depth and entry.is_dir(follow_symlinks=False):
                sweep(Path(entry.path), prefix, depth=depth - 1)


def _remove_unless_held(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                remove_directory(path)
            else:
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder in `parent`, or among the system's temporary ones for this user alone, gone when the
    block ends; what killed processes of ours left there goes first."""
    temporary = _workplace(Path(tempfile.gettempdir()), "falconer-")
    with temporary if parent is None else _workplace(parent) as place:
        yield place


def _settle(path: Path) -> None:
    """Bring a file, or a folder and all that it holds, to the disk, with the rights that new files
    and folders of this process get: some libraries write theirs for the owner alone. A link to
    what is elsewhere too stays as it is: it was brought there before, with the rights it has."""
    if path.is_dir():
        for child in path.iterdir():
            _settle(child)
        mode = 0o777
    elif path.stat().st_nlink > 1:
        return
    else:
        mode = 0o666
    path.chmod(mode & ~_umask())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Read from the system where it says it: `os.umask` can only be read by changing it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1], 8) for line in lines if line.startswith("Umask:"))
    except (OSError, StopIteration):
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


def _sync_folder(folder: Path) -> None:
    """Bring a rename in `folder` to the disk; some file systems take no such order."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it takes `target`'s place, on any exception it goes.

    Raises `ConfigError` where `target` is there and no file: a folder, or a device such as
    /dev/null, which root could replace.
    """
    if target.exists() and not target.is_file():
        raise ConfigError(f"{target}: cannot write there (it is no file); name another one")
    with _workplace(target.parent) as place:
        partial = place / "file"
        with exhaustion_named(target):
            partial.touch()
            yield partial
            _settle(partial)
        with _refusals_named(target):
            partial.replace(target)
            _sync_folder(target.parent)


@contextmanager
def atomic_directory(
    target: Path, *, stays: Callable[[Path], bool] = lambda _: False
) -> Iterator[Path]:
    """Yield a temporary directory, renamed to `target` when whole; on any exception it goes.

    An existing `target` stays untouched if the block fails, and is replaced if it succeeds, unless
    `stays(target)`: where several processes make the same, the first one's is kept.
    """
    with _workplace(target.parent) as place:
        partial = place / "folder"
        with exhaustion_named(target):
            partial.mkdir()
            yield partial
            _settle(partial)
        with _refusals_named(target):
            _take_place(partial, target, place / "retired", stays)
            _sync_folder(target.parent)


@contextmanager
def resumable_directory(
    target: Path, *, stays: Callable[[Path], bool] = lambda _: False
) -> Iterator[tuple[Path, Path]]:
    """As `atomic_directory`, with a second folder beside the temporary one, for what is done on the
    way.

    It stays where the process is killed or interrupted, or its workers are lost: the next one with
    the same `target` finds it as it was. The temporary folder is always a new one. What others of
    the same parent left goes with the first that succeeds.
    """
    with _kept_workplace(target) as place:
        partial, kept = place / "folder", place / "kept"
        with exhaustion_named(target):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            kept.mkdir(exist_ok=True)
            yield partial, kept
            _settle(partial)
        with _refusals_named(target):
            _take_place(partial, target, place / "retired", stays)
            _sync_folder(target.parent)
    for left in target.parent.glob(f".*{KEPT}"):
        _remove_unless_held(left)


@contextmanager
def _kept_workplace(target: Path) -> Iterator[Path]:
    """A locked folder in `target`'s parent that stays on a kill or an interruption, or where
    workers are lost; another one where a living process has it."""
    place = _kept_place(target)
    with _refusals_named(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        descriptor = _locked(place)
    if descriptor is None:
        with _workplace(target.parent) as place:
            yield place
        return
    try:
        yield place
    except WorkerLostError:
        raise
    except KeyboardInterrupt:
        warn(f"{place}: what is done stays there, and the same command goes on; or remove it")
        raise
    except Exception:
        remove_directory(place)
        raise
    else:
        remove_directory(place)
    finally:
        os.close(descriptor)


def _kept_place(target: Path) -> Path:
    return target.with_name(f".{target.name}{KEPT}")


def bytes_kept(target: Path) -> int:
    """Bytes of what `resumable_directory` would go on with."""
    return sum(path.stat().st_size for path in _kept_place(target).rglob("*") if path.is_file())


def _locked(place: Path) -> int | None:
    """Make a folder and lock it; None where another process has it."""
    while True:
        place.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return None
            if place.exists() and os.path.samestat(place.stat(), os.fstat(descriptor)):
                return descriptor
            os.close(descriptor)


def _take_place(partial: Path, target: Path, retired: Path, stays: Callable[[Path], bool]) -> None:
    """Rename `partial` to `target`; where that exists, the two change places in one step, so that
    a kill leaves one of them."""
    if not target.exists():
        try:
            partial.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # else another process has just put its own there
    if stays(target) or _exchanged(partial, target):
        return
    target.rename(retired)
    partial.rename(target)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether Linux let two paths change places (renameat2 with RENAME_EXCHANGE)."""
    here, exchange = -100, 2
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and not rename(
        here, os.fsencode(one), here, os.fsencode(other), exchange
    )


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
    except OSError as error:
        raise named(error, path) or ArtifactError(
            f"{path}: cannot be read ({error.strerror})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path}: damaged ({error}); make it anew with the command that wrote it"
        ) from error
