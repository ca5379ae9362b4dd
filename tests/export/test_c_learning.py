"""The C runtime against the integer reference: the same integers after each of 1 000 updates on real digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scff_hw.backends.fixed.reference.layer import IntegerLayer, quantise
from scff_hw.data import load
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training.build import build_network, untrained_weights
from scff_hw.training.calibration import calibrated_backend
from scff_hw.training.run_context import plain_samples

UPDATES = 1000
BATCH = 12
SGD = ["layers.*.learn.optimiser=sgd", "layers.*.learn.learning_rate=1.0", "layers.*.learn.weight_decay=0"]

CNN = """
name: digits-cnn
description: two convolutions on digits
source: this test
data: {name: digits}
layers:
  - {kind: conv2d, channels: 6, kernel: 3, padding: 1, init: linear, pairs: made, transmit: triangle,
     pool: {kind: max, size: 2, stride: 2}, readout_pool: {kind: avg, size: 2, stride: 2},
     learn: {epochs: 1, optimiser: sgd, learning_rate: 1.0, theta_pos: 0.5, theta_neg: 0.5, penalty: 0.01}}
  - {kind: conv2d, channels: 5, kernel: 2, padding: 0, init: linear, pairs: passed, transmit: relu,
     pool: {kind: avg, size: 2, stride: 1, padding: 1},
     learn: {epochs: 1, optimiser: sgd, learning_rate: 1.0, theta_pos: 1.0, theta_neg: 1.0}}
readout: {layers: [1, 2]}
"""

Layers = tuple[list[IntegerLayer], list[tuple[int, ...]], np.ndarray]


@pytest.fixture
def layers_of(tmp_path: Path) -> Callable[..., Layers]:
    """Return a function from a recipe to its layers in integers, their input shapes, and samples of digits."""

    def make(name: str, *overrides: str) -> Layers:
        if name == "digits-cnn":
            path = tmp_path / "digits-cnn.yaml"
            path.write_text(CNN, encoding="utf-8")
            name = str(path)
        recipe: Recipe = load_recipe(name, list(overrides))
        samples = plain_samples(recipe, load(recipe.data.name), "train")
        weights = untrained_weights(recipe, 0)
        backend = calibrated_backend(recipe, weights, samples, 0)
        found = []
        built: Sequence[Any] = build_network(recipe, backend, weights).layers
        for number, layer in enumerate(built, start=1):
            weight, bias = (weights[f"layers.{number}.{part}"].numpy() for part in ("weight", "bias"))
            found.append(IntegerLayer(weight, bias, layer.spec, seed=number))
        order = np.random.default_rng(0).permutation(len(samples))
        x = samples.batch(torch.from_numpy(order)).positive.numpy().astype(np.float64)
        return found, [shapes.input for shapes in recipe.shapes], quantise(x, found[0].spec.formats.input)

    return make


def shaped(layer: IntegerLayer, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Samples as a layer of the reference takes them."""
    return x.reshape(len(x), *(shape if layer.spec.kernel else (-1,)))


def compare(
    layers: list[IntegerLayer], shapes: list[tuple[int, ...]], x: np.ndarray, c_layer: Any, updates: int
) -> None:
    """Learn in both, all layers in every batch; shifts, rates and batch sizes vary."""
    ours = [c_layer(layer, shape) for layer, shape in zip(layers, shapes, strict=True)]
    draw = np.random.default_rng(1)
    start = [layer.stored.copy() for layer in layers]
    for step in range(updates):
        n = int(draw.integers(2, BATCH + 1))
        shift, rate = int(draw.integers(1, n)), int(draw.integers(0, 5))
        partner = (np.arange(n) + shift) % n
        views = [x[draw.integers(0, len(x), n)]]
        for layer, c, shape in zip(layers, ours, shapes, strict=True):
            views = [shaped(layer, view, shape) for view in views]
            expected = layer.learn(views, partner if layer.spec.makes_pairs else None, rate)
            found = c.learn(views, shift, rate)
            for a, b in zip(expected, found, strict=True):
                assert np.array_equal(a.reshape(n, -1), b), f"passed on at update {step}"
            assert np.array_equal(layer.stored, c.stored), f"weights at update {step}"
            assert np.array_equal(layer.bias, c.bias), f"biases at update {step}"
            # a layer that makes its pairs takes one view or two, any other both streams
            views = list(expected) if step % 2 or not layers[-1].spec.makes_pairs else [expected[0]]
    for layer, c, before in zip(layers, ours, start, strict=True):
        assert (layer.stored != before).mean() > 0.05, "hardly a weight moved: the test would see nothing"
        assert np.array_equal(layer.weight, c.weight)
        if c.constants.stochastic:
            assert np.array_equal(layer.states, c.states)
    samples = x[:20]
    for layer, c, shape in zip(layers, ours, shapes, strict=True):
        samples = shaped(layer, samples, shape)
        expected = layer.forward(samples)
        assert expected.any(), "a silent layer: the test would see nothing"
        assert np.array_equal(expected.reshape(len(samples), -1), c.forward(samples))
        assert np.array_equal(layer.features(expected), c.features(expected.reshape(len(samples), -1)))
        samples = expected


FORMATS = {
    "int8 through int16": [],
    "half_up": ["fixed_point.rounding=half_up"],
    "int8 at random": ["fixed_point.shadow_bits=0"],
    "int4 at random": ["fixed_point.weight_bits=4", "fixed_point.shadow_bits=0", "fixed_point.rounding=half_up"],
    "int4 through int8": ["fixed_point.weight_bits=4", "fixed_point.shadow_bits=8"],
    "int8 through int32": ["fixed_point.shadow_bits=32", "fixed_point.error_bits=12"],
    "int16 at random": ["fixed_point.update_rounding=stochastic"],
    "int8 to the nearest": ["fixed_point.shadow_bits=0", "fixed_point.update_rounding=nearest"],
    "activations of 5 bits": ["fixed_point.activation_bits=5", "layers.1.transmit=relu"],
    "a scale a channel": ["fixed_point.weight_scales=channel"],
    "a scale a channel at random": ["fixed_point.weight_scales=channel", "fixed_point.shadow_bits=0"],
}


@pytest.mark.parametrize("formats", FORMATS.values(), ids=FORMATS)
def test_a_dense_layer_learns_the_same_in_c(formats: list[str], layers_of: Any, c_layer: Any) -> None:
    layers, shapes, x = layers_of("digits-100", "layers.1.units=24", *formats)
    compare(layers, shapes, x, c_layer, UPDATES)


@pytest.mark.parametrize("pairs", ["made", "passed"])
@pytest.mark.parametrize("formats", [[], FORMATS["int4 at random"]], ids=["shadow", "random"])
def test_two_layers_learn_the_same_in_c(pairs: str, formats: list[str], layers_of: Any, c_layer: Any) -> None:
    odd = ["layers.1.units=25", "layers.2.units=16", f"layers.2.pairs={pairs}"]
    layers, shapes, x = layers_of("digits-mlp", *SGD, *odd, *formats)
    compare(layers, shapes, x, c_layer, UPDATES)


@pytest.mark.parametrize("formats", [[], FORMATS["int8 at random"]], ids=["shadow", "random"])
def test_convolutions_learn_the_same_in_c(formats: list[str], layers_of: Any, c_layer: Any) -> None:
    layers, shapes, x = layers_of("digits-cnn", *formats)
    compare(layers, shapes, x, c_layer, UPDATES // 5)


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
@pytest.mark.parametrize("recipe", ["digits-100", "digits-cnn"])
def test_blank_samples_are_learned_the_same_in_c(recipe: str, rounding: str, layers_of: Any, c_layer: Any) -> None:
    """Blank halves of positive and negative pairs, in one view and two, beside samples that are not."""
    small = ["layers.1.units=24"] if recipe == "digits-100" else []
    layers, shapes, x = layers_of(recipe, f"fixed_point.rounding={rounding}", *small)
    layer, c = layers[0], c_layer(layers[0], shapes[0])
    draw = np.random.default_rng(3)
    for step in range(60):
        n = int(draw.integers(2, 8))
        shift = int(draw.integers(1, n))
        views = [shaped(layer, x[draw.integers(0, len(x), n)], shapes[0]) for _ in range(1 + step % 2)]
        for view in views:
            view[draw.random(n) < 0.4] = draw.integers(-9, 10)
        expected = layer.learn(views, (np.arange(n) + shift) % n, 0)
        found = c.learn(views, shift, 0)
        for a, b in zip(expected, found, strict=True):
            assert np.array_equal(a.reshape(n, -1), b), f"passed on at update {step}"
        assert np.array_equal(layer.stored, c.stored) and np.array_equal(layer.bias, c.bias), f"update {step}"


def test_two_views_and_chosen_positions_learn_the_same_in_c(layers_of: Any, c_layer: Any) -> None:
    layers, shapes, x = layers_of("digits-cnn")
    layer = layers[0]
    layer.spec = replace(layer.spec, positions=10)
    c = c_layer(layer, shapes[0])
    draw = np.random.default_rng(2)
    for _ in range(100):
        views = [x[draw.integers(0, len(x), 6)] for _ in range(2)]
        chosen = draw.permuted(np.arange(64) < 10 + np.zeros((12, 1)), axis=1)
        expected = layer.learn(views, (np.arange(6) + 2) % 6, 0, chosen)
        found = c.learn(views, 2, 0, chosen)
        assert np.array_equal(expected[0].reshape(6, -1), found[0])
        assert np.array_equal(expected[1].reshape(6, -1), found[1])
        assert np.array_equal(layer.stored, c.stored)
        assert np.array_equal(layer.bias, c.bias)
