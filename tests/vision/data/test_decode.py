"""Every kind of file gives pixels as they are shown, or the reason why not."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from falconer.vision.data import decode as decoding
from falconer.vision.data.decode import UnusableError, decode, read_picture, resized, scaled
from tests.support.pictures import picture

RED = (250, 10, 20)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(colour: object = RED, mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


def half_turned() -> bytes:
    """Shown upright it is 2 x 8, and dark at its top."""
    image = Image.new("L", (8, 2), 255)
    image.paste(0, (0, 0, 4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image.convert("RGB"), "PNG", exif=exif)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP", "JPEG"])
def test_every_format_is_read(kind: str) -> None:
    found = decode(encoded(plain(), kind))
    assert found.shape == (4, 6, 3)
    assert np.abs(found[2, 3].astype(int) - RED).max() < 12


def test_exif_orientation_is_honoured() -> None:
    found = decode(half_turned())
    assert found.shape == (8, 2, 3)
    assert found[0, 0, 0] == 0
    assert found[-1, 0, 0] == 255


def test_cmyk_is_shown_as_colours() -> None:
    found = decode(encoded(plain((0, 255, 255, 0), "CMYK"), "JPEG"))
    assert found.shape == (4, 6, 3)
    assert found[0, 0, 0] > 200
    assert found[0, 0, 1] < 60


def test_sixteen_bits_are_scaled_and_not_cut() -> None:
    values = np.array([[0, 0x4000], [0x8000, 0xFFFF]], np.uint16)
    found = decode(encoded(Image.fromarray(values), "PNG"), channels=1)
    assert found[..., 0].tolist() == [[0, 64], [128, 255]]


def test_an_animation_is_its_first_frame() -> None:
    frames = [plain((0, 255, 0)), plain((255, 0, 0))]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(content)[0, 0].tolist() == [0, 255, 0]


def test_what_is_transparent_is_white() -> None:
    assert decode(encoded(plain((9, 9, 9, 0), "RGBA"), "PNG"))[0, 0].tolist() == [255, 255, 255]


def test_one_channel_is_luminance() -> None:
    found = decode(encoded(plain((255, 0, 0)), "PNG"), channels=1)
    assert found.shape == (4, 6, 1)
    assert found[0, 0, 0] == 76


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"this is text, not a picture", "no picture, whatever its name says"),
        (encoded(picture(RED, 1, (64, 64)), "JPEG")[:400], "damaged"),
        (encoded(plain(size=(1, 1)), "PNG"), r"too small \(1 x 1\)"),
        (encoded(plain(size=(400, 4)), "PNG"), r"too stretched \(400 x 4\)"),
        (encoded(plain(0.5, "F"), "TIFF"), "fractions"),
    ],
    ids=["empty", "text", "cut", "1x1", "stretched", "fractions"],
)
def test_what_is_no_usable_picture_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        decode(content)


def test_a_header_of_too_many_pixels_is_refused_before_they_are_read() -> None:
    content = bytearray(encoded(plain(), "BMP"))
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(UnusableError, match="too many pixels"):
        decode(bytes(content))


def test_a_file_of_too_many_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(encoded(plain(), "PNG"))
    monkeypatch.setattr(decoding, "MOST_BYTES", 10)
    with pytest.raises(UnusableError, match="larger than"):
        read_picture(tmp_path / "a.png")


def test_an_absent_file_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match="cannot be read"):
        read_picture(tmp_path / "a.png")


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["PNG", "GIF", "JPEG", "TIFF", "WEBP"]))
def test_any_bytes_are_pixels_or_a_reason(noise: bytes, kind: str) -> None:
    whole = bytearray(encoded(picture(RED, 2, (20, 20)), kind))
    for place, value in enumerate(noise):
        whole[(place * 37 + value) % len(whole)] = value
    for content in (noise, bytes(whole)):
        with suppress(UnusableError):
            assert decode(content).dtype == np.uint8


def test_scaling_keeps_the_sides_ratio() -> None:
    pixels = np.zeros((20, 50, 1), np.uint8)
    assert scaled(pixels, 10).shape == (10, 25, 1)
    assert scaled(pixels, 20) is pixels
    assert resized(pixels, (7, 5), (0, 0, 10, 10)).shape == (5, 7, 1)
