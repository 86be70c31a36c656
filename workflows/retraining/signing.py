"""A local key, and what it signs: HMAC-SHA256 over a document's canonical JSON."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import canonical_json, make_directory, read_json
from falconer.workflows.retraining.places import Places

KEY_BYTES = 32
OWNER_ONLY = 0o600
READ: Mapping[str, Any] = {
    "window": str,
    "outcome": str,
    "reason": str,
    "challenger": str | None,
    "champion": str | None,
    "alpha": float | int | None,
    "users_needed": int | None,
    "means": dict,
    "models": dict,
    "rule": dict,
    "rules": list,
    "tests_before": list,
    "sha256": str,
}
"""What is read of every decision, and what it is."""


def key_of(places: Places) -> bytes:
    """The pipeline's key, made where nothing is signed yet, readable by its owner only.

    Raises `ArtifactError` where it is gone, where others can read it, or where it is no key.
    """
    path = places.registry / "key"
    if not path.exists() and places.has_signed():
        raise ArtifactError(
            f"{path}: the key is gone, and what was decided is signed with it; restore it from a "
            "copy. Without one nobody can tell who wrote these decisions: begin anew under another "
            "`name`"
        )
    if not places.registry.is_dir():
        make_directory(places.registry)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        return _read(path)
    with os.fdopen(descriptor, "wb") as stream:
        key = secrets.token_bytes(KEY_BYTES)
        stream.write(key)
        stream.flush()
        os.fsync(stream.fileno())
    return key


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except PermissionError as error:
        raise ArtifactError(
            f"{path}: only its owner can read this key, and so check what it signed; give the "
            "command as that user"
        ) from error
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ArtifactError(
            f"{path}: others can read this key (mode {mode:o}), so its signatures prove nothing; "
            f"chmod 600 {path}, and take another key if somebody may have read it"
        )
    if len(key) != KEY_BYTES:
        raise ArtifactError(f"{path}: not a key of {KEY_BYTES} bytes; restore it from a copy")
    return key


def stored(path: Path) -> dict[str, Any]:
    """A decision's file, its signature not checked; `ArtifactError` where it is damaged."""
    damaged = (
        f"{path}: damaged; restore it from a copy: it cannot be made anew, and no other window "
        "is decided without it"
    )
    try:
        document: dict[str, Any] = read_json(path)
    except ArtifactError as error:
        raise ArtifactError(damaged) from error
    if not isinstance(document, dict) or not all(
        name in document and isinstance(document[name], kind) for name, kind in READ.items()
    ):
        raise ArtifactError(damaged)
    return document


def digest(document: Mapping[str, Any]) -> str:
    """Hex sha256 of the document's canonical JSON."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def signed(document: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """The document with its `sha256` and `signature`."""
    text = digest(document)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return {**document, "sha256": text, "signature": signature}


def verified(document: Mapping[str, Any], key: bytes, origin: Path) -> dict[str, Any]:
    """The document without hash and signature; `ArtifactError` where they are not its own."""
    bare = {name: document[name] for name in document if name not in ("sha256", "signature")}
    wanted = signed(bare, key)
    for name in ("sha256", "signature"):
        if not hmac.compare_digest(str(document.get(name)), wanted[name]):
            raise ArtifactError(
                f"{origin}: its {name} is not that of its content: it was changed by hand, or "
                "signed with another key"
            )
    return bare
