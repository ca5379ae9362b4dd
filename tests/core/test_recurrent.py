"""The packed, closed-form recurrent layer against the literal one, and sequences of all lengths."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scff_hw.backends import Conv2d, Dense, FloatBackend, Geometry, Optimisation
from scff_hw.core import SCFF, Direction, Packing, Partners, RecurrentLayer, Stream, make_directions, standardise
from scff_hw.core.literal_recurrent import LiteralDirection, literal_recurrent_loss
from scff_hw.errors import UsageError

SGD = Optimisation("sgd", learning_rate=1.0)
RULE = SCFF(0.5, 1.0, 0.05)


def layer_of(features: int = 3, units: int = 5, both: bool = True, rule: SCFF = RULE, seed: int = 0) -> RecurrentLayer:
    return RecurrentLayer(make_directions(FloatBackend("float64"), features, units, SGD, seed, both=both), rule)


def batch(lengths: list[int], features: int = 3, steps: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), steps or max(lengths), features, generator=draw, dtype=torch.float64)
    for sequence, length in zip(x, lengths, strict=True):
        sequence[length:] = 0
    return x, torch.tensor(lengths)


def final(layer: RecurrentLayer, x: Tensor, lengths: Tensor) -> Tensor:
    return layer.forward(Stream(x, lengths=lengths)).positive


def literal(layer: RecurrentLayer) -> list[LiteralDirection]:
    return [
        LiteralDirection(
            *(
                value.clone().requires_grad_()
                for array in (direction.inputs, direction.hidden)
                for value in (array.weight, array.bias)
            ),
            backwards=direction.backwards,
        )
        for direction in layer.directions
    ]


@settings(max_examples=80)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=2, max_size=6),
    padding=st.integers(0, 2),
    features=st.integers(2, 5),
    units=st.integers(2, 6),
    both=st.booleans(),
    theta_pos=st.floats(0, 3),
    theta_neg=st.floats(0, 3),
    penalty=st.sampled_from([0.0, 0.01, 0.5]),
    seed=st.integers(0, 1000),
)
def test_one_update_is_the_gradient_of_the_literal_loss(
    lengths: list[int],
    padding: int,
    features: int,
    units: int,
    both: bool,
    theta_pos: float,
    theta_neg: float,
    penalty: float,
    seed: int,
) -> None:
    rule = SCFF(theta_pos, theta_neg, penalty)
    layer = layer_of(features, units, both, rule, seed)
    x, counted = batch(lengths, features, max(lengths) + padding, seed)
    shift = 1 + seed % (len(lengths) - 1)
    truth = literal(layer)
    loss = literal_recurrent_loss(truth, x, counted, shift, theta_pos, theta_neg, penalty)
    loss.backward()
    telemetry, _ = layer.learn(Stream(x, lengths=counted), Partners.cyclic(len(lengths), shift))
    # telemetry is of a step, the loss of a sequence
    torch.testing.assert_close(telemetry.loss * sum(lengths) / len(lengths), loss.detach(), rtol=1e-9, atol=1e-12)
    for direction, expected in zip(layer.directions, truth, strict=True):
        arrays = (direction.inputs, direction.hidden)
        found = [value for array in arrays for value in (array.weight, array.bias)]
        for now, before in zip(found, expected.parameters, strict=True):
            assert before.grad is not None
            torch.testing.assert_close(before.detach() - now, before.grad, rtol=1e-6, atol=1e-9)


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6), both=st.booleans(), seed=st.integers(0, 1000))
def test_final_states_are_those_of_the_literal_layer(lengths: list[int], both: bool, seed: int) -> None:
    layer = layer_of(both=both, seed=seed)
    x, counted = batch(lengths, seed=seed)
    frames = standardise(x.flatten(0, 1)).view_as(x)
    truth = [d.outputs(torch.cat([frames, frames], dim=2), counted)[1].detach() for d in literal(layer)]
    torch.testing.assert_close(final(layer, x, counted), torch.cat(truth, dim=1), rtol=1e-9, atol=1e-12)


def test_what_lies_behind_the_end_is_never_read() -> None:
    lengths = [3, 1, 4, 2]
    x, counted = batch(lengths, steps=6)
    dirty = x.clone()
    for sequence, length in zip(dirty, lengths, strict=True):
        sequence[length:] = float("nan")
    layers = layer_of(), layer_of()
    for layer, data in zip(layers, (x, dirty), strict=True):
        layer.learn(Stream(data, lengths=counted), Partners.cyclic(4, 3))
    for clean, other in zip(layers[0].directions, layers[1].directions, strict=True):
        assert torch.equal(clean.inputs.weight, other.inputs.weight)
        assert torch.equal(clean.hidden.weight, other.hidden.weight)
    assert torch.equal(final(layers[0], x, counted), final(layers[1], dirty, counted))


def test_a_sequence_does_not_see_the_others_of_its_batch() -> None:
    layer = layer_of()
    x, counted = batch([3, 1, 4, 2])
    together = final(layer, x, counted)
    for k, length in enumerate(counted.tolist()):
        alone = final(layer, x[k : k + 1, :length], counted[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone)


def test_backwards_is_forwards_on_reversed_sequences() -> None:
    forwards = layer_of().directions[0]
    backwards = Direction(forwards.inputs, forwards.hidden, backwards=True)
    lengths = [3, 1, 4]
    x, counted = batch(lengths)
    turned = x.clone()
    for k, length in enumerate(lengths):
        turned[k, :length] = x[k, :length].flip(0)
    one, other = RecurrentLayer((forwards,)), RecurrentLayer((backwards,))
    torch.testing.assert_close(final(one, turned, counted), final(other, x, counted))


def test_sequences_of_one_frame_teach_the_state_nothing_but_its_bias() -> None:
    layer = layer_of()
    x, counted = batch([1, 1, 1])
    before = [d.hidden.weight for d in layer.directions]
    inputs = [d.inputs.weight for d in layer.directions]
    layer.learn(Stream(x, lengths=counted), Partners.cyclic(3, 1))
    for direction, hidden, weight in zip(layer.directions, before, inputs, strict=True):
        assert torch.equal(direction.hidden.weight, hidden) and not torch.equal(direction.inputs.weight, weight)


def test_silent_frames_are_finite() -> None:
    layer = layer_of()
    silence = Stream(torch.zeros(2, 3, 3, dtype=torch.float64), lengths=torch.tensor([3, 2]))
    found, _ = layer.learn(silence, Partners.cyclic(2, 1))
    assert torch.isfinite(found.loss)
    assert bool(torch.isfinite(layer.directions[0].hidden.weight).all())


def test_a_batch_of_one_gives_states_but_no_pairs() -> None:
    x, counted = batch([3])
    assert final(layer_of(), x, counted).shape == (1, 10)
    with pytest.raises(ValueError, match=r"at least 2 samples to form a negative pair. Got 1"):
        Partners.draw(1, torch.Generator())


@pytest.mark.parametrize("both", [False, True])
def test_the_same_seed_gives_the_same_arrays(both: bool) -> None:
    first, again, other = layer_of(both=both), layer_of(both=both), layer_of(both=both, seed=1)
    assert len(first.directions) == 1 + both
    for a, b, c in zip(first.directions, again.directions, other.directions, strict=True):
        assert torch.equal(a.hidden.weight, b.hidden.weight) and not torch.equal(a.hidden.weight, c.hidden.weight)
    if both:
        assert not torch.equal(first.directions[0].inputs.weight, first.directions[1].inputs.weight)


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 4, 3), [4, 5], r"in 1\.\.4, the steps there are\. Got 5 for sequence 1"),
        ((2, 4, 3), [0, 4], r"Got 0 for sequence 0"),
        ((2, 4, 3), [4, 4, 4], r"of 2 sequences must be int64 of shape \[2\]\. Got torch.int64 of shape \[3\]"),
        ((2, 4, 2), [4, 4], r"of shape \[N, T, 3\], N and T at least 1\. Got torch.float64 of shape \[2, 4, 2\]"),
        ((2, 3), [1, 1], r"Got torch.float64 of shape \[2, 3\]"),
        ((0, 4, 3), [], r"N and T at least 1\. Got torch.float64 of shape \[0, 4, 3\]"),
    ],
)
def test_input_that_does_not_fit(shape: tuple[int, ...], lengths: list[int], message: str) -> None:
    x, counted = torch.ones(shape, dtype=torch.float64), torch.tensor(lengths, dtype=torch.int64)
    with pytest.raises(UsageError, match=message):
        final(layer_of(), x, counted)
    if len(x) > 1:
        with pytest.raises(UsageError, match=message):
            layer_of().learn(Stream(x, lengths=counted), Partners.cyclic(len(x), 1))


def test_arrays_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="at least one direction"):
        RecurrentLayer(())
    wide, narrow = layer_of(units=5).directions[0], layer_of(units=4).directions[0]
    with pytest.raises(UsageError, match=r"must be Dense\(inputs=3, outputs=5\) and Dense\(inputs=5, outputs=5\)"):
        RecurrentLayer((wide, narrow))
    weight = torch.zeros(5, 3, 1, 1)
    convolution = FloatBackend().array(weight, torch.zeros(5), Conv2d(3, 5, 1), SGD)
    with pytest.raises(UsageError, match="Got Conv2d"):
        RecurrentLayer((Direction(convolution, wide.hidden),))


def test_lengths_are_asked_for() -> None:
    with pytest.raises(UsageError, match="must be given the lengths of its sequences"):
        layer_of().forward(Stream(torch.ones(2, 4, 3, dtype=torch.float64)))


@given(lengths=st.lists(st.integers(1, 7), min_size=2, max_size=6), both=st.booleans(), seed=st.integers(0, 1000))
def test_averages_are_those_of_the_states_of_every_prefix(lengths: list[int], both: bool, seed: int) -> None:
    layer = replace(layer_of(both=both, seed=seed), averages=True)
    plain = replace(layer, averages=False)
    x, counted = batch(lengths, seed=seed)
    width = 5 * (1 + both)
    found = final(layer, x, counted)
    torch.testing.assert_close(found[:, :width], final(plain, x, counted), rtol=0, atol=0)
    for k, length in enumerate(lengths):
        one = x[k : k + 1, :length]
        ends = torch.tensor([length])
        # forwards the state after t frames is the final one of the first t; backwards, of the last t
        states = [final(plain, one[:, :t], torch.tensor([t]))[:, :5] for t in range(1, length + 1)]
        mean = torch.cat(states).mean(dim=0)
        torch.testing.assert_close(final(layer, one, ends)[0, width : width + 5], mean)
        torch.testing.assert_close(found[k, width : width + 5], mean)
        if both:
            states = [final(plain, one[:, length - t :], torch.tensor([t]))[:, 5:] for t in range(1, length + 1)]
            torch.testing.assert_close(found[k, width + 5 :], torch.cat(states).mean(dim=0))


def test_what_learning_hands_on_is_from_before_the_update() -> None:
    layer = layer_of()
    x, counted = batch([3, 1, 4, 2])
    partners = Partners.cyclic(4, 1)
    before = layer.forward(Stream(x, lengths=counted), partners)
    _, output = layer.learn(Stream(x, lengths=counted), partners)
    assert before.negative is not None
    torch.testing.assert_close(output(True).positive, before.positive)
    negative = output(True).negative
    assert negative is not None and output(False).negative is None
    torch.testing.assert_close(negative, before.negative)
    assert not torch.equal(final(layer, x, counted), before.positive)


@dataclass
class Counting:
    """An array that answers zeros and counts the rows it is asked about."""

    geometry: Geometry
    reads: list[int] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)
    learning_rate: float = 0.1

    @property
    def bias(self) -> Tensor:
        return torch.ones(self.geometry.outputs)

    @property
    def weight(self) -> Tensor:
        return torch.zeros(self.geometry.weight_shape)

    def mvm(self, x: Tensor) -> Tensor:
        self.reads.append(len(x))
        return torch.zeros(len(x), self.geometry.outputs)

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        assert x.shape == (len(error), self.geometry.inputs) and error.shape[1] == self.geometry.outputs
        self.updates.append(len(x))

    def weight_range(self) -> tuple[float, float]:
        return 0.0, 0.0

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None: ...


def test_both_halves_of_all_pairs_share_one_read_of_a_frame() -> None:
    """Seven frames in three sequences: 7 reads of W; U reads each step's positive and negative state."""
    arrays = Counting(Dense(3, 5)), Counting(Dense(5, 5))
    x, counted = batch([4, 1, 2])
    RecurrentLayer((Direction(*arrays),), RULE).learn(Stream(x.float(), lengths=counted), Partners.cyclic(3, 1))
    assert arrays[0].reads == [7] and arrays[0].updates == [7]
    assert arrays[1].reads == [6, 4, 2, 2] and arrays[1].updates == [14]


def test_packing_is_the_one_of_the_docstring() -> None:
    packing = Packing.of(torch.tensor([2, 4, 1]))
    names = torch.tensor([[10, 11, 0, 0], [20, 21, 22, 23], [30, 0, 0, 0]])[:, :, None]
    assert packing.pack(names)[:, 0].tolist() == [20, 10, 30, 21, 11, 22, 23]
    others = packing.partner_rows(Partners.cyclic(3, 1))
    assert others.tolist() == [2, 0, 1, 7, 3, 7, 7]
