"""Maps weights to target conductances of differential pairs, tile by tile, as the analog backend programs them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scff_hw.errors import UsageError
from scff_hw.hardware.conductances import Conductances, full_range_scale
from scff_hw.hardware.conductances import conductances as assumed_conductances
from scff_hw.hardware.schema import Device, Profile

PLUS, MINUS = 0, 1
"""Numbers of the two devices of a pair in programming orders."""

CELLS = ("single", "one-sided-pair")


@dataclass(frozen=True)
class Tile:
    """One crossbar of a layer.

    Attributes:
        name: name of its arrays, e.g. `layers.1.tile.0.0` (outputs, inputs).
        rows, columns: the layer's inputs and outputs on this tile, `[start, stop)`.
        scale: weight of the layer per weight of 1 on the crossbar.
        plus, minus: float64 `[rows, columns]`, siemens.
        clipped: number of weights clipped at a device's bound.
        order: int32 `[devices, 3]`: device (0 plus, 1 minus), row, column, in programming order.
    """

    name: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    scale: float
    plus: NDArray[np.float64]
    minus: NDArray[np.float64]
    clipped: int
    order: NDArray[np.int32]


def conductances(profile: Profile) -> Conductances:
    """Return the mapping from weights to conductances of a profile's devices.

    Raises:
        UsageError: no pulsed devices, no conductances, a cell without a differential pair, or bounds that exclude 0.
    """
    device, response = profile.device, profile.device.response
    if device.model == "exact":
        raise UsageError(
            f"The device.model of a profile to export for must be one that pulses change. Got 'exact' in "
            f"'{profile.name}' instead, which has neither pulses nor conductances."
        )
    if profile.array.cell not in CELLS:
        raise UsageError(
            f"The array.cell of a profile to export for must be {' or '.join(CELLS)}. Got '{profile.array.cell}' in "
            f"'{profile.name}' instead, whose weight is not the difference of two conductances."
        )
    bounds = {"device.g_min": device.g_min, "device.g_max": device.g_max}
    if missing := [key for key, value in bounds.items() if value is None]:
        examples = {"device.g_min": "1 uS", "device.g_max": "25 uS"}
        options = " ".join(f"--profile-set '{key}={examples[key]}'" for key in missing)
        raise UsageError(
            f"The profile '{profile.name}' must give {' and '.join(missing)}, which determine target conductances; "
            f"add the values of your devices to the file, or type, e.g.: {options}"
        )
    if not response.w_min <= 0 <= response.w_max:
        raise UsageError(
            f"The bounds device.response.w_min and w_max of a profile to export for must have 0 between them. Got "
            f"{response.w_min:g} w and {response.w_max:g} w in '{profile.name}' instead."
        )
    return assumed_conductances(profile)


def granularity(device: Device) -> float:
    """The weight change per pulse of a mean device at weight 0, in weights on the crossbar; it sets train lengths.

    As in aihwkit 1.2.0, which uses the step down for exponential steps (ExpStepRPUDeviceMetaParameter).
    """
    response = device.response
    larger = response.step * (1 + abs(response.asymmetry))
    if device.model != "exp-step":
        return larger
    assert response.a_down is not None and response.gamma_down is not None and response.offset is not None
    share = max(0.0, 1 - response.a_down * math.exp(min(700.0, -response.gamma_down * response.offset)))
    return response.step * (1 - response.asymmetry) * share or larger


def tiles(name: str, weight: NDArray[Any], profile: Profile) -> Iterator[Tile]:
    """The tiles of a layer, outputs first, then inputs, scaled by `full_range_scale`.

    Args:
        name: name of the layer, e.g. `layers.1`.
        weight: `[outputs, fan-in]`; a convolution's kernels are unrolled.

    Raises:
        UsageError: a weight is not finite, or as `conductances`.
    """
    mapping = conductances(profile)
    if not np.isfinite(weight).all():
        raise UsageError(f"The weights of {name} must be finite numbers to be exported.")
    outputs, inputs = weight.shape
    for o, columns in enumerate(_parts(outputs, profile.array.columns)):
        for i, rows in enumerate(_parts(inputs, profile.array.rows)):
            part = weight[slice(*columns), slice(*rows)].astype(np.float32).T.astype(np.float64)
            scale = full_range_scale(part, profile)
            plus, minus, clipped = mapping.pair(part / scale)
            order = _order(plus, minus, mapping.g_min)
            yield Tile(f"{name}.tile.{o}.{i}", rows, columns, scale, plus, minus, clipped, order)


def _parts(count: int, max_lines: float | None) -> list[tuple[int, int]]:
    """Return `[start, stop)` of each part of `count` lines, split evenly over the fewest tiles of `max_lines` lines."""
    number = 1 if max_lines is None else -(-count // int(max_lines))
    sizes = [count // number + (index < count % number) for index in range(number)]
    ends = np.cumsum(sizes).tolist()
    return [(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _order(plus: NDArray[np.float64], minus: NDArray[np.float64], g_min: float) -> NDArray[np.int32]:
    """Devices whose target is above `g_min`, the reset state, sorted by row, then column, then plus before minus."""
    above = np.stack([plus, minus], axis=2) > g_min
    row, column, device = np.nonzero(above)
    return np.stack([device, row, column], axis=1).astype(np.int32)
