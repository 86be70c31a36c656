"""Sparse matrices in compressed rows: the largest values of a row, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from falconer.pipelines.errors import ArtifactError
from falconer.recsys.backends.numpy.arrays import load_arrays, save_arrays


def largest(values: NDArray[np.float32], k: int) -> Any:
    """The `k` largest positive values of each row as csr, ties by column."""
    k = min(k, values.shape[1])
    # The k-th largest; all above it are in, and of those equal to it the first ones that there is
    # room for.
    bound = -np.partition(-values, k - 1, axis=1)[:, k - 1 : k]
    above, equal = values > bound, values == bound
    room = k - above.sum(axis=1, keepdims=True)
    kept = above | (equal & (np.cumsum(equal, axis=1) <= room))
    return sp.csr_array(np.where(kept, values, np.float32(0.0)))


def save_rows(directory: Path, matrix: Any, **more: NDArray[Any]) -> None:
    """Write a csr matrix as `arrays.npz`, with `more` arrays beside it."""
    save_arrays(
        directory, values=matrix.data, columns=matrix.indices, offsets=matrix.indptr, **more
    )


def load_rows(directory: Path, n_columns: int | None = None) -> Any:
    """Read what `save_rows` wrote, a square matrix where no number of columns is given;
    `ArtifactError` where it is damaged."""
    arrays = load_arrays(directory, "values", "columns", "offsets")
    n_rows = len(arrays["offsets"]) - 1
    try:
        matrix = sp.csr_array(
            (arrays["values"], arrays["columns"], arrays["offsets"]),
            shape=(n_rows, n_rows if n_columns is None else n_columns),
        )
        matrix.check_format(full_check=True)
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{directory}: damaged ({error}); train the model anew") from error
    return matrix
