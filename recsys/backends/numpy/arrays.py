"""Saving and loading models that are a few arrays: npz without pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.errors import ArtifactError

FILE = "arrays.npz"


def save_arrays(directory: Path, **arrays: NDArray[Any]) -> None:
    """Write `arrays.npz`, with bytes that depend on the arrays only."""
    with zipfile.ZipFile(directory / FILE, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)  # type: ignore[no-untyped-call]


def load_arrays(directory: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Read the named arrays; `ArtifactError` where the file is absent, damaged, or lacks one."""
    path = directory / FILE
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read(archive, name) for name in names}
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path}: missing or damaged ({error}); train the model anew"
        ) from error


def _read(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)  # type: ignore[no-untyped-call]
    return array


def mask_new_items(scores: NDArray[np.float32], n_items: int) -> NDArray[np.float32]:
    """Extend scores float32[Q, n_known] to float32[Q, n_items] with -inf for the items that came
    after training."""
    missing = n_items - scores.shape[1]
    return np.pad(scores, [(0, 0), (0, missing)], constant_values=-np.inf) if missing else scores


def known_items(n_known: int, n_items: int) -> NDArray[np.bool_]:
    """bool[n_items]: the first `n_known` ids. Raises `ArtifactError` where the model knows more
    than there are."""
    if n_known > n_items:
        raise ArtifactError(
            f"the model knows {n_known} items and the dataset has {n_items}; train the model anew"
        )
    return np.arange(n_items) < n_known
