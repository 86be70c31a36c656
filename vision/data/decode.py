"""One picture file to pixels; whatever is wrong with the file, the reason is a sentence."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Pixels = NDArray[np.uint8]
"""uint8[height, width, channels]"""

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 2**26
"""67 million, 200 MB of colours: a header that says more is not believed."""
MOST_BYTES = 2**28
LEAST_SIDE = 2
MOST_STRETCHED = 50
SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")


class UnusableError(Exception):
    """Why one picture is set aside."""


def read_picture(path: Path, *, channels: int = 3) -> Pixels:
    """The picture as it is shown: turned as its EXIF orientation says, of an animation the first
    frame, colours as RGB (`channels` 3) or as luminance (1), on white where it is transparent.

    16-bit values are divided by 256. Raises `UnusableError` for a file that is empty, no picture,
    cut off, too large, or too small or stretched to show anything.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UnusableError(f"larger than {MOST_BYTES // 2**20} MB")
        return decode(path.read_bytes(), channels=channels)
    except OSError as error:
        raise UnusableError(f"cannot be read ({error.strerror})") from error


def decode(content: bytes, *, channels: int = 3) -> Pixels:
    """As `read_picture`, from a file's bytes."""
    if not content:
        raise UnusableError("an empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                refuse_size(*image.size)
                return _pixels(image, channels)
        except UnidentifiedImageError as error:
            raise UnusableError("no picture, whatever its name says") from error
        except Image.DecompressionBombError as error:
            raise UnusableError("too many pixels") from error
        except (OSError, ValueError, SyntaxError, IndexError, EOFError, OverflowError) as error:
            raise UnusableError(f"damaged ({_short(error)})") from error


def refuse_size(width: int, height: int) -> None:
    """`UnusableError` for a picture of too many pixels, or too few to show anything."""
    if width * height > MOST_PIXELS:
        raise UnusableError(f"too many pixels ({width} x {height})")
    if min(width, height) < LEAST_SIDE:
        raise UnusableError(f"too small ({width} x {height})")
    if max(width, height) > MOST_STRETCHED * min(width, height):
        raise UnusableError(f"too stretched ({width} x {height})")


def _pixels(image: Image.Image, channels: int) -> Pixels:
    turned = ImageOps.exif_transpose(image)
    if turned.mode in SIXTEEN_BIT:
        values = np.asarray(turned)
        grey = (values.clip(0, 65535) // 256).astype(np.uint8)
        turned = Image.fromarray(grey)
    elif turned.mode == "F":
        raise UnusableError("pixels are fractions, of which the scale is not known")
    if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
        coloured = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    plain = turned.convert("RGB" if channels == 3 else "L")
    return np.asarray(plain).reshape(plain.height, plain.width, channels)


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:80] if str(error) else type(error).__name__


def scaled(pixels: Pixels, short: int) -> Pixels:
    """The picture with its shorter side of `short` pixels, bilinear with a filter as wide as the
    reduction."""
    height, width = pixels.shape[:2]
    if min(height, width) == short:
        return pixels
    scale = short / min(height, width)
    size = (max(short, round(width * scale)), max(short, round(height * scale)))
    return resized(pixels, size)


def resized(
    pixels: Pixels, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Pixels:
    """`box` (left, top, right, bottom; the whole where left out) at `size` = (width, height)."""
    channels = pixels.shape[2]
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    found = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))
    return found.reshape(size[1], size[0], channels)
