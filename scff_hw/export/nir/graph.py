"""A network in NIR: its linear parts as nodes, each with its own input and output, and the steps between them.

NIR 1.0 has no node that rectifies, divides a sample by its standard deviation, takes a maximum or pads by reflection,
so no SCFF network is one connected graph. Here every linear part is an unconnected path Input - node - Output, so that
no reader can run the nodes in sequence without the operations between them; the steps describe these operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scff_hw.core.functional import FLAT_ROUNDINGS, Pool
from scff_hw.core.layer import PairLayer
from scff_hw.core.network import Network, feed_forward
from scff_hw.export.nir.dependencies import nir

X, FEATURES, LOGITS = "x", "features", "logits"
"""Names of values: the sample, the readout's input, the readout's output."""

FLAT = FLAT_ROUNDINGS * float(np.finfo(np.float32).eps)
"""A sample is constant if its values span at most this share of the largest magnitude."""


@dataclass
class Parts:
    """Nodes and edges under construction, and the steps that use them.

    Attributes:
        steps: in order, each `{"op", "from", "to", ...}`; documented in `export/README.md`.
    """

    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def step(self, op: str, start: str | list[str], to: str | None = None, **settings: Any) -> str:
        """Append a step; returns the name of its result."""
        to = to or f"v{len(self.steps) + 1}"
        self.steps.append({"op": op, "from": start, "to": to, **settings})
        return to

    def path(self, name: str, node: Any, start: str, shapes: tuple[tuple[int, ...], ...], to: str | None = None) -> str:
        """Add a node with its own input and output, and the step that applies it to a value."""
        before, after = (np.array(shape) for shape in shapes)
        self.nodes[f"{name}_in"] = nir.Input(input_type={"input": before})
        self.nodes[name] = node
        self.nodes[f"{name}_out"] = nir.Output(output_type={"output": after})
        self.edges += [(f"{name}_in", name), (name, f"{name}_out")]
        return self.step("node", start, to, input=f"{name}_in", output=f"{name}_out")


def nir_parts(network: Network, layers: Sequence[int], weight: Tensor, bias: Tensor, shape: Sequence[int]) -> Parts:
    """Return the network and its readout.

    Args:
        layers: 0-based indices of the layers whose features the readout reads.
        weight, bias: the readout, `[classes, F]` and `[classes]`.
        shape: shape of one input sample.
    """
    parts = Parts()
    value, size, read = X, tuple(shape), []
    for index, layer in enumerate(feed_forward(network)[: max(layers) + 1]):
        name = f"layer{index + 1}"
        value, size = _layer(parts, layer, name, value, size)
        if index in layers:
            pooled, after = _pooled(parts, layer.readout_pool, f"{name}_readout_pool", value, size)
            pooled = parts.step("flatten", pooled)
            read.append(parts.step("standardise", pooled, divisor=max(_size(after) - 1, 1), flat=FLAT))
    features = parts.step("concatenate", read, FEATURES)
    node = nir.Affine(weight=_float32(weight), bias=_float32(bias))
    parts.path("readout", node, features, ((weight.shape[1],), (weight.shape[0],)), LOGITS)
    return parts


def _layer(
    parts: Parts, layer: PairLayer, name: str, value: str, shape: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Return one layer; a layer that makes its pairs reads a sample as a pair with itself."""
    geometry = layer.array.geometry
    make = geometry.by_kind("a layer in NIR", dense=_affine, conv2d=_convolution)
    if geometry.flattens and len(shape) > 1:
        value, shape = parts.step("flatten", value), (_size(shape),)
    padded: list[int] = [side + (2 * layer.padding if axis else 0) for axis, side in enumerate(shape)]
    scale = 1.0
    if layer.makes_pairs:
        value = parts.step("standardise", value, divisor=max(_size(shape) - 1, 1), flat=FLAT)
    if layer.padding and not geometry.flattens:
        value = parts.step("pad_reflect", value, amount=layer.padding)
    if layer.makes_pairs:
        # twice the energy over twice the values; both halves have the same weights
        value = parts.step("standardise", value, divisor=_size(padded) - 0.5, flat=FLAT)
        scale = 2.0
    else:
        value = parts.step("standardise", value, divisor=max(_size(padded) - 1, 1), flat=FLAT)
    weight, bias = (scale * part.detach().cpu().double() for part in (layer.array.weight, layer.array.bias))
    if layer.transmit == "triangle":
        # the mean over units is linear, so it is subtracted from weights and biases instead
        weight, bias = weight - weight.mean(dim=0, keepdim=True), bias - bias.mean()
    after = geometry.output_shape(tuple(padded))
    value = parts.path(name, make(padded, weight, bias), value, (tuple(padded), after))
    return _pooled(parts, layer.pool, f"{name}_pool", parts.step("relu", value), after)


def _affine(shape: Sequence[int], weight: Tensor, bias: Tensor) -> nir.Affine:
    return nir.Affine(weight=_float32(weight), bias=_float32(bias))


def _convolution(shape: Sequence[int], weight: Tensor, bias: Tensor) -> nir.Conv2d:
    return nir.Conv2d(
        input_shape=(shape[-2], shape[-1]),
        weight=_float32(weight),
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=_float32(bias),
    )


def _pooled(
    parts: Parts, pool: Pool | None, name: str, value: str, shape: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Pooling: a node for averages of whole windows without padding, the only pools that NIR defines, else a step."""
    if pool is None:
        return value, shape
    after = tuple(pool(torch.zeros(1, *shape)).shape[1:])
    whole = all((side - pool.size) % pool.stride == 0 for side in shape[1:])
    if pool.kind == "avg" and pool.padding == 0 and whole:
        both = np.array([pool.size] * 2), np.array([pool.stride] * 2), np.zeros(2, np.int64)
        node = nir.AvgPool2d(kernel_size=both[0], stride=both[1], padding=both[2])
        return parts.path(name, node, value, (shape, after)), after
    settings = {"size": pool.size, "stride": pool.stride, "padding": pool.padding, "ceil": pool.ceil}
    return parts.step(f"{pool.kind}_pool", value, **settings), after


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape))


def _float32(values: Tensor) -> NDArray[np.float32]:
    return values.detach().cpu().float().numpy()
