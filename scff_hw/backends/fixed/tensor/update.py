"""One weight update, fast on large tensors: operations are fused, random numbers drawn for all rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scff_hw.backends.fixed.formats.formats import LayerFormats
from scff_hw.backends.fixed.reference.arithmetic import DRAW_BITS
from scff_hw.backends.fixed.tensor.arithmetic import nearest

Step = tuple[Tensor, Tensor, Tensor]
"""(stored weights, weights requantised for the MVM, L1 norm per row), all integer-valued."""


def stepped(stored: Tensor, gradient: Tensor, per_step: Tensor, form: LayerFormats) -> Step:
    """Return `stored - gradient * per_step`, the product rounded to integers, the difference saturated; as a `Step`.

    Args:
        stored: integers `[outputs, fan_in]`.
        gradient: real values, same shape.
        per_step: learning rate over step size, a scalar or `[outputs, 1]`.
    """
    change = nearest(gradient * per_step, form.rounding)
    stored = (stored - change.to(stored)).clamp(-form.stored.top, form.stored.top)
    return stored, *requantised_weights(stored, form)


def stepped_stochastically(
    stored: Tensor,
    gradient: Tensor,
    per_step: Tensor,
    drawn: Tensor,
    dropped: Tensor,
    scale: Tensor,
    half: Tensor,
    form: LayerFormats,
) -> Step:
    """Return the result of `stepped` with stochastic rounding: up with probability equal to the fraction.

    Args:
        drawn: 16 random bits per weight, in int16.
        dropped, scale, half: results of `dithering`.
    """
    bits = drawn.to(torch.int32) & ((1 << DRAW_BITS) - 1)
    # float64: integer and fraction bits together exceed the precision of float32
    dither = (bits >> dropped).double() * scale + half
    change = torch.floor(gradient.double() * per_step.double() + dither)
    stored = (stored - change.to(stored)).clamp(-form.stored.top, form.stored.top)
    return stored, *requantised_weights(stored, form)


def requantised_weights(stored: Tensor, form: LayerFormats) -> tuple[Tensor, Tensor]:
    """Return the stored weights requantised for the MVM, in float32, and the L1 norm per row."""
    weight = stored
    if form.shadow is not None:
        weight = nearest(stored * 2.0 ** (form.weight.bits - form.shadow.bits), form.rounding)
        weight = weight.clamp(-form.weight.top, form.weight.top)
    weight = weight.float()
    return weight, weight.abs().sum(dim=1)


def dithering(shifts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return `dropped, scale, half` per shift: 16 random `bits` give the dither `(bits >> dropped) * scale + half`.

    The dither is added before rounding down. All three have shape `[shifts, 1]`. Up to a shift of 16, fractions round
    up with their exact probability; beyond, with that of the nearest 16-bit fraction.
    """
    parts = [
        (DRAW_BITS - max(s, 0), 2.0 ** -max(s, 0), 0.0)
        if s <= DRAW_BITS
        else (0, 2.0**-DRAW_BITS, 2.0 ** -(DRAW_BITS + 1))
        for s in shifts
    ]
    dropped, scale, half = zip(*parts, strict=True)
    column = (-1, 1)
    return (
        torch.tensor(dropped, dtype=torch.int32).view(column),
        torch.tensor(scale, dtype=torch.float64).view(column),
        torch.tensor(half, dtype=torch.float64).view(column),
    )


def fast_draws(states: NDArray[np.uint32], columns: int) -> tuple[Tensor, NDArray[np.uint32]]:
    """Compute `xorshift.draws` fast, with int16 draws `[rows, columns]`: a word's lower half is first in memory."""
    words = np.empty((-(-columns // 2), len(states)), dtype=np.dtype("<u4"))
    state, moved = states.copy(), np.empty_like(states)
    for word in words:
        for shift, by in ((np.left_shift, 13), (np.right_shift, 17), (np.left_shift, 5)):
            np.bitwise_xor(state, shift(state, np.uint32(by), out=moved), out=state)
        word[:] = state
    halves = np.ascontiguousarray(words.T).view(np.dtype("<i2"))
    return torch.from_numpy(halves[:, :columns].astype(np.int16, copy=False)), state
