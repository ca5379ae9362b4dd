"""Shapes through a network, computed with integers: no tensor is allocated.

A shape is `(features,)` for a flat input or a dense layer, `(channels, height, width)` for images and maps.
Pooling follows torch's `max_pool2d` and `avg_pool2d`, ceil mode included; convolution has stride 1 and
reflect padding, as in all convolutions of the SCFF paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Protocol

Shape = tuple[int, ...]

DIRECTIONS = ("forwards", "backwards")
"""Names of a recurrent layer's directions; array names start with them, e.g. forwards.hidden."""


class ShapeError(ValueError):
    """A layer does not fit its input shape; `key` is the invalid key of the layer, dotted, e.g. pool.size."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class PoolGeometry(Protocol):
    """A square pooling window, in pixels."""

    @property
    def size(self) -> int: ...
    @property
    def stride(self) -> int: ...
    @property
    def padding(self) -> int: ...
    @property
    def ceil(self) -> bool: ...


@dataclass(frozen=True)
class LayerShapes:
    """Shapes of one layer's tensors, without the batch dimension.

    Attributes:
        input: input of the layer; a dense layer flattens it.
        hidden: pre-activation and activation, where goodness is computed.
        output: input of the next layer: `hidden` after the pool, or `hidden` without one.
        features: input of the readout: `output` after the readout pool, or `output` without one.
    """

    input: Shape
    hidden: Shape
    output: Shape
    features: Shape

    @property
    def feature_count(self) -> int:
        """Number of readout features of this layer."""
        return prod(self.features)


def conv2d_length(length: int, kernel: int, padding: int) -> int:
    """Return the length in pixels after a convolution of stride 1 with `padding` reflected pixels on each side.

    Raises:
        ShapeError: the reflect padding is not below the input's length, or the kernel exceeds the padded input.
    """
    if padding >= length:
        raise ShapeError("padding", f"must be below the input's {length} px (reflect padding), got {padding}")
    padded = length + 2 * padding
    if kernel > padded:
        raise ShapeError("kernel", f"must be at most the padded input's {padded} px, got {kernel}")
    return padded - kernel + 1


def pool_length(length: int, *, size: int, stride: int, padding: int, ceil: bool) -> int:
    """Return the length in pixels after pooling: windows of `size` px every `stride` px, `padding` px on each side.

    With `ceil`, a last partial window counts if it starts in the input or its left padding (torch's rule).

    Raises:
        ShapeError: padding above half the window, or no window fits.
    """
    if padding > size // 2:
        raise ShapeError("padding", f"must be at most half the pool's size of {size} px, got {padding}")
    reach = length + 2 * padding - size
    count = (-(-reach // stride) if ceil else reach // stride) + 1
    if ceil and (count - 1) * stride >= length + padding:
        count -= 1
    if count < 1:
        longest = length + 2 * padding + (stride - 1 if ceil else 0)
        raise ShapeError("size", f"must be at most {longest} px for an input of {length} px, got {size}")
    return count


def dense_shapes(shape: Shape, units: int) -> LayerShapes:
    """Return the shapes of a dense layer with `units` units on an input of any `shape`."""
    return LayerShapes(input=shape, hidden=(units,), output=(units,), features=(units,))


def conv2d_shapes(
    shape: Shape,
    *,
    channels: int,
    kernel: int,
    padding: int,
    pool: PoolGeometry | None = None,
    readout_pool: PoolGeometry | None = None,
) -> LayerShapes:
    """Return the shapes of a 2-D convolutional layer on `shape` = (channels, height, width).

    Raises:
        ShapeError: the input is flat, or the kernel, its padding or a pool does not fit; see its `key`.
    """
    if len(shape) != 3:
        raise ShapeError("kind", f"must be dense on a flat input of {shape[0]} values, got 'conv2d'")
    hidden = (channels, *(conv2d_length(length, kernel, padding) for length in shape[1:]))
    output = _pooled(hidden, pool, "pool")
    return LayerShapes(shape, hidden, output, _pooled(output, readout_pool, "readout_pool"))


def feature_count(shapes: Iterable[LayerShapes]) -> int:
    """Return the total number of readout features of several layers."""
    return sum(layer.feature_count for layer in shapes)


def _pooled(shape: Shape, pool: PoolGeometry | None, key: str) -> Shape:
    if pool is None:
        return shape
    try:
        lengths = (
            pool_length(length, size=pool.size, stride=pool.stride, padding=pool.padding, ceil=pool.ceil)
            for length in shape[1:]
        )
        return (shape[0], *lengths)
    except ShapeError as error:
        raise ShapeError(f"{key}.{error.key}", str(error)) from None
