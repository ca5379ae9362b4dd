"""The class of the `fixed` backend: it chooses or reads number formats, and makes arrays and layers with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from scff_hw.backends.fixed.formats.calibrate import Calibration, calibrate, default_formats
from scff_hw.backends.fixed.formats.choose import READOUT_BITS, integer_rule
from scff_hw.backends.fixed.formats.document import FORMATS, dump_formats, parse_formats
from scff_hw.backends.fixed.formats.formats import LayerFormats, QFormat, check_sums, fraction_bits
from scff_hw.backends.fixed.tensor.array import FixedArray
from scff_hw.backends.fixed.tensor.layer import FixedLayer
from scff_hw.backends.fixed.tensor.recurrent import FixedRecurrentLayer
from scff_hw.config.fixed_point import FixedPoint
from scff_hw.core.arrays import Optimisation, SynapticArray
from scff_hw.core.backend import Backend, Trial
from scff_hw.core.functional import Pool
from scff_hw.core.geometry import Geometry
from scff_hw.core.random import stream_seed
from scff_hw.core.recurrent import Direction
from scff_hw.core.rules import Rule
from scff_hw.errors import UsageError


@dataclass(frozen=True)
class FixedBackend(Backend):
    """Backend whose arrays and layers compute in fixed point.

    Attributes:
        options: bit widths and modes.
        formats: formats by array name; arrays of other names get formats fitted to their weights.
        seed: seed of the run; determines the random numbers of stochastic rounding.
        calibration: formats and observed ranges, if `prepare` chose the formats.
    """

    name: ClassVar[str] = "fixed"
    options_section: ClassVar[str] = "fixed_point"
    state_is_truth: ClassVar[bool] = True
    integers: ClassVar[bool] = True

    options: FixedPoint = field(default_factory=FixedPoint)
    formats: Mapping[str, LayerFormats] = field(default_factory=dict)
    seed: int = 0
    calibration: Calibration | None = field(default=None, compare=False, repr=False)

    @classmethod
    def make(
        cls, *, dtype: str = "float32", device: str = "cpu", profile: Any = None, seed: int = 0, options: Any = None
    ) -> FixedBackend:
        if profile is not None:
            raise UsageError(
                f"The fixed backend has no devices, so it takes no profile of them. Got '{profile.name}'; "
                "type: --backend analog"
            )
        for key, value, allowed in (("dtype", dtype, "float32"), ("device", device, "cpu")):
            if value != allowed:
                raise UsageError(
                    f"The fixed backend computes in integers on the cpu, so training.{key} must be {allowed}. "
                    f"Got '{value}' instead; type: --set training.{key}={allowed}"
                )
        return cls(FixedPoint() if options is None else options, seed=seed)

    def prepare(self, trial: Trial) -> FixedBackend:
        """Return a backend with formats fitted to the weights and samples of `trial`.

        Weights that do not learn (post-training quantisation) use their full range.

        Raises:
            UsageError: a sum could overflow its accumulator (the message names the layer and the required bits), or
                a rule has no fixed-point form.
        """
        samples = trial.samples(self.options.calibration_batches * trial.batch)
        with torch.no_grad():
            calibration = calibrate(
                trial.network(),
                samples,
                self.options,
                learning=trial.learning,
                batch=trial.batch,
                views=trial.views,
            )
        return replace(self, formats=calibration.formats, calibration=calibration)

    def documents(self) -> dict[str, str]:
        return {} if self.calibration is None else {FORMATS: dump_formats(self.calibration)}

    def restore(self, read: Callable[[str], str], geometries: Mapping[str, Geometry], where: str) -> FixedBackend:
        text = read(FORMATS)
        outputs = {name: geometry.outputs for name, geometry in geometries.items()}
        return replace(self, formats=parse_formats(text, outputs, f"{where}/{FORMATS}")) if text else self

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
        """Return a layer with an array of this backend.

        Raises:
            UsageError: the rule has no fixed-point form.
        """
        assert isinstance(array, FixedArray), "a fixed-point layer needs an array of the fixed backend"
        scff = integer_rule(rule)
        return FixedLayer(array, scff, makes_pairs, padding, transmit, pool, readout_pool, update_positions)

    def recurrent_layer(
        self, *, directions: tuple[Direction, ...], rule: Rule | None, averages: bool
    ) -> FixedRecurrentLayer:
        """Return a recurrent layer with arrays of this backend.

        Raises:
            UsageError: the rule has no fixed-point form, or the arrays' formats do not match.
        """
        return FixedRecurrentLayer(directions, integer_rule(rule), averages)

    def readout(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return a readout's weights in 8 bits and biases in 32, at its products' scale, as values on their grids."""
        form = QFormat(READOUT_BITS, fraction_bits(float(weight.abs().max()), READOUT_BITS))
        feature = next(iter(self.formats.values())).feature
        return _on_grid(weight, form), _on_grid(bias, form.plus(feature.frac_bits, 32))


def _on_grid(x: Tensor, form: QFormat) -> Tensor:
    return (torch.round(x.double() * 2.0**form.frac_bits).clamp(-form.top, form.top) * 2.0**-form.frac_bits).to(x)
