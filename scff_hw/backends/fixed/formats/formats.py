"""The formats of fixed-point SCFF: bit width and binary point of every tensor of a layer.

A value is an integer times `2^-frac`. All formats are signed and symmetric: `bits` bits represent
`-(2^(bits-1) - 1)` to `2^(bits-1) - 1`, so that a value can be negated. `scff_hw/backends/fixed/README.md` has the
table of all tensors, formats and operations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from scff_hw.errors import CheckpointError, UsageError

Rounding = Literal["half_even", "half_up"]
Frac = int | tuple[int, ...]

FRAC_RANGE = (-24, 40)
"""Range of fraction bits of a format; outside this range every value underflows or saturates."""

PRE_ACTIVATION_BITS = 16
BIAS_BITS = 32
BIAS_GUARD_BITS = 8
"""Fraction bits of a bias in addition to its accumulator's, so that small updates are not lost."""

MAX_INPUTS = 1 << 16
"""Maximum number of inputs of a sample whose variance fits 64 bits (see `standardise` in the reference)."""


MAX_STEPS = 1 << 16
"""Maximum number of steps of a sequence: the sum of its 8-bit states fits 24 bits."""


@dataclass(frozen=True)
class QFormat:
    """Number format of `bits` bits, sign included; the value of the integer q is `q * 2^-frac`.

    Attributes:
        frac: fraction bits; one number, or one per output channel (weights and tensors computed from them).
    """

    bits: int
    frac: Frac

    @property
    def top(self) -> int:
        """The largest magnitude, as an integer."""
        return (1 << (self.bits - 1)) - 1

    @property
    def fracs(self) -> tuple[int, ...]:
        """Fraction bits as a tuple: of length 1, or one per output channel."""
        return self.frac if isinstance(self.frac, tuple) else (self.frac,)

    @property
    def frac_bits(self) -> int:
        """Number of fraction bits of a format with one scale for all channels."""
        assert isinstance(self.frac, int), "a format with one scale per channel has no single number of fraction bits"
        return self.frac

    def plus(self, frac: int, bits: int) -> QFormat:
        """Return a format of `bits` bits with `frac` more fraction bits."""
        moved = tuple(f + frac for f in self.frac) if isinstance(self.frac, tuple) else self.frac + frac
        return QFormat(bits, moved)


def fraction_bits(largest: float, bits: int) -> int:
    """Return the largest number of fraction bits with which `bits` bits represent values up to `largest`."""
    low, high = FRAC_RANGE
    if largest <= 0:
        return 0
    return min(max(math.floor(math.log2(((1 << (bits - 1)) - 1) / largest)), low), high)


def power_of_two(scale: float) -> int:
    """Return the number of fraction bits n of `scale` = 2^-n.

    Raises:
        UsageError: not a power of two; the message names the two nearest.
    """
    mantissa, exponent = math.frexp(scale)
    if scale <= 0 or mantissa != 0.5:
        below = 2.0 ** (exponent - 1) if scale > 0 else None
        near = "" if below is None else f"; the nearest are {below:g} and {2 * below:g}"
        raise UsageError(f"A scale must be a power of two, which a shift can apply. Got {scale:g} instead{near}.")
    return 1 - exponent


@dataclass(frozen=True)
class LayerFormats:
    """The formats of one layer's tensors.

    Attributes:
        input: raw inputs: data, or the previous layer's output.
        standardised: standardised inputs, which the MVM multiplies.
        weight, shadow: the shadow is None if updates are rounded into the weights.
        accumulator: sums of the MVM; fraction bits of weight plus standardised.
        gradient: sums of products of the update; fraction bits of error plus standardised.
        bias: biases, at the accumulator's scale with guard bits.
        pre_activation: pre-activations of one sample, bias included.
        output: rectified pre-activations, from which goodness and errors are computed.
        transmitted: output of the layer.
        error: errors at the pre-activations.
        feature: inputs of the readout.
        rounding: rounding mode of all requantisations.
        stochastic: updates use stochastic rounding instead.
    """

    input: QFormat
    standardised: QFormat
    weight: QFormat
    shadow: QFormat | None
    accumulator_bits: int
    pre_activation: QFormat
    output: QFormat
    transmitted: QFormat
    error: QFormat
    feature: QFormat
    rounding: Rounding = "half_even"
    stochastic: bool = False

    @property
    def accumulator(self) -> QFormat:
        return self.weight.plus(self.standardised.frac_bits, self.accumulator_bits)

    @property
    def gradient(self) -> QFormat:
        return QFormat(self.accumulator_bits, self.error.frac_bits + self.standardised.frac_bits)

    @property
    def bias(self) -> QFormat:
        return self.accumulator.plus(BIAS_GUARD_BITS, BIAS_BITS)

    @property
    def stored(self) -> QFormat:
        """Format of the stored weights, which updates change: the shadow, or the weights without one."""
        return self.shadow or self.weight

    def to_json(self) -> dict[str, Any]:
        """Return the formats as plain JSON values, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any, where: str) -> LayerFormats:
        """Return the formats from the result of `to_json`.

        Raises:
            CheckpointError: invalid document; the message names `where`.
        """
        try:
            values: dict[str, Any] = {key: _format(value) for key, value in document.items()}
            formats = cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{where} holds no formats of a fixed-point layer ({error}).") from None
        for field in fields(cls):
            if not _fits(field.name, getattr(formats, field.name)):
                problem = f"{field.name} is {document.get(field.name)!r}"
                raise CheckpointError(f"{where} holds no formats of a fixed-point layer ({problem}).")
        return formats


def _format(value: Any) -> Any:
    """Return the format from its JSON mapping; other values unchanged."""
    if not isinstance(value, dict):
        return value
    frac = value["frac"]
    return QFormat(value["bits"], tuple(frac) if isinstance(frac, list) else frac)


def _fits(name: str, value: Any) -> bool:
    """Return True if a value from JSON is valid for the field `name` of `LayerFormats`."""
    if name == "rounding":
        return value in get_args(Rounding)
    if name == "stochastic":
        return isinstance(value, bool)
    if name == "accumulator_bits":
        return type(value) is int
    if name == "shadow" and value is None:
        return True
    if not isinstance(value, QFormat) or (isinstance(value.frac, tuple) and name not in ("weight", "shadow")):
        return False
    return all(type(number) is int for number in (value.bits, *value.fracs))


def check_sums(name: str, formats: LayerFormats, fan_in: int, inputs: int, products: int | None = None) -> None:
    """Check that no sum at the layer `name` can overflow.

    Args:
        fan_in: number of products in one sum of the MVM.
        inputs: number of inputs of one sample, padding included.
        products: number of products in one sum of the update, batch times positions; None without learning.

    Raises:
        UsageError: a sum could overflow; the message names the layer and the required bits.
    """
    if inputs > MAX_INPUTS:
        raise UsageError(f"A sample at {name} must have at most {MAX_INPUTS} inputs in fixed point. Got {inputs}.")
    # a bias is at most 2^23 at the accumulator's scale
    mvm = fan_in * formats.weight.top * formats.standardised.top + (1 << (BIAS_BITS - 1 - BIAS_GUARD_BITS))
    _check_sum(
        name, formats, mvm, f"{fan_in} products of {formats.weight.bits} by {formats.standardised.bits} bits and a bias"
    )
    if products is not None:
        _check_update(name, formats, products)


def _check_update(name: str, formats: LayerFormats, products: int) -> None:
    _check_sum(
        name,
        formats,
        products * formats.error.top * formats.standardised.top,
        f"the {products} products of {formats.error.bits} by {formats.standardised.bits} bits of an update",
        "; a smaller batch or narrower errors fit too",
    )


def check_steps(name: str, formats: LayerFormats, frames: int | None, steps: int) -> None:
    """Check that no sum of a recurrent layer can overflow for these sequences.

    Args:
        frames: total number of frames of one update; None without learning.
        steps: number of steps of the longest sequence.

    Raises:
        UsageError: a sum could overflow; the message names the layer and the required bits.
    """
    if steps > MAX_STEPS:
        raise UsageError(f"A sequence at {name} must have at most {MAX_STEPS} steps in fixed point. Got {steps}.")
    if frames is not None:
        # a frame counts twice in its positive pair, and once in each of two negative pairs
        _check_update(name, formats, 4 * frames)


def check_alike(formats: Mapping[str, LayerFormats]) -> None:
    """Check that the arrays of a recurrent layer agree in the formats that must be the same.

    Args:
        formats: formats by array name, e.g. forwards.hidden.

    Raises:
        UsageError: formats differ; the message names the array and the tensor.
    """
    first, *rest = formats.items()
    for name, form in rest:
        for tensor in ("pre_activation", "output", "error", "transmitted", "feature", "rounding"):
            shared, own = getattr(first[1], tensor), getattr(form, tensor)
            if shared != own:
                raise UsageError(
                    f"The format of {tensor} must be that of {first[0]}, {shared}, in all arrays of a recurrent layer. "
                    f"Got {own} at {name} instead."
                )
    for name, form in formats.items():
        if name.endswith("hidden") and form.input != form.output:
            raise UsageError(
                f"The input format of {name} must be that of the layer's output, {form.output}. "
                f"Got {form.input} instead."
            )


def _check_sum(name: str, formats: LayerFormats, largest: int, what: str, rest: str = "") -> None:
    needed = largest.bit_length() + 1
    if needed > formats.accumulator_bits:
        raise UsageError(
            f"An accumulator of {formats.accumulator_bits} bits cannot hold {what} at {name}; it needs {needed} "
            f"bits{rest}."
        )


def check_weights(name: str, largest: Sequence[float], weight: QFormat) -> None:
    """Check that the format `weight` can represent the weights.

    Args:
        largest: largest weight magnitudes, one per scale of the format (of the tensor, or of each channel).

    Raises:
        UsageError: a weight does not fit; the message names the required fraction bits.
    """
    for channel, (value, frac) in enumerate(zip(largest, weight.fracs, strict=True)):
        if value * 2.0**frac > weight.top + 0.5:
            where = name if len(weight.fracs) == 1 else f"channel {channel} of {name}"
            raise UsageError(
                f"Weights of up to {value:.4g} at {where} do not fit {weight.bits} bits with {frac} fraction bits, "
                f"which hold {weight.top * 2.0**-frac:.4g}; {fraction_bits(value, weight.bits)} fraction bits would."
            )
