"""The integer reference of recurrent layers: one step at a time as in whole sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scff_hw.backends.fixed.formats.formats import LayerFormats, QFormat
from scff_hw.backends.fixed.reference.layer import IntegerLayer, LayerSpec, quantise
from scff_hw.backends.fixed.reference.recurrent import IntegerDirection, IntegerRecurrent, StreamingRecurrent
from scff_hw.errors import UsageError

Sequences = list[NDArray[np.int64]]


def formats(hidden: bool, **changes: Any) -> LayerFormats:
    """Of arrays of five units in batches of a few sequences."""
    common: dict[str, Any] = {
        "weight": QFormat(8, 7),
        "shadow": QFormat(16, 15),
        "accumulator_bits": 32,
        "pre_activation": QFormat(16, 12),
        "output": QFormat(8, 5),
        "transmitted": QFormat(8, 5),
        "error": QFormat(8, 9),
        "feature": QFormat(8, 5),
    }
    own: dict[str, Any] = {"input": QFormat(8, 5), "standardised": QFormat(8, 6 if hidden else 5)}
    return LayerFormats(**common | own | changes)


def layer_of(
    features: int, units: int, both: bool = False, seed: int = 0, averages: bool = True, **changes: Any
) -> IntegerRecurrent:
    draw = np.random.default_rng(seed)

    def array(fan_in: int, hidden: bool, number: int) -> IntegerLayer:
        weight, bias = (draw.uniform(-1, 1, shape) / units**0.5 for shape in ((units, fan_in), units))
        return IntegerLayer(weight, bias, LayerSpec(formats(hidden, **changes), None, True, 0.2, 0.5, 1e-3), number)

    directions = [
        IntegerDirection(array(features, False, way), array(units, True, way + 2), way == 1) for way in range(1 + both)
    ]
    return IntegerRecurrent(directions, averages)


def sequences_of(lengths: list[int], features: int, seed: int = 0) -> Sequences:
    draw = np.random.default_rng(seed)
    return [quantise(draw.normal(size=(length, features)), QFormat(8, 5)) for length in lengths]


def state_of(layer: IntegerRecurrent) -> list[NDArray[Any]]:
    arrays = [array for direction in layer.directions for array in (direction.inputs, direction.hidden)]
    return [part for array in arrays for part in (array.stored, array.bias, array.states)]


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=2, max_size=5),
    stochastic=st.booleans(),
    rounding=st.sampled_from(["half_even", "half_up"]),
    averages=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_one_step_at_a_time_gives_the_integers_of_whole_sequences(
    lengths: list[int], stochastic: bool, rounding: str, averages: bool, seed: int
) -> None:
    changes: dict[str, Any] = {"stochastic": stochastic, "rounding": rounding}
    whole, other = (layer_of(4, 5, seed=seed, averages=averages, **changes) for _ in range(2))
    streamed = StreamingRecurrent(other)
    sequences = sequences_of(lengths, 4, seed)
    for shift in (1, len(lengths) - 1):
        partner = np.roll(np.arange(len(lengths)), -shift)
        positive, negative = whole.learn(sequences, partner, 0)
        assert positive.shape == negative.shape == (len(lengths), 5 * (1 + averages))
        streamed.begin(len(lengths))
        for k, n in enumerate(partner):
            streamed.begin_pair()
            for t, frame in enumerate(sequences[k]):
                streamed.learn(frame, sequences[n][t] if t < len(sequences[n]) else None)
            assert np.array_equal(streamed.transmitted(), positive[k])
        streamed.apply(0)
        for expected, found in zip(state_of(whole), state_of(other), strict=True):
            assert np.array_equal(expected, found)
        for sequence, expected in zip(sequences, whole.forward(sequences), strict=True):
            streamed.begin_pair()
            for frame in sequence:
                streamed.step(frame)
            assert np.array_equal(streamed.transmitted(), expected)


def test_a_direction_that_reads_from_the_end_cannot_be_streamed() -> None:
    with pytest.raises(UsageError, match=r"must read forwards only\. Got a direction that reads sequences from their"):
        StreamingRecurrent(layer_of(4, 5, both=True))


def test_learning_changes_every_array() -> None:
    layer = layer_of(4, 5, both=True)
    before = [part.copy() for part in state_of(layer)]
    layer.learn(sequences_of([3, 5, 1], 4), np.array([1, 2, 0]), 0)
    changed = [not np.array_equal(*pair) for pair in zip(before, state_of(layer), strict=True)]
    assert changed == [True, True, False] * 4, "weights and biases change, generators only where they are drawn from"


def test_backwards_is_forwards_on_reversed_sequences() -> None:
    layer = layer_of(4, 5)
    forwards = layer.directions[0]
    turned = IntegerRecurrent([IntegerDirection(forwards.inputs, forwards.hidden, backwards=True)], averages=True)
    sequences = sequences_of([3, 1, 4], 4)
    reversed_ones = [sequence[::-1] for sequence in sequences]
    assert np.array_equal(layer.forward(sequences), turned.forward(reversed_ones))


def test_formats_that_do_not_fit_each_other() -> None:
    layer = layer_of(4, 5)
    inputs, hidden = layer.directions[0].inputs, layer.directions[0].hidden
    other = layer_of(4, 5, error=QFormat(8, 10)).directions[0].hidden
    with pytest.raises(UsageError, match=r"of error must be that of forwards\.inputs.*frac=10\) at forwards\.hidden"):
        IntegerRecurrent([IntegerDirection(inputs, other)])
    with pytest.raises(UsageError, match=r"input format of forwards\.hidden must be that of the layer's output"):
        hidden.spec = LayerSpec(formats(True, input=QFormat(8, 4)), None, True, 0.2, 0.5, 0.0)
        IntegerRecurrent([IntegerDirection(inputs, hidden)])
