"""Random bits identical in NumPy, C and Verilog: Marsaglia's xorshift32, one generator per row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DRAW_BITS = 16
"""Random bits used per draw."""

_WORD = np.uint64(0xFFFFFFFF)


def xorshift32(state: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the next states (shifts 13, 17, 5), which are never 0. Source: Marsaglia, J. Stat. Softw. 8(14), 2003."""
    state = state ^ (state << np.uint32(13))
    state = state ^ (state >> np.uint32(17))
    return state ^ (state << np.uint32(5))


def first_states(seed: int, rows: int) -> NDArray[np.uint32]:
    """Return the initial generator states for `rows` rows, from a 32-bit seed.

    A state is MurmurHash3's finaliser of `seed + row * 0x9E3779B9`, or 1 if that is 0.
    """
    h = (np.uint64(seed & 0xFFFFFFFF) + np.arange(rows, dtype=np.uint64) * np.uint64(0x9E3779B9)) & _WORD
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & _WORD
    return np.maximum(h, 1).astype(np.uint32)


def draws(states: NDArray[np.uint32], columns: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return one 16-bit random number per element `[rows, columns]`, and the generator states after the draws.

    A row draws for all of its elements in order, used or not: each new state gives two draws, the lower half first.
    The last upper half of an odd row is dropped.
    """
    bits = np.empty((len(states), columns + columns % 2), dtype=np.int64)
    for column in range(0, columns, 2):
        states = xorshift32(states)
        bits[:, column] = states & np.uint32((1 << DRAW_BITS) - 1)
        bits[:, column + 1] = states >> np.uint32(DRAW_BITS)
    return bits[:, :columns], states
