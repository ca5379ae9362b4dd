"""An update of a crossbar tile as pulse trains, in integers; `scff_pulses.c` gives the same bits.

One sample changes every weight of a tile by `-rate x_j d_i`. Rows (inputs) and columns (outputs) are pulsed in slots; a
device moves by one step where both lines are pulsed in the same slot. Numbers of slots and probabilities are those of
aihwkit 1.2.0 (PulsedUpdateMetaParameter: update management and update BL management), after Gokmen and Vlasov, Front.
Neurosci. 2016 (doi 10.3389/fnins.2016.00333). `k` is the number of steps of the largest |x| and |d|, L that of slots:

    L    = max_pulses, or with pulse management min(ceil(k), max_pulses)
    p_j  = sqrt(min(k, max_pulses) / L) |x_j| / max |x|
    p_i  = sqrt(min(k, max_pulses) / L) max(1, k / max_pulses) |d_i| / max |d|, at most 1

Without update management: `p_j = |x_j| sqrt(g s / L)`, `p_i = |d_i| sqrt(g / (s L))`, both at most 1, where `g` is the
number of steps for an input and an error of 1, and `s` the scale of the tile, by which aihwkit divides errors.
Probabilities are multiples of 2^-16; there are no pulses if k is below 2^-32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scff_hw.core.xorshift import draws, first_states
from scff_hw.errors import UsageError

CODE_TOP = 32767
"""Codes of inputs and errors are 16-bit integers, -32767 to 32767."""

EXPONENTS = 1000
"""Largest magnitude of an exponent of codes."""

CERTAIN = 1 << 16
"""A probability of 1."""

_STEP_BITS, _LIMIT = 32, 1 << 62

Kind = Literal["stochastic", "mean-count"]


@dataclass(frozen=True)
class PulseScheme:
    """The scheme of pulse trains.

    Attributes:
        kind: stochastic: every slot of every line is drawn. mean-count: a line has `round(L p)` pulses, rows in the
            first slots, columns spread evenly, so that `round(rows columns / L)` coincide. aihwkit's MeanCount gives
            the same number without trains, but rounds halves to even, not up.
        max_pulses: slots of the longest train, 1..10000.
        update_management: probabilities depend on the largest input and error; see the module.
        pulse_management: trains as short as the update allows; needs update management.
    """

    kind: Kind = "stochastic"
    max_pulses: int = 31
    update_management: bool = True
    pulse_management: bool = True

    @property
    def words(self) -> int:
        """32-bit words per train."""
        return -(-self.max_pulses // 32)


@dataclass(frozen=True)
class Scaled:
    """A positive number `mantissa 2^-shift`, with 15 <= log2(mantissa) < 16."""

    mantissa: int
    shift: int

    @classmethod
    def of(cls, value: float) -> Scaled:
        """Return the nearest number to `value > 0`, with a relative error of at most 2^-16."""
        fraction, exponent = math.frexp(value)
        mantissa, shift = round(fraction * (1 << 16)), 16 - exponent
        return cls(mantissa, shift) if mantissa < 1 << 16 else cls(1 << 15, shift - 1)

    def __float__(self) -> float:
        return math.ldexp(self.mantissa, -self.shift)


@dataclass(frozen=True)
class PulseTrains:
    """The pulse trains of one sample.

    Attributes:
        rows, columns: bool `[R, L]`, `[C, L]`: True where a line is pulsed in a slot; L may be 0.
        row_sign, column_sign: int8 `[R]`, `[C]`: polarity of a line's pulses, 0 for a line without pulses. A device
            steps up if their product is 1, down if it is -1.
    """

    rows: NDArray[np.bool_]
    columns: NDArray[np.bool_]
    row_sign: NDArray[np.int8]
    column_sign: NDArray[np.int8]

    @property
    def length(self) -> int:
        return self.rows.shape[1]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Pulses per device, `[R, C]`: positive up, negative down."""
        rows = self.rows * self.row_sign[:, None].astype(np.int64)
        return rows @ (self.columns * self.column_sign[:, None].astype(np.int64)).T

    def packed(self, words: int) -> NDArray[np.uint32]:
        """Trains as `scff_pulses` writes them, `[R + C, words]`, rows first: slot k is bit k % 32 of word k / 32."""
        bits = np.concatenate([self.rows, self.columns])
        padded = np.zeros((len(bits), 32 * words), np.uint8)
        padded[:, : bits.shape[1]] = bits
        return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.uint32)

    @property
    def signs(self) -> NDArray[np.int8]:
        """Polarities of rows, then of columns, `[R + C]`."""
        return np.concatenate([self.row_sign, self.column_sign])


class TilePulses:
    """Generates the trains of one tile, and stores the states of its lines' random generators.

    Attributes:
        gain: steps for an input of 1 and an error of 1: learning rate / (scale of the tile * step of a device).
        row_root, column_root: `sqrt(gain scale / max_pulses)`, `sqrt(gain / (scale max_pulses))`, for trains without
            update management; `scale` is the layer's weight per weight of 1 on the tile.
        states: uint32 `[R + C]`, rows first.
    """

    def __init__(
        self, scheme: PulseScheme, rows: int, columns: int, gain: float, seed: int, scale: float = 1.0
    ) -> None:
        if not (math.isfinite(gain) and 2.0**-200 < gain < 2.0**200):
            raise UsageError(f"The gain of a tile's pulses must be above 2^-200 and below 2^200. Got {gain:g} instead.")
        self.scheme = scheme
        self.gain = Scaled.of(gain)
        root = math.sqrt(float(self.gain) / scheme.max_pulses)
        self.row_root, self.column_root = Scaled.of(root * math.sqrt(scale)), Scaled.of(root / math.sqrt(scale))
        self.states = first_states(seed, rows + columns)
        self._split = rows

    def update(self, x: ArrayLike, x_exponent: int, d: ArrayLike, d_exponent: int) -> PulseTrains:
        """Return the trains of one sample; the generators advance if any line is pulsed.

        Args:
            x, d: codes of inputs `[R]` and errors `[C]`, see `codes`; an input is `x 2^x_exponent`.
        """
        rows, columns = np.asarray(x, np.int64), np.asarray(d, np.int64)
        length, p_rows, p_columns = probabilities(self, rows, x_exponent, columns, d_exponent)
        p = np.concatenate([p_rows, p_columns])
        if self.scheme.kind == "stochastic":
            drawn, self.states = draws(self.states, length)
            bits = drawn < p[:, None]
        else:
            counts = (p * length + CERTAIN // 2) // CERTAIN
            slots = np.arange(length + 1)
            spread = (2 * slots * counts[self._split :, None] + length) // max(1, 2 * length)
            bits = np.concatenate([slots[:-1] < counts[: self._split, None], np.diff(spread, axis=1) > 0])
        row_sign, column_sign = np.sign(rows).astype(np.int8), -np.sign(columns).astype(np.int8)
        if not length:
            row_sign, column_sign = np.zeros_like(row_sign), np.zeros_like(column_sign)
        return PulseTrains(bits[: self._split], bits[self._split :], row_sign, column_sign)


def probabilities(
    tile: TilePulses, x: NDArray[np.int64], x_exponent: int, d: NDArray[np.int64], d_exponent: int
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of slots, and the pulse probability per slot of each row and of each column, times 2^16.

    Raises:
        UsageError: a code or an exponent out of range.
    """
    for name, line, exponent in (("inputs", x, x_exponent), ("errors", d, d_exponent)):
        if line.size and int(np.abs(line).max()) > CODE_TOP:
            raise UsageError(
                f"The codes of {name} must lie between -32767 and 32767. Got {np.abs(line).max()} instead."
            )
        if abs(exponent) > EXPONENTS:
            raise UsageError(f"The exponent of {name} must lie between -1000 and 1000. Got {exponent} instead.")
    rows, columns = np.abs(x), np.abs(d)
    x_max, d_max = int(rows.max(initial=0)), int(columns.max(initial=0))
    max_pulses = tile.scheme.max_pulses
    none = 0, np.zeros_like(rows), np.zeros_like(columns)
    if not x_max or not d_max:
        return none
    if not tile.scheme.update_management:
        return (
            max_pulses,
            _times_root(rows, tile.row_root, x_exponent),
            _times_root(columns, tile.column_root, d_exponent),
        )
    steps = _shifted(x_max * d_max * tile.gain.mantissa, _STEP_BITS - tile.gain.shift + x_exponent + d_exponent)
    if not steps:
        return none
    most_steps = max_pulses << _STEP_BITS
    length = max_pulses
    if tile.scheme.pulse_management and steps < most_steps:
        length = -(-steps >> _STEP_BITS)
    root = math.isqrt((min(steps, most_steps) << 16) // length)
    p_rows = (rows * root + (x_max << 7)) // (x_max << 8)
    if steps <= most_steps:
        return length, p_rows, (columns * root + (d_max << 7)) // (d_max << 8)
    excess = (steps >> 16) // max_pulses
    return length, p_rows, np.minimum((columns * excess + d_max // 2) // d_max, CERTAIN)


def codes(values: ArrayLike) -> tuple[NDArray[np.int16], int]:
    """Return the numbers as 16-bit codes with one common exponent, `code 2^exponent`, scaled to the largest number.

    Raises:
        UsageError: a number is not finite.
    """
    v = np.asarray(values, np.float64)
    largest = float(np.abs(v).max(initial=0.0))
    if not math.isfinite(largest):
        raise UsageError(f"The inputs and errors of pulses must be finite numbers. Got {largest} instead.")
    if not largest:
        return np.zeros(v.shape, np.int16), 0
    exponent = max(math.frexp(largest)[1] - 15, -EXPONENTS)
    rounded = np.clip(np.rint(np.ldexp(v, -exponent)), -CODE_TOP, CODE_TOP)
    return rounded.astype(np.int16), exponent


def error_codes(y: ArrayLike, gains: ArrayLike, exponent: int) -> tuple[NDArray[np.int16], int]:
    """Errors from post-activations, `sum_t gain_t y_t`, as codes and their exponent; as `scff_pulse_errors` in C.

    Rules such as SCFF multiply a post-activation by one gain, a function of goodness: `scff_hw.core.goodness.contrast`.

    Args:
        y: `[T, C]`, codes of a sample's post-activations, e.g. in its positive and its negative pairs.
        gains: `[T]`, codes.
        exponent: exponent of the product of a code of `y` and a code of `gains`.
    """
    sums = np.asarray(gains, np.int64) @ np.asarray(y, np.int64)
    shift = max(0, int(np.abs(sums).max(initial=0)).bit_length() - 15)
    size = np.minimum((np.abs(sums) + ((1 << shift) >> 1)) >> shift, CODE_TOP)
    return (np.sign(sums) * size).astype(np.int16), exponent + shift


def _shifted(value: int, left: int) -> int:
    """Return `value 2^left`, rounded down, at most 2^62."""
    if left < 0:
        return value >> -left
    return min(value << min(left, 64), _LIMIT)


def _times_root(line: NDArray[np.int64], root: Scaled, exponent: int) -> NDArray[np.int64]:
    left = 16 - root.shift + exponent
    product = line * root.mantissa
    if left >= 0:
        return np.minimum(product << min(left, 20), CERTAIN)
    right = min(-left, 40)
    return np.minimum((product + (1 << (right - 1))) >> right, CERTAIN)
