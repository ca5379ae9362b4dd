"""The arithmetic of the C runtime against the integer reference's, number by number."""

from __future__ import annotations

import ctypes
import zlib
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scff_hw import paths
from scff_hw.backends.fixed.reference import arithmetic as integer

WIDE = st.integers(-(2**48), 2**48)


def reference(x: int) -> np.ndarray:
    return np.array([x], np.int64)


def test_shifts_round_as_the_reference(library: ctypes.CDLL) -> None:
    @given(WIDE | st.integers(-300, 300), st.integers(-12, 47))
    def check(x: int, shift: int) -> None:
        for number, rounding in enumerate(("half_even", "half_up")):
            expected = int(integer.shift_right(reference(x), shift, rounding)[0])  # type: ignore[arg-type]
            assert library.scff_shift_right(ctypes.c_int64(x), shift, number) == expected

    check()


def test_halves_go_to_even_or_up(library: ctypes.CDLL) -> None:
    found = [[library.scff_shift_right(ctypes.c_int64(x), 2, rounding) for x in (-6, -2, 2, 6)] for rounding in (0, 1)]
    assert found == [[-2, 0, 0, 2], [-1, 0, 1, 2]]


def test_shifts_beyond_64_bits_saturate_or_vanish(library: ctypes.CDLL) -> None:
    top = 2**63 - 1
    assert library.scff_shift_right(ctypes.c_int64(2**40), -30, 0) == top
    assert library.scff_shift_right(ctypes.c_int64(-(2**40)), -30, 0) == -top
    assert library.scff_shift_right(ctypes.c_int64(-1), -100, 0) == -top
    assert library.scff_shift_right(ctypes.c_int64(0), -100, 0) == 0
    assert library.scff_shift_right(ctypes.c_int64(-5), 100, 0) == 0


def test_random_rounding_is_the_reference_s(library: ctypes.CDLL) -> None:
    @given(st.integers(-(2**31), 2**31), st.integers(-8, 40), st.integers(0, 2**16 - 1))
    def check(x: int, shift: int, drawn: int) -> None:
        expected = int(integer.stochastic_shift(reference(x), shift, reference(drawn))[0])
        assert library.scff_shift_right_at_random(ctypes.c_int64(x), shift, drawn) == expected

    check()


def test_divisions_round_as_the_reference(library: ctypes.CDLL) -> None:
    @given(WIDE | st.integers(-50, 50), st.integers(1, 2**31 - 1) | st.integers(1, 20))
    def check(x: int, n: int) -> None:
        assert library.scff_divide(ctypes.c_int64(x), ctypes.c_uint32(n)) == int(integer.divide(reference(x), n)[0])

    check()


def test_roots_round_down(library: ctypes.CDLL) -> None:
    @given(st.integers(0, 2**64 - 1) | st.integers(0, 2**32 - 1).map(lambda root: max(root * root - 1, 0)))
    def check(x: int) -> None:
        assert library.scff_isqrt(ctypes.c_uint64(x)) == isqrt(x)
        assert library.scff_bit_length(ctypes.c_uint64(x)) == x.bit_length()

    check()


def test_the_mean_s_factor_is_the_reference_s(library: ctypes.CDLL) -> None:
    @given(st.integers(3, 2**33) | st.integers(2, 33).map(lambda bits: 2**bits))
    def check(count: int) -> None:
        mantissa, shift = ctypes.c_int32(), ctypes.c_int32()
        library.scff_two_over(ctypes.c_uint64(count), ctypes.byref(mantissa), ctypes.byref(shift))
        assert (mantissa.value, shift.value) == integer.split(2 / count)

    check()


def test_the_logistic_table_is_the_reference_s(library: ctypes.CDLL) -> None:
    t = np.arange(-300, 300)
    expected = integer.logistic(t.astype(np.int64))
    assert [library.scff_logistic(ctypes.c_int64(int(x))) for x in t] == expected.tolist()
    assert library.scff_logistic(ctypes.c_int64(2**60)) == expected[-1]


def test_generators_are_the_reference_s(library: ctypes.CDLL) -> None:
    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**20))
    def check(seed: int, row: int) -> None:
        state = library.scff_first_state(ctypes.c_uint32(seed), ctypes.c_uint32(row))
        assert state == int(integer.first_states(seed, row + 1)[row]) if row < 1000 else state > 0
        expected = int(integer.xorshift32(np.array([state], np.uint32))[0])
        assert library.scff_xorshift32(ctypes.c_uint32(state)) == expected

    check()


def test_the_crc_is_zlib_s(library: ctypes.CDLL) -> None:
    @given(st.binary(max_size=50), st.binary(max_size=50))
    def check(a: bytes, b: bytes) -> None:
        first = library.scff_crc32(ctypes.c_uint32(0), a, ctypes.c_size_t(len(a)))
        assert library.scff_crc32(ctypes.c_uint32(first), b, ctypes.c_size_t(len(b))) == zlib.crc32(a + b)

    check()


NARROW = r"""
#include "scff_arithmetic.h"

/* How often arithmetic in 32 bits differs from that in 64, over ends, halves and a few thousand numbers at random. */
int main(void)
{
    static const int32_t ends[] = {0, 1, -1, 2, -2, 3, -3, 127, -128, 32767, -32768, INT32_MAX, -INT32_MAX, INT32_MIN};
    int wrong = 0;
    uint32_t state = 1;
    for (uint32_t i = 0; i < 4000u; i++) {
        state = scff_xorshift32(state);
        int32_t x = (i < 14u) ? ends[i] : (int32_t)((int64_t)(state >> (i % 32u)) - ((int64_t)1 << 31 >> (i % 32u)));
        for (int32_t shift = 1; shift < 32; shift++) {
            uint32_t drawn = (i % 3u == 0u) ? 0xFFFFu : ((state >> 7) & 0xFFFFu);
            int32_t half = (int32_t)((uint32_t)1 << (shift - 1));
            for (int32_t k = 0; k < 2; k++) {
                int32_t at = (k == 0) ? x : (int32_t)((((int64_t)x >> shift) * 2 * half) + half);
                for (int rounding = 0; rounding < 2; rounding++) {
                    scff_rounding_t how = (scff_rounding_t)rounding;
                    wrong += scff_round_32(at, (uint32_t)shift, how) != scff_shift_right(at, shift, how);
                    wrong += scff_requantise_32(at, shift - 5, 8u, how) != scff_requantise(at, shift - 5, 8u, how);
                }
                wrong += scff_round_at_random_32(at, (uint32_t)shift, drawn) !=
                         scff_shift_right_at_random(at, shift, drawn);
            }
        }
    }
    return (wrong < 100) ? wrong : 100;
}
"""


def test_arithmetic_in_32_bits_is_that_in_64(tmp_path: Path, call: Any, tool: Any) -> None:
    (tmp_path / "narrow.c").write_text(NARROW, encoding="utf-8")
    source = paths.export() / "c"
    includes = ("-I", source / "include", "-I", source / "src")
    call(
        *(tool("gcc"), "-std=c99", "-O1", "-fsanitize=undefined", "-fno-sanitize-recover", *includes),
        *(source / "src" / "scff_arithmetic.c", tmp_path / "narrow.c", "-o", tmp_path / "narrow"),
    )
    call(tmp_path / "narrow")
