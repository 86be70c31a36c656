"""Changes of pictures keep their shape, follow their generator, and do what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from falconer.vision.augment.mixing import mixed
from falconer.vision.augment.single import (
    erased,
    padded_crop,
    random_resized,
    training_picture,
)
from falconer.vision.augment.trivial import NAMES, changed
from falconer.vision.config import AugmentConfig, PicturesConfig
from falconer.vision.data.decode import resized
from falconer.vision.data.prepared import middle

EVERYTHING = AugmentConfig(crop="random_resized", flip=True, trivial=True, erasing=1.0)


def noise(height: int = 20, width: int = 30, channels: int = 3) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(5).integers(0, 256, (height, width, channels), np.uint8)


@given(st.integers(0, 2**32), st.integers(8, 60), st.integers(8, 60), st.sampled_from([1, 3]))
def test_any_picture_keeps_to_the_size_and_the_generator(
    seed: int, height: int, width: int, channels: int
) -> None:
    pixels = noise(height, width, channels)
    config = PicturesConfig(
        size=16, share=1.0, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels
    )
    for crop in ("none", "padded", "random_resized"):
        augment = EVERYTHING.model_copy(update={"crop": crop})
        first, second = (
            training_picture(pixels, config, augment, np.random.default_rng(seed)) for _ in "ab"
        )
        assert first.shape == (16, 16, channels)
        assert first.dtype == np.uint8
        assert np.array_equal(first, second)


def test_without_changes_a_picture_is_its_middle() -> None:
    config = PicturesConfig(size=16, share=0.8)
    rng = np.random.default_rng(1)
    found = training_picture(noise(), config, AugmentConfig(), rng)
    assert np.array_equal(found, middle(noise(), config))
    assert np.array_equal(found, noise()[2:18, 7:23])
    flipped = [
        training_picture(noise(), config, AugmentConfig(flip=True), np.random.default_rng(seed))
        for seed in range(40)
    ]
    turned = [np.array_equal(one, found[:, ::-1]) for one in flipped]
    same = [np.array_equal(one, found) for one in flipped]
    assert sum(turned) + sum(same) == 40
    assert 8 < sum(turned) < 32


def test_a_padded_crop_moves_and_fills_with_black() -> None:
    pixels = np.full((6, 6, 1), 9, np.uint8)
    sizes = set()
    for seed in range(60):
        found = padded_crop(pixels, 2, np.random.default_rng(seed))
        rows, columns = np.nonzero(found[..., 0])
        size = (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)
        assert (found[found > 0] == 9).all()
        assert (found > 0).sum() == size[0] * size[1]
        sizes.add(size)
    assert sizes == {(a, b) for a in (4, 5, 6) for b in (4, 5, 6)}


def test_where_no_crop_fits_it_is_the_middle_square() -> None:
    long = noise(4, 90)
    found = random_resized(long, 16, (0.9, 1.0), np.random.default_rng(3))
    assert np.array_equal(found, resized(long, (16, 16), (43, 0, 47, 4)))
    whole = random_resized(noise(16, 16), 16, (0.5, 0.6), np.random.default_rng(3))
    assert whole.shape == (16, 16, 3)


def test_erasing_changes_one_rectangle() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    found = erased(pixels, np.random.default_rng(2))
    rows, columns = np.nonzero(found.any(axis=2))
    area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / 1600
    assert 0.01 < area < 0.36
    assert not pixels.any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_trivial_changes_are_nothing_at_strength_zero(name: str, channels: int) -> None:
    pixels = noise(12, 12, channels)
    assert changed(pixels, name, 1.0).shape == pixels.shape
    if name not in ("autocontrast", "equalise"):
        assert np.array_equal(changed(pixels, name, 0.0), pixels)
    if name != "identity":
        ramp = np.tile(np.arange(40, 160, 10, dtype=np.uint8)[:, None, None], (1, 60, channels))
        ramp[::2, ::2] += 30
        if channels == 3:
            ramp[..., 0] += 20
        if name != "colour" or channels == 3:
            assert not np.array_equal(changed(ramp, name, 1.0), ramp)


def batch(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Picture i has the value i everywhere, and class i."""
    pictures = torch.arange(float(n)).view(n, 1, 1, 1).expand(n, 1, 8, 8).contiguous()
    return pictures, torch.eye(n)


@pytest.mark.parametrize("knob", ["mixup", "cutmix"])
def test_targets_are_mixed_as_the_pictures_are(knob: str) -> None:
    config = AugmentConfig.model_validate({knob: 1.0})
    pictures, targets = batch()
    for seed in range(20):
        found, shares = mixed(pictures, targets, config, np.random.default_rng(seed))
        assert torch.allclose(shares.sum(1), torch.ones(6))
        expected = (shares * torch.arange(6.0)).sum(1)
        assert torch.allclose(found.mean((1, 2, 3)), expected, atol=1e-5)
    assert torch.equal(pictures, batch()[0])


def test_without_mixing_nothing_changes() -> None:
    pictures, targets = batch()
    found = mixed(pictures, targets, AugmentConfig(), np.random.default_rng(0))
    assert found[0] is pictures
    assert found[1] is targets
