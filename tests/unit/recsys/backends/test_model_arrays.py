from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.errors import ArtifactError
from falconer.recsys.backends.numpy.arrays import (
    FILE,
    known_items,
    load_arrays,
    mask_new_items,
    save_arrays,
)

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([], dtype=np.int64)}


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    save_arrays(tmp_path, **ARRAYS)
    loaded = load_arrays(tmp_path, "a", "b")
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].tolist() == array.tolist()


def test_an_array_in_another_memory_order_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("rows", "columns"):
        (tmp_path / folder).mkdir()
    save_arrays(tmp_path / "rows", a=ARRAYS["a"])
    save_arrays(tmp_path / "columns", a=np.asfortranarray(ARRAYS["a"]))
    assert (tmp_path / "rows" / FILE).read_bytes() == (tmp_path / "columns" / FILE).read_bytes()


def test_an_absent_file_or_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing or damaged"):
        load_arrays(tmp_path, "a")
    save_arrays(tmp_path, **ARRAYS)
    with pytest.raises(ArtifactError, match="missing or damaged"):
        load_arrays(tmp_path, "c")


def test_no_damage_goes_unseen_or_ends_in_a_traceback(tmp_path: Path) -> None:
    save_arrays(tmp_path, **ARRAYS)
    path = tmp_path / FILE
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        for broken in (
            whole[:place],
            whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :],
        ):
            path.write_bytes(broken)
            try:
                loaded = load_arrays(tmp_path, "a", "b")
            except ArtifactError:
                refused += 1
            else:  # a byte that zip does not use, such as a date
                assert all(
                    loaded[name].tolist() == array.tolist() for name, array in ARRAYS.items()
                )
    assert refused > len(whole)


def test_new_items_are_masked() -> None:
    scores = np.zeros((2, 3), dtype=np.float32)
    assert mask_new_items(scores, 3) is scores
    masked = mask_new_items(scores, 5)
    assert masked.dtype == np.float32
    np.testing.assert_array_equal(masked, [[0, 0, 0, -np.inf, -np.inf]] * 2)
    assert known_items(3, 5).tolist() == [True, True, True, False, False]
    with pytest.raises(ArtifactError, match="knows 3 items"):
        known_items(3, 2)
