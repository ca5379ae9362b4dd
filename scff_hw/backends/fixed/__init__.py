"""The `fixed` backend: learning in integers, on Brevitas modules, bit for bit as the integer reference.

`README.md` in this folder lists the format of every tensor and the order of every operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scff_hw.backends.fixed.formats.calibrate import Calibration, calibrate, default_formats
from scff_hw.backends.fixed.formats.choose import READOUT_BITS, TensorRange, integer_rule
from scff_hw.backends.fixed.formats.formats import LayerFormats, QFormat, check_sums, fraction_bits
from scff_hw.backends.fixed.tensor.array import FixedArray
from scff_hw.backends.fixed.tensor.layer import FixedLayer
from scff_hw.backends.fixed.tensor.recurrent import FixedRecurrentLayer
from scff_hw.core.arrays import Optimisation, SynapticArray
from scff_hw.core.functional import Pool
from scff_hw.core.geometry import Geometry
from scff_hw.core.random import stream_seed
from scff_hw.core.recurrent import Direction
from scff_hw.core.rules import Rule
from scff_hw.recipes.fixed_point import FixedPoint

__all__ = [
    "Calibration",
    "FixedArray",
    "FixedBackend",
    "FixedLayer",
    "FixedPoint",
    "FixedRecurrentLayer",
    "LayerFormats",
    "QFormat",
    "TensorRange",
    "calibrate",
]


@dataclass(frozen=True)
class FixedBackend:
    """Arrays and layers in fixed point.

    Attributes:
        options: widths and choices.
        formats: of each layer, by its name; an array of another name gets formats made for its weights.
        seed: of the run; decides the random numbers of stochastic rounding.
    """

    options: FixedPoint = field(default_factory=FixedPoint)
    formats: Mapping[str, LayerFormats] = field(default_factory=dict)
    seed: int = 0
    name: str = "fixed"

    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> FixedArray:
        formats = self.formats.get(name) or default_formats(weight, self.options)
        check_sums(name or "this array", formats, geometry.fan_in, geometry.fan_in)
        seed = stream_seed(self.seed, "rounding", name) & 0xFFFFFFFF
        return FixedArray(weight, bias, geometry, optimisation, formats, seed, name or "this array")

    def layer(
        self,
        *,
        array: SynapticArray,
        rule: Rule | None,
        makes_pairs: bool,
        padding: int,
        transmit: str,
        pool: Pool | None,
        readout_pool: Pool | None,
        update_positions: int | None,
    ) -> FixedLayer:
        """A layer around an array of this backend.

        Raises:
            UsageError: a rule that has no fixed-point form.
        """
        assert isinstance(array, FixedArray), "a fixed-point layer was asked for around another backend's array"
        known = integer_rule(rule)
        return FixedLayer(array, known, makes_pairs, padding, transmit, pool, readout_pool, update_positions)

    def recurrent_layer(
        self, *, directions: tuple[Direction, ...], rule: Rule | None, averages: bool
    ) -> FixedRecurrentLayer:
        """A recurrent layer around arrays of this backend.

        Raises:
            UsageError: a rule that has no fixed-point form, or arrays whose formats do not fit each other.
        """
        return FixedRecurrentLayer(directions, integer_rule(rule), averages)

    def readout(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A readout's weights in 8 bits and its biases in 32, at the scale of its products; numbers on their grids."""
        held = QFormat(READOUT_BITS, fraction_bits(float(weight.abs().max()), READOUT_BITS))
        feature = next(iter(self.formats.values())).feature
        return _on_grid(weight, held), _on_grid(bias, held.plus(feature.one, 32))


def _on_grid(x: Tensor, form: QFormat) -> Tensor:
    return (torch.round(x.double() * 2.0**form.one).clamp(-form.top, form.top) * 2.0**-form.one).to(x)
