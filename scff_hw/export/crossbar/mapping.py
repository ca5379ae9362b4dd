"""Weights as target conductances of differential pairs, tile by tile, as the analog backend programs them."""

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
"""The two devices of a pair, as programming orders number them."""

CELLS = ("single", "one-sided-pair")


@dataclass(frozen=True)
class Tile:
    """One crossbar of a layer.

    Attributes:
        name: of its arrays, e.g. `layers.1.tile.0.0` (outputs, inputs).
        rows, columns: the inputs and outputs of the layer that it holds, from and up to.
        scale: what a weight of 1 on the crossbar stands for.
        plus, minus: float64 `[rows, columns]`, siemens.
        clipped: weights cut at a device's bound.
        order: int32 `[devices, 3]`: device (0 plus, 1 minus), row, column, in the order they are programmed.
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
    """What a profile's devices make of weights.

    Raises:
        UsageError: it has no pulsed devices, no conductances, a cell without a differential pair, or bounds without 0.
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
            f"'{profile.name}' instead, whose weight is no difference of two conductances."
        )
    given = {"device.g_min": device.g_min, "device.g_max": device.g_max}
    if missing := [key for key, value in given.items() if value is None]:
        examples = {"device.g_min": "1 uS", "device.g_max": "25 uS"}
        options = " ".join(f"--profile-set '{key}={examples[key]}'" for key in missing)
        raise UsageError(
            f"The profile '{profile.name}' must give {' and '.join(missing)}, which target conductances follow from; "
            f"add what your devices have to the file, or type, e.g.: {options}"
        )
    if not response.w_min <= 0 <= response.w_max:
        raise UsageError(
            f"The bounds device.response.w_min and w_max of a profile to export for must have 0 between them. Got "
            f"{response.w_min:g} w and {response.w_max:g} w in '{profile.name}' instead."
        )
    return assumed_conductances(profile)


def granularity(device: Device) -> float:
    """The change of a mean device's pulse at weight 0, which lengths of trains follow from, in weights on the crossbar.

    As aihwkit 1.2.0 has it, whose exponential steps go by those down (ExpStepRPUDeviceMetaParameter).
    """
    response = device.response
    larger = response.step * (1 + abs(response.asymmetry))
    if device.model != "exp-step":
        return larger
    assert response.a_down is not None and response.gamma_down is not None and response.offset is not None
    share = max(0.0, 1 - response.a_down * math.exp(min(700.0, -response.gamma_down * response.offset)))
    return response.step * (1 - response.asymmetry) * share or larger


def tiles(name: str, weight: NDArray[Any], profile: Profile) -> Iterator[Tile]:
    """The tiles of a layer, outputs by inputs, scaled as `full_range_scale` has it.

    Args:
        name: of the layer, e.g. `layers.1`.
        weight: `[outputs, fan-in]`; a convolution's kernels are unrolled.

    Raises:
        UsageError: a weight is not finite, or as `conductances`.
    """
    held = conductances(profile)
    if not np.isfinite(weight).all():
        raise UsageError(f"The weights of {name} must be finite numbers to be exported.")
    outputs, inputs = weight.shape
    for o, columns in enumerate(_parts(outputs, profile.array.columns)):
        for i, rows in enumerate(_parts(inputs, profile.array.rows)):
            part = weight[slice(*columns), slice(*rows)].astype(np.float32).T.astype(np.float64)
            scale = full_range_scale(part, profile)
            plus, minus, clipped = held.pair(part / scale)
            order = _order(plus, minus, held.g_min)
            yield Tile(f"{name}.tile.{o}.{i}", rows, columns, scale, plus, minus, clipped, order)


def _parts(count: int, most: float | None) -> list[tuple[int, int]]:
    """`count` lines over as few tiles of `most` as hold them, as evenly as goes: from and up to."""
    number = 1 if most is None else -(-count // int(most))
    sizes = [count // number + (index < count % number) for index in range(number)]
    ends = np.cumsum(sizes).tolist()
    return [(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _order(plus: NDArray[np.float64], minus: NDArray[np.float64], g_min: float) -> NDArray[np.int32]:
    """Devices above `g_min`, where a reset leaves them: row after row, in a row by column, plus before minus."""
    above = np.stack([plus, minus], axis=2) > g_min
    row, column, device = np.nonzero(above)
    return np.stack([device, row, column], axis=1).astype(np.int32)
