"""Fixed-point layers on PyTorch and Brevitas against the integer reference: equal in every bit, in any formats."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from scff_hw.backends import Conv2d, Dense, Geometry, Optimisation
from scff_hw.backends.fixed import FixedArray, FixedLayer, LayerFormats, QFormat
from scff_hw.backends.fixed.reference.layer import IntegerLayer, pooled, quantise
from scff_hw.backends.fixed.tensor.layer import _pooled, chosen_positions
from scff_hw.core import compiling
from scff_hw.core.functional import Pool
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.rules import SCFF


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No torch.compile, which takes seconds for every shape."""
    monkeypatch.setenv("SCFF_HW_COMPILE", "0")
    compiling.compiler_missing.cache_clear()
    yield
    compiling.compiler_missing.cache_clear()


def draw_formats(pick: st.DataObject, geometry: Geometry, products: int) -> LayerFormats:
    """Formats whose points lie so that values are rounded, cut off and lost, each now and then."""

    def number(name: str, low: int, high: int) -> int:
        return pick.draw(st.integers(low, high), label=name)

    bits, activation = number("weight bits", 2, 8), number("activation bits", 4, 8)
    shadow_bits = pick.draw(st.sampled_from([0, 16, 32, 8]), label="shadow bits")
    frac: Any = number("weight frac", bits - 2, bits + 3)
    if pick.draw(st.booleans(), label="a scale for each channel"):
        frac = tuple(frac + number("of a channel", -1, 2) for _ in range(geometry.outputs))
    weight = QFormat(bits, frac)
    error_bits = number("error bits", 4, 16)
    # an error is next to 2 / (units * positions * batch)
    typical = (geometry.outputs * products).bit_length() - 2
    return LayerFormats(
        input=QFormat(8, number("input frac", 4, 7)),
        standardised=QFormat(activation, activation - number("standardised reach", 1, 4)),
        weight=weight,
        shadow=weight.plus(shadow_bits - bits, shadow_bits) if shadow_bits else None,
        accumulator_bits=32,
        pre_activation=QFormat(16, number("pre-activation frac", 7, 13)),
        output=QFormat(activation, activation - number("output reach", 0, 5)),
        transmitted=QFormat(activation, activation - number("transmitted reach", 0, 5)),
        error=QFormat(error_bits, error_bits + typical - number("error reach", 0, 6)),
        feature=QFormat(8, number("feature frac", 3, 6)),
        rounding=pick.draw(st.sampled_from(["half_even", "half_up"]), label="rounding"),
        stochastic=pick.draw(st.booleans(), label="stochastic"),
    )


def draw_pool(pick: st.DataObject, side: tuple[int, ...], name: str) -> Pool | None:
    if not pick.draw(st.booleans(), label=name):
        return None
    size = pick.draw(st.integers(1, min(3, *side)), label=f"{name}: size")
    return Pool(
        pick.draw(st.sampled_from(["max", "avg"]), label=f"{name}: kind"),
        size,
        pick.draw(st.integers(1, 3), label=f"{name}: stride"),
        pick.draw(st.integers(0, size // 2), label=f"{name}: padding"),
        pick.draw(st.booleans(), label=f"{name}: ceil"),
    )


def make(
    geometry: Geometry, formats: LayerFormats, generator: torch.Generator, seed: int = 5, **parts: Any
) -> tuple[FixedLayer, IntegerLayer]:
    """A layer and its reference, with weights and biases all over what the formats hold."""
    fracs = torch.tensor(formats.weight.fracs, dtype=torch.float64).view(-1, *(1,) * (len(geometry.weight_shape) - 1))
    drawn = (torch.rand(geometry.weight_shape, generator=generator, dtype=torch.float64) * 2 - 1) * formats.weight.top
    weight = parts.pop("weight", (drawn * 2.0**-fracs).float())
    bias = torch.randn(geometry.outputs, generator=generator)
    array = FixedArray(weight, bias, geometry, Optimisation("sgd", 1.0), formats, seed)
    rule = SCFF(parts.pop("theta_pos", 1.0), parts.pop("theta_neg", 2.0), parts.pop("penalty", 1e-3))
    layer = FixedLayer(array, rule, parts.pop("makes_pairs", True), **parts)
    return layer, IntegerLayer(weight.double().numpy(), bias.double().numpy(), layer.spec, seed)


def integers(x: Tensor, form: QFormat) -> NDArray[np.int64]:
    """Numbers that must be on the grid of a format already."""
    found = x.double().numpy() * 2.0**form.frac_bits
    assert np.array_equal(found, np.rint(found)) and np.abs(found).max(initial=0) <= form.top
    return found.astype(np.int64)


def assert_same(layer: FixedLayer, reference: IntegerLayer) -> None:
    array, form = layer.array, layer.array.formats
    state = array.state()
    assert np.array_equal(state["held"].flatten(1).numpy(), reference.stored)
    assert np.array_equal(state["bias"].numpy(), reference.bias)
    assert np.array_equal(state["states"].numpy(), reference.states)
    unit = np.exp2(-np.asarray(form.weight.fracs, dtype=np.float64))[:, None]
    assert np.array_equal(array.weight.flatten(1).double().numpy(), reference.weight * unit)


def step(layer: FixedLayer, reference: IntegerLayer, stream: Stream, generator: torch.Generator) -> None:
    """One update of both, from the same samples, partners and positions."""
    form, n = layer.array.formats, len(stream.positive)
    second = stream.second_view if layer.makes_pairs else stream.negative
    views = [stream.positive] if second is None else [stream.positive, second]
    if reference.spec.kernel is None:
        views = [view.flatten(1) for view in views]
    raw = [quantise(view.double().numpy(), form.input) for view in views]
    partners = Partners.draw(n, generator) if layer.makes_pairs else None
    chosen = None
    if layer.update_positions is not None and reference.spec.kernel is not None:
        side = [size + 2 * layer.padding - reference.spec.kernel + 1 for size in stream.positive.shape[2:]]
        if layer.update_positions < side[0] * side[1]:
            like = torch.empty(n * len(views), 1, *side)
            state = generator.get_state()
            chosen = chosen_positions(like, layer.update_positions, generator).flatten(1).bool().numpy()
            assert (chosen.sum(1) == layer.update_positions).all()
            generator.set_state(state)
    forward = None if partners is None else partners.forward.numpy()
    expected_outputs = reference.learn(raw, forward, layer.array.rate_shift, chosen)
    report, output = layer.learn(stream, partners, generator)
    assert all(bool(torch.isfinite(value)) for value in (report.goodness_pos, report.goodness_neg, report.loss))
    found = output(True)
    assert found.negative is not None
    for values, expected in zip((found.positive, found.negative), expected_outputs, strict=True):
        assert np.array_equal(integers(values, form.transmitted), expected)
    assert_same(layer, reference)
    features = layer.features(found.positive)
    assert np.array_equal(integers(features, form.feature), reference.features(expected_outputs[0]))
    plain = layer.forward(Stream(stream.positive)).positive
    assert np.array_equal(integers(plain, form.transmitted), reference.forward(raw[0]))


# shrinking takes minutes, and the draws of a failure are printed as they are
@settings(max_examples=100, phases=[Phase.reuse, Phase.generate])
@given(pick=st.data(), seed=st.integers(0, 2**31), passed=st.booleans(), two=st.booleans(), convolution=st.booleans())
def test_any_layer_equals_the_reference(
    pick: st.DataObject, seed: int, passed: bool, two: bool, convolution: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    n, outputs = pick.draw(st.integers(2, 4), label="batch"), pick.draw(st.integers(2, 6), label="outputs")
    parts: dict[str, Any] = {"transmit": pick.draw(st.sampled_from(["triangle", "relu"])), "makes_pairs": not passed}
    positions = 1
    if convolution:
        kernel = pick.draw(st.integers(1, 3), label="kernel")
        shape = tuple(pick.draw(st.integers(3, 6), label=side) for side in ("height", "width"))
        parts["padding"] = pick.draw(st.integers(0, 2), label="padding")
        side = tuple(size + 2 * parts["padding"] - kernel + 1 for size in shape)
        parts["pool"] = draw_pool(pick, side, "pool")
        after = parts["pool"](torch.zeros(1, 1, *side)).shape[2:] if parts["pool"] else side
        parts["readout_pool"] = draw_pool(pick, after, "readout pool")
        positions = side[0] * side[1]
        parts["update_positions"] = pick.draw(st.none() | st.integers(1, positions + 3), label="positions")
        geometry: Geometry = Conv2d(pick.draw(st.integers(1, 3), label="inputs"), outputs, kernel)
        size = (n, geometry.inputs, *shape)
    else:
        parts["update_positions"] = pick.draw(st.none() | st.just(3), label="positions")
        geometry = Dense(pick.draw(st.integers(2, 12), label="inputs"), outputs)
        size = (n, geometry.inputs)
    formats = draw_formats(pick, geometry, n * positions)
    parts["theta_pos"] = pick.draw(st.sampled_from([0.5, 1.0, 6.3]), label="theta_pos")
    parts["theta_neg"] = pick.draw(st.sampled_from([0.0, 1.1, 6.3]), label="theta_neg")
    parts["penalty"] = pick.draw(st.sampled_from([0.0, 1e-4, 0.3]), label="penalty")
    layer, reference = make(geometry, formats, generator, seed, **parts)
    layer.array.learning_rate = 2.0 ** -pick.draw(st.integers(-6, 4), label="rate")
    assert_same(layer, reference)
    for _ in range(3):
        x, other = torch.randn(2, *size, generator=generator) * 2
        x[0] = x[0].flatten()[0]  # a constant sample
        other = other if two or passed else None
        stream = Stream(x, negative=other) if passed else Stream(x, second_view=other)
        step(layer, reference, stream, generator)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("ceil", [False, True])
def test_pools_are_pytorchs(kind: Any, ceil: bool) -> None:
    """Every window up to 4, with any stride and padding; averages are rounded to the nearest, halves up."""
    x = torch.randint(-40, 300, (2, 3, 7, 6), generator=torch.Generator().manual_seed(0)).double()
    for size, stride in itertools.product(range(1, 5), range(1, 5)):
        for padding in range(size // 2 + 1):
            pool = Pool(kind, size, stride, padding, ceil)
            expected = torch.floor(pool(x) + 0.5)
            assert torch.equal(torch.from_numpy(pooled(x.numpy().astype(np.int64), pool)).double(), expected), pool
            assert torch.equal(_pooled(x.float(), pool).double(), expected), pool


def form(error: QFormat, frac: int = 5, **others: Any) -> LayerFormats:
    """Eight bits nearly everywhere."""
    weight = QFormat(8, frac)
    wide: dict[str, Any] = {"standardised": QFormat(8, 5), "shadow": weight.plus(8, 16)} | others
    return LayerFormats(
        input=QFormat(8, 5),
        weight=weight,
        accumulator_bits=32,
        pre_activation=QFormat(16, 6),
        output=QFormat(8, 3),
        transmitted=QFormat(8, 3),
        error=error,
        feature=QFormat(8, 5),
        **wide,
    )


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
@pytest.mark.parametrize(
    ("geometry", "shape"), [(Dense(1500, 6), (1500,)), (Conv2d(170, 4, 3), (170, 4, 5))], ids=["dense", "conv"]
)
def test_sums_beyond_float32_are_taken_in_float64(geometry: Geometry, shape: tuple[int, ...], rounding: str) -> None:
    """Inputs and weights all of one sign: sums pass 2^24, where float32 has gaps."""
    generator = torch.Generator().manual_seed(1)
    formats = form(QFormat(8, 12), rounding=rounding)
    weight = torch.full(geometry.weight_shape, 127 / 32)
    weight[0] -= torch.rand(weight[0].shape, generator=generator).round() / 32
    layer, reference = make(geometry, formats, generator, weight=weight)
    x = torch.full((3, *shape), 3.9)
    x[..., ::7] -= torch.rand(x[..., ::7].shape, generator=generator)
    assert layer.array.mvm(x).dtype == torch.float64
    largest = reference.mvm(quantise(x.double().numpy(), formats.standardised)).max()
    assert largest > 1 << 24
    for _ in range(2):
        step(layer, reference, Stream(torch.randn(3, *shape, generator=generator)), generator)


def test_a_bias_that_grows_counts_among_the_sums_of_float32() -> None:
    layer, _ = make(Dense(1200, 3), form(QFormat(8, 12)), torch.Generator(), weight=torch.full((3, 1200), 100 / 32))
    array, x = layer.array, torch.full((2, 1200), 3.9)
    assert array.mvm(x).dtype == torch.float32
    array.update(x, torch.zeros(2, 3), torch.full((3,), -1e6))
    assert float(array.bias.max()) == pytest.approx(2.0**13), "the bias is at its end, 2^23 steps of the accumulator"
    assert array.mvm(x).dtype == torch.float64
    twin, _ = make(Dense(1200, 3), form(QFormat(8, 12)), torch.Generator())
    twin.array.load_state(array.state())
    assert twin.array.mvm(x).dtype == torch.float64


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
@pytest.mark.parametrize("stochastic", [False, True], ids=["nearest", "stochastic"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("geometry", "shape"),
    [(Dense(12, 6), (12,)), (Conv2d(2, 4, 2), (2, 6, 5)), (Conv2d(40, 4, 2), (40, 6, 5))],
    ids=["dense", "conv, columns", "conv, direct"],
)
def test_gradients_beyond_float32_are_summed_in_parts(
    geometry: Geometry,
    shape: tuple[int, ...],
    bits: int,
    stochastic: bool,
    rounding: Any,
    uncompiled: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors at their ends: a batch's sum has more than 24 bits; in convolutions with 16-bit errors a sample's too."""
    dtypes, largest = set(), 0
    gradient = FixedArray._gradient

    def noted_gradient(array: FixedArray, x: Tensor, prepared: Any, error: Tensor, addends: int) -> Tensor:
        nonlocal largest
        found = gradient(array, x, prepared, error, addends)
        dtypes.add(found.dtype)
        largest = max(largest, int(found.abs().max() * 2.0**array.formats.gradient.frac_bits))
        return found

    monkeypatch.setattr(FixedArray, "_gradient", noted_gradient)
    positions = 1 if isinstance(geometry, Dense) else 20
    n = (12000 if bits == 8 else 500) // positions
    error = QFormat(bits, bits + (geometry.outputs * n * positions).bit_length())
    formats = form(error, rounding=rounding, stochastic=stochastic)
    generator = torch.Generator().manual_seed(1)
    layer, reference = make(geometry, formats, generator, theta_pos=9.0)
    layer.array.learning_rate = 1 / 16
    for _ in range(2):
        # samples that resemble each other, so that one unit's errors have one sign
        x = torch.rand(shape, generator=generator) + torch.rand(n, *shape, generator=generator) / 8
        step(layer, reference, Stream(x), generator)
    assert largest > 1 << 24
    assert dtypes == {torch.float64}, "float32 cannot hold such a sum"


@pytest.mark.parametrize("stochastic", [False, True], ids=["nearest", "stochastic"])
def test_compiled_layers_equal_the_reference(stochastic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large enough for every fused step: inputs, outputs, errors, weights."""
    monkeypatch.delenv("SCFF_HW_COMPILE", raising=False)
    compiling.compiler_missing.cache_clear()
    assert compiling.compiler_missing() is None
    made: list[str] = []
    inner = compiling._compiled

    def compiled(function: Any) -> Any:
        made.append(function.__name__)
        return inner(function)

    monkeypatch.setattr(compiling, "_compiled", compiled)
    geometry = Dense(1030, 1030)
    shadow = {"shadow": None} if stochastic else {}
    formats = form(QFormat(8, 20), frac=9, stochastic=stochastic, rounding="half_up", **shadow)
    layer, reference = make(geometry, formats, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    step(layer, reference, Stream(torch.rand(64, 1030, generator=generator)), generator)
    update = "stepped_stochastically" if stochastic else "stepped"
    assert {"_scaled", "requantised", "_outputs", "_errors", "_transmitted", update} <= set(made)
