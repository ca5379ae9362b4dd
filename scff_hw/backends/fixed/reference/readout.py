"""A readout that learns in integers from one labelled sample at a time: part of the reference, in NumPy's int64.

One logistic unit per class, each trained one-versus-rest: the gradient of its cross-entropy needs only the logistic
table of the goodness gains, no exponential and no sum over classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS, QFormat, Rounding
from scff_hw.backends.fixed.reference.arithmetic import (
    COEFFICIENT_BITS,
    TABLE_STEPS_PER_UNIT_LOG2,
    Ints,
    checked,
    logistic,
    matmul,
    saturate,
    shift_right,
)
from scff_hw.backends.fixed.reference.layer import requantise
from scff_hw.errors import UsageError

WEIGHT_BITS, SHADOW_BITS, BIAS_BITS = 8, 16, 32


@dataclass
class IntegerReadout:
    """A linear readout with integer weights that learns.

    Attributes:
        stored: `[classes, features]`, shadow weights in 16 bits; the weights are their upper 8.
        bias: `[classes]` in 32 bits, 8 of them guard bits.
        weight: format of the weights.
        feature_frac: fraction bits of the features.
    """

    stored: Ints
    bias: Ints
    weight: QFormat
    feature_frac: int
    rounding: Rounding

    @property
    def quantised(self) -> Ints:
        """Weights of the MVM, in 8 bits."""
        return requantise(self.stored, SHADOW_BITS - WEIGHT_BITS, WEIGHT_BITS, self.rounding)

    def logits(self, features: Ints) -> Ints:
        """Return the logits `[N, classes]` in 32 bits, from features `[N, features]`."""
        bias = shift_right(self.bias, BIAS_GUARD_BITS, self.rounding)
        return checked(matmul(features, self.quantised.T) + bias, 32, "readout's accumulator")

    def learn(self, features: Ints, label: int, rate_shift: int) -> None:
        """Update the weights once, from one sample's features `[features]`; the learning rate is `2^-rate_shift`.

        Raises:
            UsageError: the label is not in 0..classes-1.
        """
        if not 0 <= label < len(self.stored):
            raise UsageError(f"The label must be from 0 to {len(self.stored) - 1}. Got {label} instead.")
        scale = self.weight.frac_bits + self.feature_frac
        logits = self.logits(features[None])[0]
        error = logistic(shift_right(logits, scale - TABLE_STEPS_PER_UNIT_LOG2, self.rounding))
        error[label] -= 1 << COEFFICIENT_BITS
        shadow_frac = self.weight.frac_bits + SHADOW_BITS - WEIGHT_BITS
        shift = COEFFICIENT_BITS + self.feature_frac + rate_shift - shadow_frac
        change = shift_right(error[:, None] * features, shift, self.rounding)
        self.stored = saturate(self.stored - change, SHADOW_BITS)
        bias_shift = COEFFICIENT_BITS + rate_shift - scale - BIAS_GUARD_BITS
        self.bias = saturate(self.bias - shift_right(error, bias_shift, self.rounding), BIAS_BITS)


def untrained(classes: int, features: int, frac: int, feature_frac: int, rounding: Rounding) -> IntegerReadout:
    """Return a readout with zero weights of `frac` fraction bits, and zero biases."""
    zeros = np.zeros((classes, features), np.int64)
    return IntegerReadout(zeros, zeros[:, 0], QFormat(WEIGHT_BITS, frac), feature_frac, rounding)
