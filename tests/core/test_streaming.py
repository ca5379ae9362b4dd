"""Frame by frame against whole batches: the same states, the same update, and no memory of earlier frames."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scff_hw.backends import FloatBackend, Optimisation
from scff_hw.backends.analog import AnalogBackend
from scff_hw.core import SCFF, Direction, Partners, RecurrentLayer, Stream, Streaming, Telemetry, make_directions
from scff_hw.errors import UsageError
from scff_hw.hardware import load_profile

SGD = Optimisation("sgd", learning_rate=1.0)
RULE = SCFF(0.5, 1.0, 0.05)


def layer_of(
    features: int = 3,
    units: int = 5,
    rule: SCFF | None = RULE,
    seed: int = 0,
    averages: bool = False,
    dtype: str = "float64",
    optimisation: Optimisation = SGD,
) -> RecurrentLayer:
    directions = make_directions(FloatBackend(dtype), features, units, optimisation, seed, both=False)
    return RecurrentLayer(directions, rule, averages)


def batch(lengths: list[int], features: int = 3, seed: int = 0) -> Stream:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), features, generator=draw, dtype=torch.float64)
    for sequence, length in zip(x, lengths, strict=True):
        sequence[length:] = float("nan")
    return Stream(x, lengths=torch.tensor(lengths))


def streamed(layer: RecurrentLayer, stream: Stream, partners: Partners) -> tuple[Telemetry, Tensor]:
    """Learn from a batch pair by pair; its telemetry, and the output of each sequence."""
    assert stream.lengths is not None
    lengths = stream.lengths.tolist()
    streaming = Streaming(layer, sequences=len(lengths))
    left = []
    for k, partner in enumerate(partners.forward.tolist()):
        for step in range(lengths[k]):
            other = stream.positive[partner, step] if step < lengths[partner] else None
            streaming.learn(stream.positive[k, step], other)
        left.append(streaming.end())
    return streaming.apply(), torch.stack(left)


LENGTHS = st.lists(st.integers(1, 7), min_size=2, max_size=6)


@settings(max_examples=80)
@given(
    lengths=LENGTHS,
    features=st.integers(2, 5),
    units=st.integers(2, 6),
    theta_pos=st.floats(0, 3),
    theta_neg=st.floats(0, 3),
    penalty=st.sampled_from([0.0, 0.01, 0.5]),
    averages=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_streamed_batch_makes_the_update_of_the_batch(
    lengths: list[int],
    features: int,
    units: int,
    theta_pos: float,
    theta_neg: float,
    penalty: float,
    averages: bool,
    seed: int,
) -> None:
    rule = SCFF(theta_pos, theta_neg, penalty)
    whole, by_frame = (layer_of(features, units, rule, seed, averages) for _ in range(2))
    stream = batch(lengths, features, seed)
    partners = Partners.cyclic(len(lengths), 1 + seed % (len(lengths) - 1))
    expected, output = whole.learn(stream, partners)
    found, left = streamed(by_frame, stream, partners)
    for name, array in whole.arrays.items():
        other = by_frame.arrays[name]
        torch.testing.assert_close(other.weight, array.weight, rtol=0, atol=1e-9)
        torch.testing.assert_close(other.bias, array.bias, rtol=0, atol=1e-9)
    torch.testing.assert_close(left, output(False).positive, rtol=0, atol=1e-9)
    for field in dataclasses.fields(Telemetry):
        torch.testing.assert_close(getattr(found, field.name), getattr(expected, field.name), rtol=0, atol=1e-9)


@given(lengths=LENGTHS, averages=st.booleans(), seed=st.integers(0, 1000))
def test_frame_by_frame_a_layer_passes_on_what_it_does_for_a_batch(
    lengths: list[int], averages: bool, seed: int
) -> None:
    layer = layer_of(seed=seed, averages=averages, rule=None)
    stream = batch(lengths, seed=seed)
    streaming, left = Streaming(layer), []
    for x, length in zip(stream.positive, lengths, strict=True):
        states = [streaming.step(frame) for frame in x[:length]]
        left.append(streaming.end())
        assert torch.equal(left[-1][: layer.units], states[-1])
    torch.testing.assert_close(torch.stack(left), layer.forward(stream).positive, rtol=0, atol=1e-9)


@pytest.mark.parametrize("averages", [False, True])
def test_on_crossbars_without_noise_a_stream_equals_the_batch_too(averages: bool) -> None:
    def layer() -> RecurrentLayer:
        directions = make_directions(AnalogBackend(load_profile("exact"), 0), 3, 5, SGD, 0, both=False)
        return RecurrentLayer(directions, RULE, averages)

    stream = batch([4, 1, 6])
    stream = replace(stream, positive=stream.positive.float())
    whole, by_frame, partners = layer(), layer(), Partners.cyclic(3, 1)
    before = {name: array.weight.clone() for name, array in whole.arrays.items()}
    _, output = whole.learn(stream, partners)
    _, left = streamed(by_frame, stream, partners)
    torch.testing.assert_close(left, output(False).positive, rtol=0, atol=1e-5)
    for name, array in whole.arrays.items():
        assert (array.weight - before[name]).abs().max() > 1e-3
        torch.testing.assert_close(by_frame.arrays[name].weight, array.weight, rtol=0, atol=1e-5)


def test_batch_after_batch_with_an_optimiser_that_remembers() -> None:
    adam = Optimisation("adamw", learning_rate=1e-3, weight_decay=0.01)
    whole, by_frame = layer_of(optimisation=adam), layer_of(optimisation=adam)
    for seed in range(3):
        stream, partners = batch([4, 2, 5], seed=seed), Partners.cyclic(3, 1 + seed % 2)
        whole.learn(stream, partners)
        streamed(by_frame, stream, partners)
    for name, array in whole.arrays.items():
        torch.testing.assert_close(by_frame.arrays[name].weight, array.weight, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dtype", "gap"), [("float32", 1e-5), ("bfloat16", 5e-2)])
def test_narrower_numbers(dtype: str, gap: float) -> None:
    rule = SCFF(0.5, 1.0)
    whole, by_frame = layer_of(rule=rule, dtype=dtype), layer_of(rule=rule, dtype=dtype)
    stream = replace(batch([3, 1, 2]), positive=batch([3, 1, 2]).positive.float())
    whole.learn(stream, Partners.cyclic(3, 1))
    streamed(by_frame, stream, Partners.cyclic(3, 1))
    for name, array in whole.arrays.items():
        torch.testing.assert_close(by_frame.arrays[name].weight, array.weight, rtol=0, atol=gap)


def held_bytes(thing: Any, seen: set[int] | None = None) -> int:
    """Memory of all tensors that an object holds, and the objects it holds, whatever they are views of."""
    seen = set() if seen is None else seen
    memory = thing.untyped_storage() if isinstance(thing, Tensor) else None
    name = id(thing) if memory is None else memory.data_ptr()
    if name in seen:
        return 0
    seen.add(name)
    if memory is not None:
        return memory.nbytes()
    if isinstance(thing, dict):
        return sum(held_bytes(part, seen) for part in thing.values())
    if isinstance(thing, list | tuple):
        return sum(held_bytes(part, seen) for part in thing)
    return held_bytes(vars(thing), seen) if hasattr(thing, "__dict__") else 0


def test_memory_does_not_grow_with_the_length_of_a_sequence() -> None:
    draw = torch.Generator().manual_seed(0)
    using, learning = Streaming(layer_of(averages=True)), Streaming(layer_of(averages=True))
    sizes = []
    for steps in (1, 1, 300):
        for _ in range(steps):
            frames = torch.randn(2, 3, generator=draw, dtype=torch.float64)
            using.step(frames[0])
            learning.learn(*frames)
        sizes.append((held_bytes(using), held_bytes(learning)))
    # inputs cached by the arrays are counted too, and do not grow either
    assert sizes[0] == sizes[1] == sizes[2]
    numbers = 2 * 5, 2 * 2 * 5 + 5 * 3 + 5 * 5 + 5 + 3
    for streaming, bound in zip((using, learning), numbers, strict=True):
        assert held_bytes(streaming) - held_bytes(streaming.layer) == 8 * bound


def test_sequences_used_between_those_learned_from_teach_nothing() -> None:
    whole, by_frame = layer_of(), layer_of()
    stream = batch([2, 2])
    whole.learn(stream, Partners.cyclic(2, 1))
    streaming = Streaming(by_frame, sequences=2)
    for k in (0, 1):
        for step in (0, 1):
            streaming.learn(stream.positive[k, step], stream.positive[1 - k, step])
        streaming.end()
        streaming.step(stream.positive[0, 0])
        streaming.end()
    streaming.apply()
    for name, array in whole.arrays.items():
        torch.testing.assert_close(by_frame.arrays[name].weight, array.weight)


FRAME = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)


def test_a_direction_that_reads_from_the_end_is_refused() -> None:
    forwards = layer_of().directions[0]
    backwards = Direction(forwards.inputs, forwards.hidden, backwards=True)
    for directions in ((backwards,), (forwards, backwards)):
        with pytest.raises(UsageError, match=r"one direction, forwards\. Got one that reads sequences from their ends"):
            Streaming(RecurrentLayer(directions, RULE))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (torch.ones(4), r"of shape \[3\]\. Got torch.float32 of shape \[4\]"),
        (torch.ones(1, 3), r"Got torch.float32 of shape \[1, 3\]"),
        (torch.ones(3, dtype=torch.int64), r"must be floating point of shape \[3\]\. Got torch.int64"),
    ],
)
def test_a_frame_that_does_not_fit(frame: Tensor, message: str) -> None:
    streaming = Streaming(layer_of())
    with pytest.raises(UsageError, match=message):
        streaming.step(frame)
    with pytest.raises(UsageError, match=message):
        streaming.learn(FRAME, frame)
    streaming.step(FRAME)


def test_what_comes_out_of_turn() -> None:
    with pytest.raises(UsageError, match=r"at least 1 sequence\. Got 0"):
        Streaming(layer_of(), sequences=0)
    with pytest.raises(UsageError, match="must have a rule"):
        Streaming(layer_of(rule=None)).learn(FRAME, FRAME)
    streaming = Streaming(layer_of(), sequences=2)
    with pytest.raises(UsageError, match=r"at least 1 frame\. Got its end"):
        streaming.end()
    with pytest.raises(UsageError, match=r"after 2 sequences\. Got 0"):
        streaming.apply()
    streaming.learn(FRAME, None)
    with pytest.raises(UsageError, match="must not continue once it has ended"):
        streaming.learn(FRAME, FRAME)
    with pytest.raises(UsageError, match="either used or learned from"):
        streaming.step(FRAME)
    with pytest.raises(UsageError, match="Got one in progress"):
        streaming.apply()
    streaming.end()
    with pytest.raises(UsageError, match=r"after 2 sequences\. Got 1"):
        streaming.apply()
    streaming.learn(FRAME, FRAME)
    streaming.end()
    with pytest.raises(UsageError, match="must be applied before the next one"):
        streaming.learn(FRAME, FRAME)
    streaming.apply()
    streaming.learn(FRAME, FRAME)
