"""Decoded pictures stay in memory up to a bound: a few large ones do not fill it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from falconer.pipelines.errors import DataError
from falconer.vision.detection.batches import KeptPictures


def test_pictures_beyond_the_bound_are_decoded_anew(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.new("RGB", (20, 10)).save(path)
    pixels_of = KeptPictures(2 * 20 * 10 * 3)
    first = [pixels_of(path) for path in paths]
    again = [pixels_of(path) for path in paths]
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, True, False]
    assert (first[2] == again[2]).all()


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match=r"a\.png: no picture, whatever its name says"):
        KeptPictures(1000)(tmp_path / "a.png")
