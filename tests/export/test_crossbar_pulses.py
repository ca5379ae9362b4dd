"""Pulse trains: bit for bit the same in C, and in distribution what aihwkit pulses."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scff_hw import paths
from scff_hw.backends.fixed.reference import arithmetic as integer
from scff_hw.core import xorshift
from scff_hw.core.rules import SCFF, Signals
from scff_hw.errors import UsageError
from scff_hw.export.crossbar.pulses import (
    CERTAIN,
    PulseScheme,
    PulseTrains,
    Scaled,
    TilePulses,
    codes,
    error_codes,
    probabilities,
)

from .conftest import WARNINGS, address, run, tool


class CTile(ctypes.Structure):
    """`scff_pulse_tile_t`."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("rows", "columns", "max_pulses")),
        ("scheme", ctypes.c_int),
        ("update_management", ctypes.c_uint8),
        ("pulse_management", ctypes.c_uint8),
        ("gain_mantissa", ctypes.c_uint32),
        ("gain_shift", ctypes.c_int32),
        ("row_root_mantissa", ctypes.c_uint32),
        ("row_root_shift", ctypes.c_int32),
        ("column_root_mantissa", ctypes.c_uint32),
        ("column_root_shift", ctypes.c_int32),
        ("seed", ctypes.c_uint32),
    )


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """`scff_pulses.c`, compiled without a warning, with undefined behaviour trapped."""
    built = tmp_path_factory.mktemp("pulses") / "libpulses.so"
    source = paths.export() / "crossbar" / "scff_pulses.c"
    strict = ["-Wpedantic", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    run(tool("gcc"), *WARNINGS, *strict, "-O2", "-shared", "-fPIC", source, "-o", built)
    found = ctypes.CDLL(str(built))
    found.scff_pulses.restype = ctypes.c_uint32
    found.scff_pulse_errors.restype = ctypes.c_int32
    return found


class CPulses:
    """One tile in C, driven through ctypes."""

    def __init__(self, kernel: ctypes.CDLL, pulses: TilePulses, rows: int, columns: int, seed: int) -> None:
        scheme = pulses.scheme
        self.kernel, self.words, self.lines = kernel, scheme.words, rows + columns
        self.tile = CTile(
            *(rows, columns, scheme.max_pulses, int(scheme.kind == "mean-count")),
            *(int(scheme.update_management), int(scheme.pulse_management)),
            *(pulses.gain.mantissa, pulses.gain.shift, pulses.row_root.mantissa, pulses.row_root.shift),
            *(pulses.column_root.mantissa, pulses.column_root.shift, seed),
        )
        self.states = np.zeros(self.lines, np.uint32)
        kernel.scff_pulses_init(ctypes.byref(self.tile), ctypes.c_void_p(address(self.states)))

    def update(
        self, x: NDArray[np.int16], x_exponent: int, d: NDArray[np.int16], d_exponent: int
    ) -> tuple[int, NDArray[np.uint32], NDArray[np.int8]]:
        trains = np.full((self.lines, self.words), 0xFFFFFFFF, np.uint32)
        signs = np.full(self.lines, 99, np.int8)
        x, d = np.ascontiguousarray(x, np.int16), np.ascontiguousarray(d, np.int16)
        slots = self.kernel.scff_pulses(
            ctypes.byref(self.tile),
            ctypes.c_void_p(address(self.states)),
            *(ctypes.c_void_p(address(x)), ctypes.c_int32(x_exponent)),
            *(ctypes.c_void_p(address(d)), ctypes.c_int32(d_exponent)),
            ctypes.c_void_p(address(trains)),
            ctypes.c_void_p(address(signs)),
        )
        return slots, trains, signs


CODES = st.one_of(st.integers(-32767, 32767), st.sampled_from([0, 0, 1, -1, 32767, -32767]))
SCHEMES = st.builds(
    lambda kind, most, managed: PulseScheme(kind, most, managed > 0, managed > 1),
    st.sampled_from(["stochastic", "mean-count"]),
    st.one_of(st.integers(1, 100), st.sampled_from([31, 32, 33, 1000, 10_000])),
    st.integers(0, 2),
)


@settings(max_examples=400, deadline=None)
@given(
    scheme=SCHEMES,
    x=st.lists(CODES, min_size=1, max_size=9),
    d=st.lists(CODES, min_size=1, max_size=7),
    steps=st.floats(-40, 20),
    exponents=st.tuples(st.integers(-40, 40), st.integers(-40, 40)),
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(1e-3, 10),
)
def test_c_gives_the_very_same_pulses(
    kernel: ctypes.CDLL,
    scheme: PulseScheme,
    x: list[int],
    d: list[int],
    steps: float,
    exponents: tuple[int, int],
    seed: int,
    scale: float,
) -> None:
    """Over updates that ask for 2^-40 to 2^20 steps: trains, polarities, slots and the generators' states."""
    gain = 2.0 ** (steps - 30 - sum(exponents))
    pulses = TilePulses(scheme, len(x), len(d), gain, seed, scale)
    c = CPulses(kernel, pulses, len(x), len(d), seed)
    for _ in range(2):
        trains = pulses.update(x, exponents[0], d, exponents[1])
        slots, words, signs = c.update(np.array(x), exponents[0], np.array(d), exponents[1])
        assert slots == trains.length
        assert np.array_equal(words, trains.packed(scheme.words))
        assert np.array_equal(signs, trains.signs)
        assert np.array_equal(c.states, pulses.states)
        x, d = x[::-1], d[::-1]


@pytest.mark.parametrize("exponents", [(1000, 1000), (-1000, -1000), (1000, -1000)])
@pytest.mark.parametrize("gain", [2.0**-199, 1.0, 2.0**199])
@pytest.mark.parametrize("managed", [0, 1, 2])
def test_c_and_python_agree_at_the_ends(
    kernel: ctypes.CDLL, exponents: tuple[int, int], gain: float, managed: int
) -> None:
    scheme = PulseScheme("stochastic", 31, managed > 0, managed > 1)
    pulses = TilePulses(scheme, 3, 2, gain, 5)
    c = CPulses(kernel, pulses, 3, 2, 5)
    x, d = np.array([32767, -32767, 1], np.int16), np.array([-32767, 1], np.int16)
    trains = pulses.update(x, exponents[0], d, exponents[1])
    slots, words, signs = c.update(x, exponents[0], d, exponents[1])
    assert slots == trains.length and np.array_equal(words, trains.packed(1)) and np.array_equal(signs, trains.signs)


def by_the_formula(
    scheme: PulseScheme, x: NDArray[np.float64], d: NDArray[np.float64], gain: float
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Slots and probabilities in floating point, as aihwkit's performUpdateManagement has them, line by line."""
    a = b = np.sqrt(gain / scheme.max_pulses)
    slots = scheme.max_pulses
    if scheme.update_management:
        x_max, d_max = np.abs(x).max(), np.abs(d).max()
        k = gain * x_max * d_max
        if scheme.pulse_management:
            slots = min(int(np.ceil(k)), scheme.max_pulses)
            a = b = np.sqrt(gain / slots)
        if k > scheme.max_pulses:
            d_max *= scheme.max_pulses / k
        a, b = a * np.sqrt(x_max / d_max), b * np.sqrt(d_max / x_max)
    return slots, np.minimum(np.abs(x) * b, 1), np.minimum(np.abs(d) * a, 1)


@pytest.mark.parametrize("managed", [0, 1, 2])
@pytest.mark.parametrize("gain", [0.3, 20.0, 900.0])
def test_probabilities_are_the_formula(managed: int, gain: float) -> None:
    """Of the codes and the gain as they are: within 2^-16, what probabilities are rounded to."""
    scheme = PulseScheme("stochastic", 31, managed > 0, managed > 1)
    draw = np.random.default_rng(1)
    x, d = draw.normal(size=40), 0.3 * draw.normal(size=25)
    tile = TilePulses(scheme, 40, 25, gain, 0)
    (xc, xe), (dc, de) = codes(x), codes(d)
    slots, p_x, p_d = probabilities(tile, xc.astype(np.int64), xe, dc.astype(np.int64), de)
    wanted = by_the_formula(scheme, np.ldexp(xc.astype(float), xe), np.ldexp(dc.astype(float), de), float(tile.gain))
    assert slots == wanted[0]
    np.testing.assert_allclose(p_x / CERTAIN, wanted[1], rtol=0, atol=2**-16)
    np.testing.assert_allclose(p_d / CERTAIN, wanted[2], rtol=0, atol=2**-16)


@given(
    y=st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(CODES, min_size=n, max_size=n), min_size=1, max_size=4)),
    draw=st.data(),
)
def test_errors_of_post_activations_are_the_same_in_c(kernel: ctypes.CDLL, y: list[list[int]], draw: Any) -> None:
    m = draw.draw(st.lists(CODES, min_size=len(y), max_size=len(y)))
    found, exponent = error_codes(y, m, -20)
    outputs, factors = np.array(y, np.int16), np.array(m, np.int16)
    narrow = np.full(outputs.shape[1], 99, np.int16)
    shift = kernel.scff_pulse_errors(
        *(ctypes.c_void_p(address(outputs)), ctypes.c_void_p(address(factors))),
        *(ctypes.c_uint32(len(y)), ctypes.c_uint32(outputs.shape[1]), ctypes.c_void_p(address(narrow))),
    )
    assert (shift, narrow.tolist()) == (exponent + 20, found.tolist())


def test_errors_of_post_activations_are_those_of_the_rule() -> None:
    """SCFF on 64 samples whose pairs are made elsewhere: errors of both pairs within 2^-13 of a sample's largest."""
    rule = SCFF(theta_pos=0.7, theta_neg=0.4, penalty=0.02)
    z = torch.randn(2, 64, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.relu(z)
    wanted = rule.errors(Signals(torch.empty(0), z[0], z[1]))
    goodness = y.square().mean(dim=2, keepdim=True)
    by = rule.gains(goodness[0], goodness[1], 30)
    factors = torch.stack([by.positive, by.negative])[:, :, 0].numpy()
    for sample in range(64):
        (yc, y_exponent), (mc, m_exponent) = codes(y[:, sample].numpy()), codes(factors[:, sample])
        found, exponent = error_codes(yc, mc, y_exponent + m_exponent)
        truth = (wanted.positive + wanted.negative)[sample].numpy()
        np.testing.assert_allclose(np.ldexp(found.astype(float), exponent), truth, atol=2**-13 * np.abs(truth).max())


def test_mean_counts_coincide_as_often_as_rounded_products() -> None:
    """All pairs of counts of a train of 31 slots: round(rows columns / 31), halves up."""
    slots = 31
    tile = TilePulses(PulseScheme("mean-count", slots, True, False), slots + 1, slots + 1, slots, 0)
    line = np.round(np.arange(slots + 1) * 32767 / slots).astype(np.int16)
    trains = tile.update(line, -15, line, -15)
    assert np.array_equal(trains.rows.sum(axis=1), np.arange(slots + 1))
    assert np.array_equal(trains.columns.sum(axis=1), np.arange(slots + 1))
    product = np.outer(np.arange(slots + 1), np.arange(slots + 1))
    assert np.array_equal(-trains.counts, (2 * product + slots) // (2 * slots))


def test_counts_are_coincidences_with_their_signs() -> None:
    rows = np.array([[1, 1, 0], [0, 1, 1]], bool)
    columns = np.array([[1, 1, 1], [0, 0, 1]], bool)
    trains = PulseTrains(rows, columns, np.array([1, -1], np.int8), np.array([-1, 1], np.int8))
    assert trains.counts.tolist() == [[-2, 0], [2, -1]]


def test_the_generator_is_that_of_the_fixed_backend() -> None:
    assert integer.draws is xorshift.draws and integer.first_states is xorshift.first_states
    # Marsaglia's first state of 2463534242 is 723471715 (Journal of Statistical Software 8(14), 2003, page 4)
    assert xorshift.xorshift32(np.array([2463534242], np.uint32)).tolist() == [723471715]


def test_a_column_has_the_polarity_of_minus_its_error() -> None:
    tile = TilePulses(PulseScheme(), 2, 2, 31.0, 0)
    trains = tile.update([32767, -32767], -15, [32767, -32767], -15)
    assert np.array_equal(np.sign(trains.counts), [[-1, 1], [1, -1]])


def test_nothing_is_pulsed_without_an_input_or_an_error() -> None:
    tile = TilePulses(PulseScheme(), 2, 3, 31.0, 7)
    before = tile.states
    for x, d in (([0, 0], [1, 2, 3]), ([5, 5], [0, 0, 0])):
        trains = tile.update(x, 0, d, 0)
        assert trains.length == 0 and not trains.signs.any() and trains.counts.shape == (2, 3)
    assert np.array_equal(tile.states, before)


@pytest.mark.parametrize("values", [[0.0], [1.0, -3.5], [1e-30, 2e-31], [32767.0], [1e20, 1.0], [2.0**-1100]])
def test_codes_are_the_numbers(values: list[float]) -> None:
    found, exponent = codes(values)
    assert np.abs(found).max() <= 32767
    np.testing.assert_allclose(
        np.ldexp(found.astype(float), exponent), values, rtol=0, atol=max(map(abs, values)) * 2**-14
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda tile: tile.update([40000], 0, [1], 0), "codes of inputs must lie between -32767 and 32767. Got 40000"),
        (lambda tile: tile.update([1], 0, [1], 1001), "exponent of errors must lie between -1000 and 1000. Got 1001"),
        (lambda tile: codes([float("inf")]), "must be finite numbers. Got inf"),
        (lambda tile: TilePulses(PulseScheme(), 1, 1, 0.0, 0), "gain of a tile's pulses must be"),
    ],
)
def test_what_cannot_be_pulsed_is_refused(call: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call(TilePulses(PulseScheme(), 1, 1, 1.0, 0))


@given(st.floats(1e-50, 1e50))
def test_a_scaled_number_is_near(value: float) -> None:
    found = Scaled.of(value)
    assert 1 << 15 <= found.mantissa < 1 << 16
    assert float(found) == pytest.approx(value, rel=2**-16)
    assert Scaled.of(float(found)) == found
