"""Selection of number formats: a power-of-two scale for observed values, or for a layer's initial weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends.fixed.formats.formats import FRAC_RANGE, Frac, QFormat, fraction_bits, power_of_two
from scff_hw.config.fixed_point import FixedPoint
from scff_hw.core.rules import SCFF, Rule, overridden
from scff_hw.errors import UsageError

INPUT_BITS = FEATURE_BITS = READOUT_BITS = 8

OVERSHOOT = 2.0
"""Expected ratio of goodness to the larger threshold after learning."""


@dataclass(frozen=True)
class TensorRange:
    """Observed range of one tensor during calibration.

    Attributes:
        layer: name of the layer.
        largest: largest magnitude observed, or expected after learning.
        holds: largest value that the format represents.
        clipped: share of the observed values that the format clips, 0..1.
    """

    layer: str
    tensor: str
    bits: int
    frac: Frac
    largest: float
    holds: float
    clipped: float

    @property
    def used(self) -> float:
        """Share of the format's range used by the largest value; above 1 if values are clipped."""
        return self.largest / self.holds

    def to_json(self) -> dict[str, Any]:
        frac = list(self.frac) if isinstance(self.frac, tuple) else self.frac
        values = {"largest": self.largest, "holds": self.holds, "used": self.used, "clipped": self.clipped}
        return {"layer": self.layer, "tensor": self.tensor, "bits": self.bits, "frac": frac} | values


def integer_rule(rule: Rule | None) -> SCFF | None:
    """Return `rule` itself; the integer arithmetic uses its thresholds and penalty.

    Raises:
        UsageError: the errors of `rule` are not SCFF's; the message names the rule and its overridden methods.
    """
    changed = [] if not isinstance(rule, SCFF) else overridden(rule, SCFF, "errors", "gains")
    if rule is not None and (changed or not isinstance(rule, SCFF)):
        why = f", which overrides {' and '.join(f'{name}()' for name in changed)} of SCFF" if changed else ""
        raise UsageError(
            f"The fixed backend learns by the rules scff, forward-forward and forward-forward-supervised. "
            f"Got '{rule.name}' instead{why}."
        )
    return rule


def weight_format(weight: Tensor, options: FixedPoint, learning: bool) -> QFormat:
    """Return the format of a layer's weights: one scale or one per output channel, with headroom if `learning`."""
    if options.weight_scale is not None:
        return QFormat(options.weight_bits, power_of_two(options.weight_scale))
    headroom = options.weight_headroom if learning else 1.0
    if options.weight_scales == "tensor":
        return QFormat(options.weight_bits, fraction_bits(headroom * float(weight.abs().max()), options.weight_bits))
    largest = (headroom * weight.abs().flatten(1).amax(dim=1)).tolist()
    return QFormat(options.weight_bits, tuple(fraction_bits(each, options.weight_bits) for each in largest))


def shadow_format(weight: QFormat, options: FixedPoint) -> QFormat | None:
    """Return the format of shadow weights, which accumulate updates: `weight` with extra fraction bits; or None."""
    return weight.plus(options.shadow_bits - options.weight_bits, options.shadow_bits) if options.shadow_bits else None


def growth(rule: SCFF | None, z: Tensor) -> float:
    """Return the growth of outputs, a factor >= 1, until goodness is `OVERSHOOT` times the rule's larger threshold."""
    if rule is None:
        return 1.0
    now = float(torch.relu(z).square().mean())
    return max(1.0, (OVERSHOOT * max(rule.theta_pos, rule.theta_neg) / max(now, 1e-12)) ** 0.5)


def best_format(values: Tensor, bits: int) -> QFormat:
    """Return the format of `bits` bits whose power-of-two scale has the least mean squared error on `values`."""
    largest = float(values.abs().max())
    widest = fraction_bits(largest, bits)
    if largest == 0:
        return QFormat(bits, widest)
    flat = values.flatten().double()
    candidates = [frac for frac in range(widest, widest + 5) if frac <= FRAC_RANGE[1]]
    return min((QFormat(bits, frac) for frac in candidates), key=lambda form: _squared_error(flat, form))


def _squared_error(values: Tensor, form: QFormat) -> float:
    quantised = torch.round(values * 2.0**form.frac_bits).clamp(-form.top, form.top) * 2.0**-form.frac_bits
    return float((values - quantised).square().sum())


def range_of(layer: str, tensor: str, values: Tensor, form: QFormat) -> TensorRange:
    """Return the range of the observed `values` of a tensor, compared with the range of its format."""
    frac = torch.tensor(form.fracs, dtype=torch.float64).view(-1, *(1,) * (values.dim() - 1))
    holds = form.top * 2.0**-frac
    clipped = float((values.double().abs() > holds + 2.0 ** -(frac + 1)).double().mean())
    return TensorRange(layer, tensor, form.bits, form.frac, float(values.abs().max()), float(holds.max()), clipped)
