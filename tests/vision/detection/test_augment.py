"""Boxes go with their pictures: a marked rectangle is still under its box after each change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.vision.detection import augment
from falconer.vision.detection.augment import Sample
from falconer.vision.detection.config import AugmentConfig


def marked(seed: int) -> Sample:
    """A dark picture with one white rectangle, which is its only box."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(40, 90, 2))
    x0, y0 = int(rng.integers(0, width - 20)), int(rng.integers(0, height - 20))
    x1, y1 = x0 + int(rng.integers(8, 20)), y0 + int(rng.integers(8, 20))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y0:y1, x0:x1] = 255
    return Sample(pixels, np.array([[x0, y0, x1, y1]], np.float64), np.array([3]))


def white(sample: Sample) -> list[int]:
    """The corners of what is white."""
    rows, columns = np.nonzero(sample.pixels[..., 0] > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


CHANGES = {
    "flip": lambda s, rng: augment.flipped(s),
    "transpose": lambda s, rng: augment.transposed(s),
    "zoom out": lambda s, rng: augment.zoomed_out(s, rng, most=3),
    "crop": augment.cropped,
    "all": lambda s, rng: augment.augmented(s, AugmentConfig(photometric=False, turn=True), rng),
}


@pytest.mark.parametrize("change", CHANGES)
@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_box_is_where_the_mark_is(change: str, seed: int) -> None:
    found = CHANGES[change](marked(seed), np.random.default_rng(seed))
    assert found.boxes.tolist() == [white(found)]
    assert found.labels.tolist() == [3]


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_resizing_scales_the_box(seed: int) -> None:
    found = augment.resized(marked(seed), 200)
    assert found.pixels.shape == (200, 200, 3)
    assert np.abs(found.boxes - white(found)).max() <= 3


def test_the_same_generator_gives_the_same_sample_and_another_one_does_not() -> None:
    config = AugmentConfig(turn=True)
    first, again, other = (
        augment.augmented(marked(1), config, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert np.array_equal(first.pixels, again.pixels)
    assert first.pixels.shape != other.pixels.shape or (first.pixels != other.pixels).any()


def test_a_picture_without_boxes_stays_whole() -> None:
    sample = Sample(marked(0).pixels, np.zeros((0, 4)), np.zeros(0, np.int64))
    assert augment.cropped(sample, np.random.default_rng(0)) is sample


def test_colours_change_and_grey_stays_grey_under_a_turn_of_hue() -> None:
    rotation = augment._hue_rotation(0.3)
    np.testing.assert_allclose(rotation @ np.ones(3), np.ones(3), atol=1e-6)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    pixels = np.random.default_rng(0).integers(0, 255, (9, 9, 3)).astype(np.uint8)
    assert any(
        (augment.photometric(pixels, np.random.default_rng(seed)) != pixels).any()
        for seed in range(5)
    )


def test_normalising() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[..., 1] = 255
    found = augment.normalised(pixels, (0.5, 0.5, 0.0), (0.5, 0.25, 1.0))
    assert found.shape == (3, 2, 3)
    assert found[:, 0, 0].tolist() == [-1, 2, 0]
