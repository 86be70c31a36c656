"""The checksum beside a file of lists or predictions, which tells whether it is still what was
written."""

from __future__ import annotations

from pathlib import Path

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import sha256_of, write_text


def seal(path: Path) -> None:
    """Write the file's checksum beside it, as `sha256sum` does."""
    write_text(_seal_of(path), f"{sha256_of(path)}  {path.name}\n")


def break_seal(path: Path) -> None:
    """Remove the checksum of a file that is about to be replaced."""
    _seal_of(path).unlink(missing_ok=True)


def checked_sha256(path: Path, *, remedy: str) -> str:
    """Hex sha256 of the file; `ArtifactError` with the remedy where it is not what was sealed.

    A file without a seal is from elsewhere, or from a job that was killed before the end.
    """
    found = sha256_of(path)
    seal = _seal_of(path)
    if seal.is_file() and seal.read_text(encoding="utf-8").split()[:1] != [found]:
        raise ArtifactError(f"{path}: changed since it was written, or damaged; {remedy}")
    return found


def _seal_of(path: Path) -> Path:
    return path.with_suffix(".sha256")
