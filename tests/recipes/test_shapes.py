"""Shape arithmetic compared with torch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from scff_hw.core.shapes import (
    ShapeError,
    conv2d_length,
    conv2d_shapes,
    dense_shapes,
    feature_count,
    pool_length,
)


@dataclass(frozen=True)
class Pool:
    kind: str
    size: int
    stride: int
    padding: int = 0
    ceil: bool = True

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        apply = F.max_pool2d if self.kind == "max" else F.avg_pool2d
        return apply(x, self.size, self.stride, self.padding, ceil_mode=self.ceil)


lengths = st.integers(1, 24)
pools = st.builds(
    Pool,
    kind=st.sampled_from(["max", "avg"]),
    size=st.integers(1, 8),
    stride=st.integers(1, 8),
    padding=st.integers(0, 4),
    ceil=st.booleans(),
)


@settings(deadline=None)
@given(length=lengths, pool=pools)
def test_pool_length_is_torchs_and_refuses_what_torch_refuses(length: int, pool: Pool) -> None:
    try:
        expected = pool(torch.zeros(1, 1, length, length)).shape[-1]
    except RuntimeError:
        expected = None
    try:
        found = pool_length(length, size=pool.size, stride=pool.stride, padding=pool.padding, ceil=pool.ceil)
    except ShapeError:
        found = None
    assert found == expected


@settings(deadline=None)
@given(length=lengths, kernel=st.integers(1, 30), padding=st.integers(0, 26))
def test_conv2d_length_is_torchs_with_reflect_padding(length: int, kernel: int, padding: int) -> None:
    try:
        padded = F.pad(torch.zeros(1, 1, length, length), [padding] * 4, mode="reflect")
        expected = F.conv2d(padded, torch.zeros(1, 1, kernel, kernel)).shape[-1]
    except RuntimeError:
        expected = None
    try:
        found = conv2d_length(length, kernel, padding)
    except ShapeError:
        found = None
    assert found == expected


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(8, 24), st.integers(8, 24)),
    channels=st.integers(1, 5),
    kernel=st.integers(1, 5),
    padding=st.integers(0, 2),
    pool=st.none() | pools,
    readout_pool=st.none() | pools,
)
def test_conv2d_shapes_are_those_of_tensors(shape, channels, kernel, padding, pool, readout_pool) -> None:
    try:
        found = conv2d_shapes(
            shape,
            channels=channels,
            kernel=kernel,
            padding=padding,
            pool=pool,
            readout_pool=readout_pool,
        )
    except ShapeError:
        return
    x = F.pad(torch.zeros(1, *shape), [padding] * 4, mode="reflect")
    hidden = F.conv2d(x, torch.zeros(channels, shape[0], kernel, kernel))
    output = pool(hidden) if pool else hidden
    features = readout_pool(output) if readout_pool else output
    assert found.input == shape
    assert found.hidden == tuple(hidden.shape[1:])
    assert found.output == tuple(output.shape[1:])
    assert found.features == tuple(features.shape[1:])
    assert found.feature_count == features.numel()


def test_ceil_mode_drops_a_window_that_starts_in_the_right_padding() -> None:
    assert pool_length(4, size=2, stride=3, padding=1, ceil=True) == 2
    assert pool_length(5, size=2, stride=4, padding=1, ceil=True) == 2


def test_dense_shapes_flatten_any_input() -> None:
    shapes = dense_shapes((3, 8, 8), 10)
    assert (shapes.input, shapes.hidden, shapes.output, shapes.features) == ((3, 8, 8), (10,), (10,), (10,))
    assert feature_count([shapes, shapes]) == 20


@pytest.mark.parametrize(
    ("arguments", "key", "message"),
    [
        ({"shape": (4,)}, "kind", "must be dense on a flat input of 4 values, got 'conv2d'"),
        ({"padding": 8}, "padding", "must be below the input's 8 px (reflect padding), got 8"),
        ({"kernel": 11}, "kernel", "must be at most the padded input's 10 px, got 11"),
        (
            {"pool": Pool("max", 2, 2, 2)},
            "pool.padding",
            "must be at most half the pool's size of 2 px, got 2",
        ),
        (
            {"readout_pool": Pool("max", 9, 1, 0, False)},
            "readout_pool.size",
            "must be at most 8 px for an input of 8 px, got 9",
        ),
    ],
)
def test_refusals_name_the_key_and_the_limit(arguments: dict, key: str, message: str) -> None:
    usual = {"shape": (1, 8, 8), "channels": 2, "kernel": 3, "padding": 1}
    with pytest.raises(ShapeError) as caught:
        conv2d_shapes(**(usual | arguments))
    assert caught.value.key == key
    assert str(caught.value) == message
