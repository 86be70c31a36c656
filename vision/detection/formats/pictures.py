"""The size of a picture that an annotation names."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from falconer.vision.data.decode import UnusableError, refuse_size

TRANSPOSED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
ORIENTATION = 0x0112


def size_of(path: Path, *, declared: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) as the picture is shown, from its header.

    Raises `UnusableError` where the file is not there, is no picture, is too large, or has another
    size than the annotation declares, since its boxes then mean other pixels.
    """
    try:
        if not path.is_file():
            raise UnusableError("its picture is not there")
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) in TRANSPOSED
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnusableError("its picture cannot be read") from error
    refuse_size(width, height)
    shown = (height, width) if turned else (width, height)
    if declared is not None and declared != shown:
        raise UnusableError(
            f"its picture is {shown[0]} x {shown[1]}, and the annotation says "
            f"{declared[0]} x {declared[1]}"
        )
    return shown
