"""Smaller images: each pixel is the mean of a square."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scff_hw.data import load, shrink
from scff_hw.errors import UsageError


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_a_pixel_is_the_mean_of_a_square(factor: int) -> None:
    whole = load("digits")
    found = shrink(whole, factor)
    side = 8 // factor
    assert found.input_shape == (1, side, side)
    pixels = whole.test.images.numpy().astype(float)
    means = pixels.reshape(-1, 1, side, factor, side, factor).mean(axis=(3, 5))
    assert np.array_equal(found.test.images.numpy(), np.floor(means + 0.5))
    assert found.train.images.dtype == torch.uint8
    assert found.train.labels is whole.train.labels


@pytest.mark.parametrize(
    ("name", "factor", "shape"), [("digits", 3, "1 x 8 x 8"), ("digits", 0, "1 x 8 x 8"), ("iris", 2, "4")]
)
def test_what_cannot_be_shrunk_is_refused(name: str, factor: int, shape: str) -> None:
    said = f"The factor to shrink {name} by must divide .* Got {factor} for samples of {shape}"
    with pytest.raises(UsageError, match=said):
        shrink(load(name), factor)
