"""The integer reference's primitives against exact fractions, big integers and scalar code written from the papers."""

from __future__ import annotations

import math
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scff_hw.backends.fixed import QFormat
from scff_hw.backends.fixed.formats.calibrate import default_formats
from scff_hw.backends.fixed.formats.formats import Rounding
from scff_hw.backends.fixed.reference import arithmetic as integer
from scff_hw.backends.fixed.reference.layer import LayerSpec, coefficients, quantise, requantise, standardise
from scff_hw.backends.fixed.tensor.arithmetic import isqrt as fast_isqrt
from scff_hw.backends.fixed.tensor.arithmetic import standardise as fast_standardise
from scff_hw.backends.fixed.tensor.update import dithering, fast_draws
from scff_hw.config.fixed_point import FixedPoint
from scff_hw.core.functional import standardise as float_standardise
from scff_hw.errors import WidthError

WORDS = st.integers(-(2**31) + 1, 2**31 - 1)
ROUNDINGS = st.sampled_from(["half_even", "half_up"])


def array(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def rounded(value: Fraction, rounding: Rounding) -> int:
    return round(value) if rounding == "half_even" else math.floor(value + Fraction(1, 2))


@given(x=st.lists(WORDS, min_size=1, max_size=8), shift=st.integers(-20, 40), rounding=ROUNDINGS)
def test_a_shift_rounds_as_exact_fractions_do(x: list[int], shift: int, rounding: Rounding) -> None:
    found = integer.shift_right(array(*x), shift, rounding)
    assert found.tolist() == [rounded(Fraction(each) / Fraction(2) ** shift, rounding) for each in x]


@given(quotient=st.integers(-(2**20), 2**20), shift=st.integers(1, 20))
def test_halves_are_rounded_to_even_or_up(quotient: int, shift: int) -> None:
    half = array((quotient << shift) + (1 << (shift - 1)))
    exact = Decimal(quotient) + Decimal("0.5")
    assert integer.shift_right(half, shift, "half_even")[0] == int(exact.to_integral_value(ROUND_HALF_EVEN))
    assert integer.shift_right(half, shift, "half_up")[0] == int(
        (exact + Decimal("0.5")).to_integral_value(ROUND_FLOOR)
    )


@given(bits=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_products_are_exact_whatever_their_size(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-(1 << bits), 1 << bits, size, dtype=np.int64, endpoint=True) for size in ((3, 7), (7, 2)))
    exact = [[sum(int(x) * int(y) for x, y in zip(row, column, strict=True)) for column in b.T] for row in a]
    assert integer.matmul(a, b).tolist() == exact


def test_a_shift_can_differ_by_channel() -> None:
    found = integer.shift_right(array(10, 10, 10), array(2, 0, -2), "half_even")
    assert found.tolist() == [2, 10, 40]


@given(x=WORDS, bits=st.integers(2, 32), shift=st.integers(-8, 24), rounding=ROUNDINGS)
def test_requantising_is_a_shift_then_both_ends(x: int, bits: int, shift: int, rounding: Rounding) -> None:
    top = 2 ** (bits - 1) - 1
    expected = min(max(rounded(Fraction(x) / Fraction(2) ** shift, rounding), -top), top)
    assert requantise(array(x), shift, bits, rounding)[0] == expected


@given(value=st.floats(-300, 300), bits=st.integers(2, 16), fracs=st.tuples(st.integers(-4, 12), st.integers(-4, 12)))
def test_numbers_enter_at_the_scale_of_their_channel(value: float, bits: int, fracs: tuple[int, int]) -> None:
    form = QFormat(bits, fracs)
    found = quantise(np.array([[value], [value]]), form)[:, 0].tolist()
    exact = [rounded(Fraction(value) * Fraction(2) ** frac, "half_even") for frac in fracs]
    assert found == [min(max(each, -form.top), form.top) for each in exact]


@given(x=st.integers(0, 2**62))
@example(x=2**62)
@example(x=(2**31 - 1) ** 2 - 1)
@example(x=(2**31 - 1) ** 2)
@example(x=(2**26 + 1) ** 2 - 1)
@example(x=0)
def test_roots_are_rounded_down(x: int) -> None:
    assert integer.isqrt(array(x))[0] == math.isqrt(x)
    assert int(fast_isqrt(torch.tensor([x]))) == math.isqrt(x)


@given(root=st.integers(1, 2**31 - 1), offset=st.integers(-1, 1))
def test_roots_next_to_squares_are_rounded_down(root: int, offset: int) -> None:
    x = root * root + offset
    assert integer.isqrt(array(x))[0] == math.isqrt(x)


@given(x=st.integers(-(2**40), 2**40), n=st.integers(1, 2**20))
def test_a_quotient_is_rounded_to_the_nearest_with_halves_up(x: int, n: int) -> None:
    assert integer.divide(array(x), n)[0] == rounded(Fraction(x, n), "half_up")


@given(x=st.integers(0, 2**53 - 1))
def test_bit_length_is_pythons(x: int) -> None:
    assert integer.bit_length(array(x))[0] == x.bit_length()


def scalar_xorshift(state: int) -> int:
    state ^= (state << 13) & 0xFFFFFFFF
    state ^= state >> 17
    return state ^ ((state << 5) & 0xFFFFFFFF)


def murmur_finaliser(h: int) -> int:
    """fmix32 of MurmurHash3 (Appleby, public domain)."""
    h ^= h >> 16
    h = (h * 0x85EBCA6B) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)


def test_the_generator_gives_marsaglias_numbers() -> None:
    """From y = 2463534242, the state in Marsaglia's listing, with his triple (13, 17, 5)."""
    state, found = np.array([2463534242], dtype=np.uint32), []
    for _ in range(3):
        state = integer.xorshift32(state)
        found.append(int(state[0]))
    assert found == [723471715, 2497366906, 2064144800]


@given(states=st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=5))
def test_the_generator_is_its_scalar_form(states: list[int]) -> None:
    found = integer.xorshift32(np.array(states, dtype=np.uint32))
    assert found.dtype == np.uint32 and found.tolist() == [scalar_xorshift(state) for state in states]


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40))
def test_first_states_are_hashed_row_numbers(seed: int, rows: int) -> None:
    expected = [murmur_finaliser((seed + row * 0x9E3779B9) & 0xFFFFFFFF) or 1 for row in range(rows)]
    assert integer.first_states(seed, rows).tolist() == expected


def test_no_first_state_is_zero() -> None:
    assert integer.first_states(0, 1).tolist() == [1], "the finaliser of 0 is 0, where the generator would stay"


@given(states=st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=4), columns=st.integers(1, 9))
def test_a_state_serves_two_weights_lower_half_first(states: list[int], columns: int) -> None:
    expected, ends = [], []
    for state in states:
        row: list[int] = []
        while len(row) < columns:
            state = scalar_xorshift(state)
            row += [state & 0xFFFF, state >> 16]
        expected.append(row[:columns])
        ends.append(state)
    first = np.array(states, dtype=np.uint32)
    drawn, after = integer.draws(first, columns)
    assert drawn.tolist() == expected and after.tolist() == ends
    fast, fast_after = fast_draws(first, columns)
    assert (fast.numpy().astype(np.int64) & 0xFFFF).tolist() == expected and fast_after.tolist() == ends
    assert first.tolist() == states, "the states given were changed"


@given(x=st.integers(-(2**24), 2**24), shift=st.integers(-4, 30))
@example(x=-1, shift=16)
@example(x=2**16 - 1, shift=16)
@example(x=(1 << 20) - 1, shift=20)
def test_stochastic_rounding_has_the_exact_mean(x: int, shift: int) -> None:
    """Over all 2^16 draws: the quotient itself, or beyond a shift of 16 the 16-bit fraction next to it."""
    found = integer.stochastic_shift(np.full(1 << 16, x), shift, np.arange(1 << 16))
    exact = Fraction(x) / Fraction(2) ** shift
    if shift > 16:
        exact = Fraction(rounded(exact * 2**16, "half_up"), 2**16)
    assert Fraction(int(found.sum()), 1 << 16) == exact
    assert set(found.tolist()) <= {math.floor(exact), math.ceil(exact)}
    drawn = torch.arange(1 << 16, dtype=torch.int32)
    dropped, scale, half = dithering([shift])
    fast = torch.floor(x * 2.0**-shift + (drawn >> dropped).double() * scale + half)
    assert np.array_equal(fast[0].numpy(), found)


def test_the_logistic_table_is_rounded_from_40_digits() -> None:
    found = integer.logistic(np.arange(-300, 300)).tolist()
    for t, value in zip(range(-300, 300), found, strict=True):
        argument = Decimal(min(max(t, -256), 255)) / 32
        exact = Decimal(1 << 15) / (1 + (-argument).exp())
        assert value == int(exact.to_integral_value(ROUND_HALF_EVEN))
    assert max(found) < 1 << 15 and min(found) > 0
    assert integer.logistic(array(0))[0] == 1 << 14


@given(n=st.integers(1, 1 << 20))
@example(n=(1 << 18) + 1)
def test_a_reciprocal_has_15_bits(n: int) -> None:
    m, s = integer.reciprocal(n)
    assert 1 << 14 <= m < 1 << 15
    assert abs(Fraction(m, 1 << s) * n - 1) <= Fraction(1, 1 << 15)


@given(value=st.floats(1e-12, 1e6))
def test_a_factor_is_split_into_15_bits_and_a_shift(value: float) -> None:
    m, s = integer.split(value)
    assert 1 << 14 <= m <= 1 << 15
    assert abs(m * Fraction(2) ** -(15 + s) / Fraction(value) - 1) <= Fraction(1, 1 << 15)


def test_a_width_that_is_exceeded_is_named() -> None:
    assert integer.checked(array(-127, 127), 8, "sum").tolist() == [-127, 127]
    for value in (128, -128):
        with pytest.raises(WidthError, match=r"The sum reached 128, beyond the 127 of its declared 8 bits"):
            integer.checked(array(0, value), 8, "sum")


SAMPLES = st.lists(st.integers(-127, 127), min_size=2, max_size=60)


@given(sample=SAMPLES, bits=st.integers(4, 8), rounding=ROUNDINGS, reach=st.integers(2, 4))
def test_standardised_samples_are_those_of_float(sample: list[int], bits: int, rounding: Rounding, reach: int) -> None:
    """Within half a step, a reciprocal of 14 good bits, and a mean that is rounded to 1/64 of an input's step."""
    x, form = array(*sample), QFormat(bits, bits - reach)
    deviation = float(np.std(x, ddof=1))
    assume(deviation > 0)
    found = standardise(x[None], form, rounding)
    exact = float_standardise(torch.tensor(sample, dtype=torch.float64)[None]).numpy() * 2.0**form.frac_bits
    allowed = 0.5 + form.top * 2.0**-12 + 2.0 ** (form.frac_bits - 7) / deviation
    assert np.abs(found - np.clip(exact, -form.top, form.top)).max() <= allowed
    fast = fast_standardise(torch.tensor(sample).float()[None], form, rounding)
    assert fast.tolist() == found.tolist()


def test_pictures_are_standardised_within_six_tenths_of_a_step() -> None:
    x = np.random.default_rng(0).integers(0, 128, (50, 3, 9, 7))
    form = QFormat(8, 5)
    exact = float_standardise(torch.from_numpy(x).double()).numpy() * 32
    assert np.abs(standardise(x, form, "half_even") - np.clip(exact, -127, 127)).max() < 0.6


@pytest.mark.parametrize("value", [-127, 0, 1, 127])
@pytest.mark.parametrize("n", [1, 2, 64, 1 << 16])
def test_constant_samples_give_zeros(value: int, n: int) -> None:
    x, form = np.full((2, n), value), QFormat(8, 5)
    assert not standardise(x, form, "half_even").any()
    assert not fast_standardise(torch.from_numpy(x).float(), form, "half_even").any()


@pytest.mark.parametrize("n", [2, 3, 5, 64, 1000, 1023, 1 << 14, 1 << 16])
@pytest.mark.parametrize("value", [127, -127, 1])
@pytest.mark.parametrize("rest", [0, 127, -127, 126])
def test_extreme_samples_stay_within_their_widths(n: int, value: int, rest: int) -> None:
    """One value of its own among equal ones, and halves of either sign: the reference checks each width it declares."""
    x = np.full((2, n), rest)
    x[0, 0] = value
    x[1, : n // 2] = -rest
    for form in (QFormat(8, 5), QFormat(8, 0), QFormat(4, 1)):
        for rounding in ("half_even", "half_up"):
            found = standardise(x, form, rounding)
            assert np.abs(found).max() <= form.top
            assert np.array_equal(fast_standardise(torch.from_numpy(x).float(), form, rounding).numpy(), found)
    if value != rest:
        exact = (n - 1) / math.sqrt(n)
        wide = standardise(x[:1], QFormat(16, 5), "half_even")
        assert abs(wide[0, 0]) / 32 == pytest.approx(exact, rel=2**-5 if abs(value - rest) == 1 else 2**-9, abs=1 / 32)


def test_squares_of_goodness_that_leave_64_bits_are_refused() -> None:
    form = default_formats(torch.full((2, 2), 0.1), FixedPoint())
    spec = LayerSpec(form, 3, True, 1.0, 1.0, 1e-3)
    sums = np.full((1, 4096), 1 << 26, dtype=np.int64)
    with pytest.raises(WidthError, match="squares of 4096 goodness sums of up to 67108864 exceed 64 bits"):
        coefficients(sums, sums, spec, 10_000, 4096)
