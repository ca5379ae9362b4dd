"""Up to a thousand updates on real digits, in PyTorch and in the integer reference: equal in every bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from scff_hw.backends.fixed import FixedLayer, QFormat
from scff_hw.backends.fixed.reference.layer import IntegerLayer, logits, quantise
from scff_hw.core.network import Network
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.random import generator, stream_seed
from scff_hw.data import Pipeline, load
from scff_hw.recipes import load_recipe
from scff_hw.training.build import build_network, untrained_weights
from scff_hw.training.calibration import calibrated_backend
from scff_hw.training.readout import Readout, initial_readout
from scff_hw.training.run_context import plain_samples

BATCH, SEED = 100, 5
LEARN = "learn: {epochs: 20, optimiser: sgd, learning_rate: %s, theta_pos: 0.5, theta_neg: 0.5, penalty: 1.0e-4}"
LAYERS = (
    "layers=[{kind: dense, units: 100, init: linear, pairs: made, %s},"
    "{kind: dense, units: 60, init: linear, pairs: %s, transmit: relu, %s}]"
)


CONVOLUTIONS = (
    "layers=[{kind: conv2d, channels: 8, kernel: 3, padding: 1, init: xavier, pairs: made, pool: "
    "{kind: max, size: 2, stride: 2}, readout_pool: {kind: avg, size: 3, stride: 2, padding: 1}, %s},"
    "{kind: conv2d, channels: 6, kernel: 2, init: xavier, pairs: %s, pool: {kind: avg, size: 2, stride: 1}, %s}]"
)


@pytest.fixture(autouse=True)
def without_autograd() -> Iterator[None]:
    with torch.no_grad():
        yield


def as_integers(x: Tensor, form: QFormat) -> NDArray[np.int64]:
    integers = x.double().numpy() * 2.0**form.frac_bits
    assert np.array_equal(integers, np.rint(integers))
    return integers.astype(np.int64)


def assert_same(layer: Any, reference: IntegerLayer) -> None:
    state = layer.array.state()
    assert np.array_equal(state["held"].flatten(1).numpy(), reference.stored)
    assert np.array_equal(state["bias"].numpy(), reference.bias)
    assert np.array_equal(state["states"].numpy(), reference.states)
    unit = np.exp2(-np.asarray(layer.array.formats.weight.fracs, dtype=np.float64))[:, None]
    assert np.array_equal(state["weight"].flatten(1).double().numpy(), reference.weight * unit)


SHADOW = ["shadow_bits=16"]
STOCHASTIC = ["shadow_bits=0", "update_rounding=stochastic"]


@pytest.mark.parametrize(
    ("layers", "second", "updates", "formats"),
    [
        (LAYERS, "passed", 1000, SHADOW),
        (LAYERS, "made", 1000, STOCHASTIC),
        (CONVOLUTIONS, "passed", 56, STOCHASTIC),
        (CONVOLUTIONS, "made", 56, [*SHADOW, "weight_scales=channel", "rounding=half_up"]),
    ],
    ids=["dense, shadow, passed", "dense, stochastic, made", "conv, stochastic, passed", "conv, channels, made"],
)
def test_updates_and_inference_equal_the_reference(layers: str, second: str, updates: int, formats: list[str]) -> None:
    stack = layers % (LEARN % 1.0, second, LEARN % 0.5)
    recipe = load_recipe("digits-100", [stack, "readout.layers=[1,2]", *(f"fixed_point.{key}" for key in formats)])
    dense = layers is LAYERS
    dataset = load("digits")
    samples, weights = plain_samples(recipe, dataset, "train"), untrained_weights(recipe, SEED)
    backend = calibrated_backend(recipe, weights, samples, SEED)
    network: Network = build_network(recipe, backend, weights)
    references = []
    for number, layer in enumerate(network.layers, start=1):
        assert isinstance(layer, FixedLayer)
        name = f"layers.{number}"
        weight, bias = (weights[f"{name}.{part}"].double().numpy() for part in ("weight", "bias"))
        seed = stream_seed(SEED, "rounding", name) & 0xFFFFFFFF
        references.append(IntegerLayer(weight, bias, layer.spec, seed))
    one, two = references
    start = [reference.weight.copy() for reference in references]
    rate_shifts = [layer.array.rate_shift for layer in network.layers]  # type: ignore[attr-defined]
    assert rate_shifts == [0, 1]
    pipeline, done = samples.pipeline, 0
    assert isinstance(pipeline, Pipeline)
    while done < updates:
        order = pipeline.order(generator(SEED, "order", done))
        for indices in order[: len(order) // BATCH * BATCH].split(BATCH):
            x = pipeline.batch(indices)
            network.learn(Stream(x), {0, 1}, generator(SEED, "batch", done))
            draw = generator(SEED, "batch", done)
            raw = quantise((x.flatten(1) if dense else x).double().numpy(), one.spec.formats.input)
            streams = one.learn([raw], Partners.draw(BATCH, draw).forward.numpy(), rate_shifts[0])
            if second == "passed":
                two.learn(streams, None, rate_shifts[1])
            else:
                two.learn(streams[:1], Partners.draw(BATCH, draw).forward.numpy(), rate_shifts[1])
            done += 1
        for layer, reference in zip(network.layers, references, strict=True):
            assert_same(layer, reference)
    for before, reference in zip(start, references, strict=True):
        moved = np.mean(before != reference.weight)
        assert moved > 0.5, f"only {moved:.0%} of the weights moved"

    test = plain_samples(recipe, dataset, "test")
    x = test.batch(torch.arange(len(test))).positive
    hidden = one.forward(quantise((x.flatten(1) if dense else x).double().numpy(), one.spec.formats.input))
    features = np.concatenate([one.features(hidden), two.features(two.forward(hidden))], axis=1)
    form = one.spec.formats.feature
    float_features = network.features(x, [0, 1])
    assert np.array_equal(as_integers(float_features, form), features)

    readout = Readout(*initial_readout(recipe.readout_features, 10, SEED), backend.readout)
    weight, bias = backend.readout(readout.weight, readout.bias)
    weights_form = QFormat(8, next(f for f in range(20, -20, -1) if float(readout.weight.abs().max()) * 2.0**f <= 127))
    products = QFormat(32, weights_form.frac_bits + form.frac_bits)
    integers = as_integers(weight, weights_form), as_integers(bias, products)
    assert np.abs(integers[0]).max() > 63, "the readout's weights must use their 8 bits"
    expected = logits(features, *integers)
    assert np.array_equal(as_integers(readout.logits(float_features), products), expected)
