"""The fixed recurrent layer against the integer reference: equal in every bit, in any formats and for any lengths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from scff_hw.backends import Dense, Optimisation
from scff_hw.backends.fixed import FixedArray, FixedBackend, FixedRecurrentLayer, LayerFormats, QFormat
from scff_hw.backends.fixed.formats.formats import MAX_STEPS, check_steps
from scff_hw.backends.fixed.reference.arithmetic import Ints
from scff_hw.backends.fixed.reference.layer import IntegerLayer, quantise
from scff_hw.backends.fixed.reference.recurrent import IntegerDirection, IntegerRecurrent
from scff_hw.core.goodness import Errors
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.recurrent import Direction, recurrent_geometries
from scff_hw.core.rules import SCFF, Rule, Signals
from scff_hw.errors import UsageError

Reference = IntegerRecurrent


def draw_formats(pick: st.DataObject, units: int, shares: int) -> dict[str, LayerFormats]:
    """Of four arrays, with points that lie so that values are rounded, cut off and lost, each now and then."""

    def number(name: str, low: int, high: int) -> int:
        return pick.draw(st.integers(low, high), label=name)

    bits, activation = number("weight bits", 2, 8), number("activation bits", 4, 8)
    shadow_bits = pick.draw(st.sampled_from([0, 16, 32, 8]), label="shadow bits")
    by_channel = pick.draw(st.booleans(), label="a scale for each channel")
    error_bits = number("error bits", 4, 16)
    typical = (units * shares).bit_length() - 2
    output = QFormat(activation, activation - number("output reach", 0, 5))
    states = QFormat(activation, activation - number("state reach", 1, 4))
    frames = QFormat(activation, activation - number("frame reach", 1, 4))
    common: dict[str, Any] = {
        "accumulator_bits": 32,
        "pre_activation": QFormat(16, number("pre-activation frac", 7, 13)),
        "output": output,
        "transmitted": QFormat(activation, activation - number("transmitted reach", 0, 5)),
        "error": QFormat(error_bits, error_bits + typical - number("error reach", 0, 6)),
        "feature": QFormat(8, number("feature frac", 3, 6)),
        "rounding": pick.draw(st.sampled_from(["half_even", "half_up"]), label="rounding"),
        "stochastic": pick.draw(st.booleans(), label="stochastic"),
    }
    read: dict[str, dict[str, Any]] = {
        "inputs": {"input": QFormat(8, number("input frac", 4, 7)), "standardised": frames},
        "hidden": {"input": output, "standardised": states},
    }
    found = {}
    for name in recurrent_geometries(1, units, True):
        frac: Any = number("weight frac", bits - 2, bits + 3)
        if by_channel:
            frac = tuple(frac + number("of a channel", -1, 2) for _ in range(units))
        weight = QFormat(bits, frac)
        shadow = weight.plus(shadow_bits - bits, shadow_bits) if shadow_bits else None
        found[name] = LayerFormats(**common, **read[name.split(".")[1]], weight=weight, shadow=shadow)
    return found


def plain_formats(error: QFormat, **changes: Any) -> dict[str, LayerFormats]:
    """Eight bits nearly everywhere."""
    weight = QFormat(8, 6)
    common: dict[str, Any] = {
        "weight": weight,
        "shadow": weight.plus(8, 16),
        "accumulator_bits": 32,
        "pre_activation": QFormat(16, 10),
        "output": QFormat(8, 4),
        "transmitted": QFormat(8, 5),
        "error": error,
        "feature": QFormat(8, 5),
    }
    read: dict[str, dict[str, Any]] = {
        "inputs": {"input": QFormat(8, 5), "standardised": QFormat(8, 5)},
        "hidden": {"input": QFormat(8, 4), "standardised": QFormat(8, 5)},
    }
    names = recurrent_geometries(1, 1, True)
    return {name: LayerFormats(**common | read[name.split(".")[1]] | changes) for name in names}


def make(
    formats: dict[str, LayerFormats],
    features: int,
    units: int,
    ways: str,
    rule: SCFF,
    averages: bool = True,
    seed: int = 0,
    rate: float = 1.0,
) -> tuple[FixedRecurrentLayer, Reference]:
    """A layer and its reference; `ways` has an f for each direction that reads forwards, a b for one from the end."""
    draw = torch.Generator().manual_seed(seed)
    directions, integer = [], []
    for way in ("forwards" if letter == "f" else "backwards" for letter in ways):
        arrays, parts = [], []
        for part, fan_in in (("inputs", features), ("hidden", units)):
            form = formats[f"{way}.{part}"]
            fracs = torch.tensor(form.weight.fracs, dtype=torch.float64).view(-1, 1)
            drawn = torch.rand(units, fan_in, generator=draw, dtype=torch.float64) * 2 - 1
            weight, bias = (drawn * form.weight.top * 2.0**-fracs).float(), torch.randn(units, generator=draw)
            arrays.append(FixedArray(weight, bias, Dense(fan_in, units), Optimisation("sgd", rate), form, seed))
            parts.append((weight.double().numpy(), bias.double().numpy()))
        directions.append(Direction(arrays[0], arrays[1], way == "backwards"))
        integer.append(parts)
    layer = FixedRecurrentLayer(tuple(directions), rule, averages)
    references = []
    for direction, parts in zip(layer.directions, integer, strict=True):
        way = "backwards" if direction.backwards else "forwards"
        arrays = (layer.arrays[f"{way}.{part}"] for part in ("inputs", "hidden"))
        inputs, hidden = (
            IntegerLayer(weight, bias, layer.spec(array), seed)
            for (weight, bias), array in zip(parts, arrays, strict=True)
        )
        references.append(IntegerDirection(inputs, hidden, direction.backwards))
    return layer, IntegerRecurrent(references, averages)


def integers(x: Tensor, form: QFormat) -> NDArray[np.int64]:
    """Numbers that must be on the grid of a format already."""
    found = x.double().numpy() * 2.0**form.frac_bits
    assert np.array_equal(found, np.rint(found)) and np.abs(found).max(initial=0) <= form.top
    return found.astype(np.int64)


def assert_same(layer: FixedRecurrentLayer, reference: Reference) -> None:
    for direction, expected in zip(layer.directions, reference.directions, strict=True):
        for array, integer in ((direction.inputs, expected.inputs), (direction.hidden, expected.hidden)):
            state = array.state()
            assert np.array_equal(state["held"].numpy(), integer.stored)
            assert np.array_equal(state["bias"].numpy(), integer.bias)
            assert np.array_equal(state["states"].numpy(), integer.states)
            unit = np.exp2(-np.asarray(integer.spec.formats.weight.fracs, dtype=np.float64))[:, None]
            assert np.array_equal(array.weight.double().numpy(), integer.weight * unit)


def batch(lengths: list[int], features: int, draw: torch.Generator, padding: int = 0) -> Stream:
    x = torch.randn(len(lengths), max(lengths) + padding, features, generator=draw) * 2
    for sequence, length in zip(x, lengths, strict=True):
        sequence[length:] = float("nan")
    x[0, 0] = 0.5  # a constant frame
    return Stream(x, lengths=torch.tensor(lengths))


def step(layer: FixedRecurrentLayer, reference: Reference, stream: Stream, draw: torch.Generator) -> None:
    """One update of both from the same sequences and partners, and what both pass on before and after it."""
    assert stream.lengths is not None
    first = next(iter(layer.arrays.values()))
    raw = [
        quantise(sequence[:length].double().numpy(), first.formats.input)
        for sequence, length in zip(stream.positive, stream.lengths.tolist(), strict=True)
    ]
    partners = Partners.draw(len(raw), draw)
    negative = layer.forward(stream, partners)
    expected = reference.learn(raw, partners.forward.numpy(), first.rate_shift)
    report, output = layer.learn(stream, partners)
    assert all(bool(torch.isfinite(value)) for value in (report.goodness_pos, report.goodness_neg, report.loss))
    found, passed = output(True), layer.formats.transmitted
    for each in (found, negative):
        assert each.negative is not None
        assert np.array_equal(integers(each.positive, passed), expected[0])
        assert np.array_equal(integers(each.negative, passed), expected[1])
    assert output(False).negative is None
    assert_same(layer, reference)
    assert np.array_equal(
        integers(layer.features(found.positive), layer.formats.feature), reference.features(expected[0])
    )
    plain = layer.forward(stream)
    assert plain.negative is None and np.array_equal(integers(plain.positive, passed), reference.forward(raw))


# shrinking takes minutes, and the draws of a failure are printed as they are
@settings(max_examples=60, phases=[Phase.reuse, Phase.generate])
@given(
    pick=st.data(),
    lengths=st.lists(st.integers(1, 7), min_size=2, max_size=5),
    padding=st.integers(0, 2),
    ways=st.sampled_from(["f", "b", "fb"]),
    averages=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_layer_equals_the_reference(
    pick: st.DataObject, lengths: list[int], padding: int, ways: str, averages: bool, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    features, units = pick.draw(st.integers(2, 6), label="features"), pick.draw(st.integers(2, 6), label="units")
    formats = draw_formats(pick, units, len(ways) * len(lengths))
    rule = SCFF(
        pick.draw(st.sampled_from([0.0, 1.0, 6.3]), label="theta_pos"),
        pick.draw(st.sampled_from([0.0, 1.1, 6.3]), label="theta_neg"),
        pick.draw(st.sampled_from([0.0, 1e-4, 0.3]), label="penalty"),
    )
    rate = 2.0 ** -pick.draw(st.integers(-6, 4), label="rate")
    layer, reference = make(formats, features, units, ways, rule, averages, seed, rate)
    assert_same(layer, reference)
    for _ in range(3):
        step(layer, reference, batch(lengths, features, draw, padding), draw)


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
@pytest.mark.parametrize("error_bits", [8, 16])
def test_gradients_beyond_float32_are_summed_exactly(
    error_bits: int, rounding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors at their ends and frames that resemble each other: sums over all steps have more than 24 bits."""
    largest, apply = 0, IntegerLayer.apply

    def noted(array: IntegerLayer, gradient: Ints, bias_gradient: Ints, rate_shift: int) -> None:
        nonlocal largest
        largest = max(largest, int(np.abs(gradient).max()))
        apply(array, gradient, bias_gradient, rate_shift)

    monkeypatch.setattr(IntegerLayer, "apply", noted)
    draw = torch.Generator().manual_seed(1)
    count = 40 if error_bits == 8 else 4
    lengths = [25 - k % 3 for k in range(count)]
    formats = plain_formats(QFormat(error_bits, error_bits + 12), rounding=rounding, standardised=QFormat(8, 6))
    layer, reference = make(formats, 6, 4, "fb", SCFF(9.0, 9.0), rate=1.0)
    frame = torch.rand(6, generator=draw) * 3
    for _ in range(2):
        x = frame + torch.rand(count, max(lengths), 6, generator=draw) / 8
        before = layer.arrays["forwards.inputs"].state()["held"]
        step(layer, reference, Stream(x, lengths=torch.tensor(lengths)), draw)
        assert not torch.equal(before, layer.arrays["forwards.inputs"].state()["held"])
    assert largest > 1 << 24


def test_what_lies_behind_the_end_and_who_else_is_there_change_nothing() -> None:
    layer, _ = make(plain_formats(QFormat(8, 10)), 3, 5, "fb", SCFF(0.5, 1.0))
    stream = batch([3, 1, 4, 2], 3, torch.Generator().manual_seed(0))
    together = layer.forward(stream).positive
    for k, length in enumerate((3, 1, 4, 2)):
        alone = Stream(stream.positive[k : k + 1, :length], lengths=torch.tensor([length]))
        assert torch.equal(layer.forward(alone).positive, together[k : k + 1])


def test_an_array_saves_and_goes_on() -> None:
    formats = plain_formats(QFormat(8, 10), shadow=None, stochastic=True)
    first, _ = make(formats, 3, 5, "fb", SCFF(0.5, 1.0))
    other, _ = make(formats, 3, 5, "fb", SCFF(0.5, 1.0), seed=1)
    draw = torch.Generator().manual_seed(0)
    stream, partners = batch([3, 1, 4], 3, draw), Partners.cyclic(3, 1)
    first.learn(stream, partners)
    for name, array in other.arrays.items():
        array.load_state(first.arrays[name].state())
    for layer in (first, other):
        layer.learn(stream, partners)
    for name, array in other.arrays.items():
        for key, value in array.state().items():
            assert torch.equal(value, first.arrays[name].state()[key])


def test_formats_that_do_not_fit_each_other() -> None:
    formats = plain_formats(QFormat(8, 10))
    formats["backwards.hidden"] = replace(formats["backwards.hidden"], pre_activation=QFormat(16, 9))
    message = r"of pre_activation must be that of forwards\.inputs.*Got QFormat\(bits=16, frac=9\) at backwards\.hidden"
    with pytest.raises(UsageError, match=message):
        make(formats, 3, 5, "fb", SCFF(0.5, 1.0))


def test_more_steps_than_a_sum_can_hold() -> None:
    form = plain_formats(QFormat(16, 18))["forwards.inputs"]
    check_steps("layers.1", form, 129, 3)
    message = r"cannot hold the 520 products of 16 by 8 bits of an update at layers\.1; it needs 33 bits; a smaller"
    with pytest.raises(UsageError, match=message):
        check_steps("layers.1", form, 130, 3)
    with pytest.raises(UsageError, match=r"at layers\.1 must have at most 65536 steps in fixed point. Got 65537"):
        check_steps("layers.1", form, None, MAX_STEPS + 1)
    layer, _ = make(plain_formats(QFormat(16, 18)), 3, 5, "f", SCFF(0.5, 1.0))
    long = Stream(torch.zeros(2, 90, 3), lengths=torch.tensor([90, 90]))
    with pytest.raises(UsageError, match=r"720 products of 16 by 8 bits of an update at this layer; it needs 33 bits"):
        layer.learn(long, Partners.cyclic(2, 1))
    layer.forward(long)


class Idle(Rule):
    """A rule that finds no fault."""

    name: ClassVar[str] = "idle"

    def errors(self, signals: Signals) -> Errors:
        nothing = torch.zeros(())
        return Errors(signals.positive * 0, signals.negative * 0, nothing, nothing, nothing)


def test_a_rule_without_a_fixed_form_is_refused() -> None:
    layer, _ = make(plain_formats(QFormat(8, 10)), 3, 5, "f", SCFF(0.5, 1.0))
    with pytest.raises(UsageError, match=r"The fixed backend learns by the rules .* Got 'idle' instead"):
        FixedBackend().recurrent_layer(directions=layer.directions, rule=Idle(), averages=False)
