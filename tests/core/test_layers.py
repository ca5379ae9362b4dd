"""What layers and networks pass on, against the literal algorithm and against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from scff_hw.backends import Conv2d, Dense, FloatBackend, Geometry, Optimisation
from scff_hw.core import SCFF, Network, PairLayer, Pool, Stream, passes, standardise, triangle
from scff_hw.core.literal import LiteralLayer, literal_step
from scff_hw.core.random import generator

POOL = Pool("max", 4, 2, 1)


def test_triangle_and_standardise_against_numpy() -> None:
    x = np.random.default_rng(0).normal(size=(3, 5, 4, 4))
    centred = x - x.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(triangle(torch.from_numpy(x)), np.maximum(centred, 0), rtol=1e-12)
    flat = x.reshape(3, -1)
    expected = (flat - flat.mean(1, keepdims=True)) / flat.std(1, ddof=1, keepdims=True)
    np.testing.assert_allclose(standardise(torch.from_numpy(x)).reshape(3, -1), expected, rtol=1e-12)


def test_pool_keeps_the_last_partial_window() -> None:
    x = torch.arange(25.0).view(1, 1, 5, 5)
    assert Pool("max", 2, 2)(x).shape == (1, 1, 3, 3)
    assert Pool("max", 2, 2, ceil=False)(x).shape == (1, 1, 2, 2)


def build(algorithms: str, dtype: str = "float64", rate: float = 0.01) -> tuple[Network, list[LiteralLayer]]:
    """Three small convolutional layers and their literal twins; `algorithms`: m(ade) or p(assed) for each."""
    geometries: list[Geometry] = [Conv2d(3, 8, 5), Conv2d(8, 12, 3), Conv2d(12, 16, 3)]
    rules = [SCFF(0.0, 1.0, 0.0012), SCFF(5.0, 9.0, 0.0007), SCFF(6.0, 10.0, 0.0005)]
    layers, literals = [], []
    for number, (geometry, rule, algorithm) in enumerate(zip(geometries, rules, algorithms, strict=True)):
        draw = generator(number, "test")
        weight = torch.rand(geometry.weight_shape, generator=draw, dtype=torch.float64) - 0.5
        bias = torch.rand(geometry.outputs, generator=draw, dtype=torch.float64) - 0.5
        padding = geometry.kernel // 2 if isinstance(geometry, Conv2d) else 0
        transmit = "relu" if number == 2 else "triangle"
        array = FloatBackend(dtype).array(weight, bias, geometry, Optimisation("adamw", rate, 1e-4))
        layers.append(PairLayer(array, rule, algorithm == "m", padding, transmit, POOL))
        literals.append(
            LiteralLayer(
                weight.clone().requires_grad_(),
                bias.clone().requires_grad_(),
                rule.theta_pos,
                rule.theta_neg,
                rule.penalty,
                algorithm == "m",
                padding,
                transmit,
                POOL,
            )
        )
    return Network(layers), literals


@pytest.mark.parametrize("chunk", [1, 2000, 10**9], ids=["two passes", "two samples a chunk", "one pass"])
@pytest.mark.parametrize("algorithms", ["mpm", "mpp", "mmm"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_ten_steps_of_each_layer_equal_the_literal_algorithm(
    algorithms: str, layer: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through frozen layers, both algorithms, AdamW: the weights of both ways stay together."""
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", chunk)
    network, literals = build(algorithms)
    optimiser = torch.optim.AdamW([literals[layer].weight, literals[layer].bias], lr=0.01, weight_decay=1e-4)
    for step in range(10):
        x = torch.randn(6, 3, 12, 12, generator=generator(step, "x"), dtype=torch.float64)
        network.learn(Stream(x), {layer}, generator(step, "partners"))
        draws = generator(step, "partners")
        shifts: list[int] = []
        for index in range(layer + 1):  # a shift is drawn where its negative pairs are of use
            used = index == layer or algorithms[index + 1] == "p"
            drawn = algorithms[index] == "m" and used
            shifts.append(int(torch.randint(1, 6, (1,), generator=draws)) if drawn else 1)
        literal_step(literals[: layer + 1], x, shifts, optimiser)
    found, truth = network.arrays[f"layers.{layer + 1}"], literals[layer]
    torch.testing.assert_close(found.weight, truth.weight.detach(), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.bias, truth.bias.detach(), rtol=1e-6, atol=1e-8)


def test_layers_learning_together_see_each_other_from_before_the_update() -> None:
    """One simultaneous batch changes every layer exactly as that batch alone would change each one."""
    together, _ = build("mpm")
    x = torch.randn(6, 3, 12, 12, generator=generator(0, "x"), dtype=torch.float64)
    together.learn(Stream(x), {0, 1, 2}, generator(0, "partners"))
    for layer in range(3):
        alone, _ = build("mpm")
        alone.learn(Stream(x), {layer}, generator(0, "partners"))
        name = f"layers.{layer + 1}"
        assert torch.equal(together.arrays[name].weight, alone.arrays[name].weight)


def test_inference_passes_on_what_a_sample_paired_with_itself_gives() -> None:
    network, literals = build("mpm")
    x = torch.randn(5, 3, 12, 12, generator=generator(1, "x"), dtype=torch.float64)
    expected = x
    for output, literal in zip(network.outputs(x), literals, strict=True):
        if literal.concatenated:
            half = standardise(expected)
            expected = torch.cat([half, half], 1)
        expected = literal.transmitted(literal.pre_activation(expected)).detach()
        torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-12)


def test_features_are_pooled_standardised_and_side_by_side() -> None:
    network, _ = build("mpm")
    x = torch.randn(4, 3, 12, 12, generator=generator(1, "x"), dtype=torch.float64)
    outputs = network.outputs(x)
    features = network.features(x, [0, 2])
    widths = [outputs[k].flatten(1).shape[1] for k in (0, 2)]
    assert features.shape == (4, sum(widths))
    for part in features.split(widths, dim=1):
        torch.testing.assert_close(part.mean(1), torch.zeros(4, dtype=torch.float64), atol=1e-10, rtol=0)
        torch.testing.assert_close(part.std(1), torch.ones(4, dtype=torch.float64), atol=1e-8, rtol=0)


def test_a_dense_layer_flattens_images() -> None:
    array = FloatBackend().array(torch.rand(5, 12), torch.rand(5), Dense(12, 5), Optimisation())
    layer = PairLayer(array, None, makes_pairs=True)
    images: Tensor = torch.rand(3, 3, 2, 2)
    assert torch.equal(layer.forward(Stream(images)).positive, layer.forward(Stream(images.flatten(1))).positive)
