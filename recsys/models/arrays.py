"""Saving and loading models that are a few arrays: npz without pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ArtifactError

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
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path}: missing or damaged ({error}); train the model anew") from error


def pad_items(values: NDArray[Any], n_items: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Extend the first axis with zeros to `n_items`, and say which items the model knew: bool[n_items].

    Raises `ArtifactError` where the model knows more items than the dataset has.
    """
    if len(values) > n_items:
        raise ArtifactError(f"the model knows {len(values)} items and the dataset has {n_items}; train the model anew")
    known = np.arange(n_items) < len(values)
    padding = [(0, n_items - len(values))] + [(0, 0)] * (values.ndim - 1)
    return np.pad(values, padding), known
