"""From the ids in somebody's file to the row numbers of a dataset's own ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from falconer.pipelines.errors import DataError


class IdMatcher:
    """Turns one id column of a file into row numbers of the dataset's own ids, and counts what is
    unknown.

    Ids of the same kind are compared as they are; text against whole numbers is compared as text,
    which loses nothing.
    """

    def __init__(self, path: Path, name: str, given: pa.DataType, keys: pa.Array) -> None:
        self._path, self.name, self._given, self._own = path, name, given, keys
        plain = _plain_type(given)
        if plain is None:
            raise DataError(f"{path}: column {name} is {given}; ids must be text or whole numbers")
        same = plain == _plain_type(keys.type)
        self._compared: pa.DataType = plain if same else pa.string()
        self._keys = keys.cast(self._compared)
        self._next = 0
        self._all_unknown = True
        self.n_unknown = 0
        self.unknown_example: Any = None

    def codes(self, column: pa.ChunkedArray, before: int) -> NDArray[np.int32]:
        """int32[n]: the row in the dataset's ids, -1 = unknown."""
        nulls = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
        if pc.any(nulls).as_py():
            raise DataError(
                f"{self._path}: row {before + pc.index(nulls, True).as_py()}: {self.name} is "
                "empty; remove such rows"
            )
        if not len(column):
            return np.empty(0, np.int32)
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        encoded = encoded.unify_dictionaries()
        distinct = encoded.chunk(0).dictionary
        numbers = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
        codes = np.asarray(self._codes_of(distinct)[np.concatenate(numbers)], np.int32)
        self._count(distinct, codes, numbers)
        return codes

    def _codes_of(self, distinct: pa.Array) -> NDArray[np.int32]:
        """int32[n]: each distinct value's row; those that follow in the dataset's own order need no
        looking up."""
        values = self._plain(distinct)
        if self._keys.slice(self._next, len(values)).equals(values):
            start, self._next = self._next, self._next + len(values)
            return np.arange(start, self._next, dtype=np.int32)
        codes = np.asarray(
            pc.fill_null(pc.index_in(values, value_set=self._keys), -1).to_numpy(), np.int32
        )
        self._next = int(codes[-1]) + 1
        return codes

    def _plain(self, values: pa.Array) -> pa.Array:
        try:
            whole = values.cast(pa.int64()) if pa.types.is_floating(values.type) else values
            return whole.cast(self._compared)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{self._path}: column {self.name}: {error}; ids must be text or whole numbers"
            ) from error

    def _count(
        self, distinct: pa.Array, codes: NDArray[np.int32], numbers: list[NDArray[Any]]
    ) -> None:
        unknown = np.flatnonzero(codes < 0)
        self.n_unknown += len(unknown)
        self._all_unknown &= len(unknown) == len(codes)
        if len(unknown) and self.unknown_example is None:
            self.unknown_example = distinct[int(np.concatenate(numbers)[unknown[0]])].as_py()

    def refuse_all_unknown(self) -> None:
        """Raise `DataError` where no row of the file has an id of the dataset."""
        if self._all_unknown:
            own = self._own[0].as_py() if len(self._own) else None
            raise DataError(
                f"{self._path}: not one {self.name} is in the dataset: the file has {self._given} "
                f"such as {self.unknown_example!r}, the dataset {self._own.type} such as {own!r}; "
                "write the ids as the dataset's source has them, or judge on the dataset that they "
                "belong to"
            )


def _plain_type(given: pa.DataType) -> pa.DataType | None:
    """string or int64, as which ids of this type are compared; None where ids cannot have it."""
    if pa.types.is_dictionary(given):
        return _plain_type(given.value_type)
    if pa.types.is_string(given) or pa.types.is_large_string(given):
        return pa.string()
    if pa.types.is_integer(given) or pa.types.is_floating(given):
        return pa.int64()
    return None
