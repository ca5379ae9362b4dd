"""Compares the integer reference, the specification of fixed point, with learning in float and with autograd.

With 8-bit activations, 12-bit errors and a 32-bit shadow, one update is the float layer's in its direction and size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scff_hw.backends import Conv2d, Dense, FloatBackend, Geometry, Optimisation
from scff_hw.backends.fixed import LayerFormats, calibrate
from scff_hw.backends.fixed.reference.layer import IntegerLayer, LayerSpec, quantise
from scff_hw.core.functional import Pool
from scff_hw.core.layer import PairLayer
from scff_hw.core.network import Network
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.rules import SCFF
from scff_hw.recipes import load_recipe

N = 24
RATE_SHIFT = 7


@dataclass(frozen=True)
class Case:
    """A layer, and how its batch reaches it."""

    geometry: Geometry
    shape: tuple[int, ...]
    pairs: str
    parts: dict[str, Any]
    blank: int = 0
    """Samples of one value, at the start of the batch."""


POOLED = {"padding": 1, "pool": Pool("max", 2, 2), "readout_pool": Pool("avg", 2, 2)}
CASES = {
    "dense, one view": Case(Dense(160, 16), (160,), "made", {}),
    "dense, two views": Case(Dense(160, 16), (160,), "two views", {}),
    "dense, passed": Case(Dense(160, 16), (160,), "passed", {"transmit": "relu"}),
    "dense, blank halves": Case(Dense(160, 16), (160,), "made", {}, blank=N // 4),
    "dense, two views, one blank": Case(Dense(160, 16), (160,), "two views", {}, blank=N // 4),
    "conv, blank halves": Case(Conv2d(3, 8, 3), (3, 9, 8), "made", POOLED, blank=N // 4),
    "conv": Case(Conv2d(3, 8, 3), (3, 9, 8), "made", {}),
    "conv, padded and pooled": Case(Conv2d(3, 8, 3), (3, 9, 8), "made", POOLED),
    "conv, two views": Case(Conv2d(3, 8, 3), (3, 9, 8), "two views", POOLED),
    "conv, passed": Case(Conv2d(3, 8, 3), (3, 9, 8), "passed", {"padding": 1, "pool": Pool("avg", 3, 2, 1)}),
}


def samples(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Images of their own, whose neighbouring values resemble each other."""
    x = torch.rand(N, *shape, generator=generator)
    return (x + x.roll(1, -1) + x.roll(2, -1)) / 3


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def make(case: Case, rule: SCFF, generator: torch.Generator) -> tuple[PairLayer, IntegerLayer, Stream]:
    """Both layers with the same weights, which lie on the 8-bit grid, and a batch."""
    bound = case.geometry.fan_in**-0.5
    weight = (torch.rand(case.geometry.weight_shape, generator=generator) * 2 - 1) * bound
    bias = (torch.rand(case.geometry.outputs, generator=generator) * 2 - 1) * bound
    first, second = samples(case.shape, generator), samples(case.shape, generator)
    first[: case.blank] = 0.4
    stream = {
        "made": Stream(first),
        "two views": Stream(first, second_view=first + 0.3 * second),
        "passed": Stream(first, negative=second),
    }[case.pairs]
    keys = ["error_bits=12", "shadow_bits=32"]
    options = load_recipe("digits-100", [f"fixed_point.{key}" for key in keys]).fixed_point
    parts: dict[str, Any] = {"makes_pairs": case.pairs != "passed"} | case.parts

    def layer(weight: Tensor) -> PairLayer:
        array = FloatBackend().array(weight, bias, case.geometry, Optimisation("sgd", 2.0**-RATE_SHIFT))
        return PairLayer(array, rule, **parts)

    seen = Stream(torch.cat([first, second]))
    formats = calibrate(Network([layer(weight)]), seen, options, batch=N).formats["layers.1"]
    scale = 2.0**-formats.weight.frac_bits
    weight = torch.round(weight / scale) * scale
    kernel = case.geometry.kernel if isinstance(case.geometry, Conv2d) else None
    options = {name: value for name, value in parts.items() if name != "makes_pairs"}
    spec = LayerSpec(formats, kernel, parts["makes_pairs"], rule.theta_pos, rule.theta_neg, rule.penalty, **options)
    return layer(weight), IntegerLayer(weight.double().numpy(), bias.double().numpy(), spec), stream


def raw(stream: Stream, formats: LayerFormats) -> list[NDArray[np.int64]]:
    parts = [stream.positive, stream.second_view if stream.negative is None else stream.negative]
    return [quantise(part.double().numpy(), formats.input) for part in parts if part is not None]


def alike(found: NDArray[Any], truth: Tensor) -> tuple[float, float]:
    """The cosine between two tensors, and the ratio of their norms."""
    a, b = torch.from_numpy(np.ascontiguousarray(found)).double().flatten(), truth.double().flatten()
    return float(a @ b / (a.norm() * b.norm())), float(a.norm() / b.norm())


RULES = {
    "both": SCFF(0.5, -1.0),
    "with a penalty": SCFF(8.0, 3.0, 0.02),
    "pull": SCFF(8.0, 20.0),
    "push": SCFF(-20.0, 0.0),
}


@pytest.mark.parametrize("rule", list(RULES.values()), ids=list(RULES))
def test_one_update_is_that_of_float(case: Case, rule: SCFF) -> None:
    """Changes have cosines above 0.99 and norms within 3 %; outputs, above 0.97 and within 5 %.

    Float standardises a pair jointly and fixed point each of its halves: z differs by 1/(4 n), 0.2 % for 160 inputs.
    Thresholds are such that pull and push do not cancel, which would multiply all differences. Outputs have
    8-bit grids wide enough for the goodness that a layer is to reach, of which it uses a part before it has learned.
    """
    generator = torch.Generator().manual_seed(0)
    layer, reference, stream = make(case, rule, generator)
    form, array = reference.spec.formats, layer.array
    partners = Partners.draw(N, generator)
    before, bias_before = array.weight, array.bias.clone()
    stored, bias_stored = reference.stored.copy(), reference.bias.copy()
    _, output = layer.learn(stream, partners, generator)
    passed = output(True)
    assert passed.negative is not None
    forward = None if case.pairs == "passed" else partners.forward.numpy()
    positive, negative = reference.learn(raw(stream, form), forward, RATE_SHIFT)
    changes = {
        "weights": ((reference.stored - stored) * 2.0**-form.stored.frac_bits, (array.weight - before).flatten(1)),
        "biases": ((reference.bias - bias_stored) * 2.0**-form.bias.frac_bits, array.bias - bias_before),
        "positive stream": (positive * 2.0**-form.transmitted.frac_bits, passed.positive),
        "negative stream": (negative * 2.0**-form.transmitted.frac_bits, passed.negative),
        # of a blank sample the output consists of biases only, which are below a step of the grid
        "features": (
            reference.features(positive)[case.blank :] * 2.0**-form.feature.frac_bits,
            layer.features(passed.positive)[case.blank :],
        ),
    }
    for what, (found, truth) in changes.items():
        cosine, ratio = alike(found, truth)
        least, most = (0.99, 0.03) if what in ("weights", "biases") else (0.97, 0.05)
        assert cosine > least and abs(ratio - 1) < most, f"{what}: cosine {cosine:.4f}, ratio of norms {ratio:.4f}"


def literal_gradients(
    case: Case, rule: SCFF, layer: PairLayer, stream: Stream, partners: Partners, spec: LayerSpec
) -> tuple[Tensor, ...]:
    """Gradients of the paper's loss with respect to weights and biases, by autograd on concatenated pairs.

    Two rules of the specification are included. Outputs are rounded to their grid: a threshold far above the present
    goodness makes its step a third of the outputs' standard deviation, and then the mean output is about 0.6 % lower,
    because negative pre-activations are never rounded up. And a pair's halves have unit variance, not the pair.
    """
    weight, bias = (value.double().requires_grad_() for value in (layer.array.weight, layer.array.bias))
    padding, step = case.parts.get("padding", 0), 2.0**-spec.formats.output.frac_bits

    def standardised(x: Tensor, halves: int = 1, padding: int = 0) -> Tensor:
        x = F.pad(x, (padding,) * 4, mode="reflect") if padding else x
        rows = x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True)
        degrees_of_freedom = rows.shape[1] - halves
        deviation = (rows.square().sum(dim=1, keepdim=True) / degrees_of_freedom).sqrt()
        return torch.where(deviation > 1e-9, rows / deviation, 0.0).view_as(x)

    def product(x: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias) if isinstance(case.geometry, Conv2d) else F.linear(x, weight, bias)

    def paired(first: Tensor, second: Tensor) -> Tensor:
        pair = torch.cat([standardised(first), standardised(second)], dim=1)
        halves = standardised(pair, 2, padding).chunk(2, dim=1)
        return product(halves[0]) + product(halves[1])

    positive = stream.positive.double()
    if stream.negative is not None:
        z_pos, z_neg = (product(standardised(x, 1, padding)) for x in (positive, stream.negative.double()))
    else:
        second = positive if stream.second_view is None else stream.second_view.double()
        z_pos, z_neg = paired(positive, second), paired(positive, second[partners.forward])

    def goodness(z: Tensor) -> Tensor:
        y = torch.relu(z)
        y = y + (torch.round(y / step) * step - y).detach()
        return y.square().mean(dim=1).reshape(len(y), -1)

    g_pos, g_neg = goodness(z_pos), goodness(z_neg)
    loss = F.softplus(rule.theta_pos - g_pos).mean() + F.softplus(g_neg - rule.theta_neg).mean()
    loss = loss + rule.penalty * g_pos.norm(dim=1).mean()
    return torch.autograd.grad(loss, (weight, bias))


@pytest.mark.parametrize("rule", list(RULES.values()), ids=list(RULES))
def test_updates_have_the_size_of_the_literal_gradient_on_average(rule: SCFF) -> None:
    """Means over five seeds of every case, within 0.5 %: rounding averages out, a wrong constant does not.

    Found: within 0.2 %, with standard errors of 0.03 to 0.12 %.
    """
    ratios: dict[str, list[float]] = {"weights": [], "biases": []}
    for case in CASES.values():
        for seed in range(5):
            generator = torch.Generator().manual_seed(seed)
            layer, reference, stream = make(case, rule, generator)
            form, partners = reference.spec.formats, Partners.draw(N, generator)
            expected = literal_gradients(case, rule, layer, stream, partners, reference.spec)
            stored, bias_stored = reference.stored.copy(), reference.bias.copy()
            forward = None if case.pairs == "passed" else partners.forward.numpy()
            reference.learn(raw(stream, form), forward, RATE_SHIFT)
            weights = (stored - reference.stored) * 2.0**-form.stored.frac_bits
            biases = (bias_stored - reference.bias) * 2.0**-form.bias.frac_bits
            ratios["weights"].append(alike(weights, expected[0].flatten(1))[1] * 2.0**RATE_SHIFT)
            ratios["biases"].append(alike(biases, expected[1])[1] * 2.0**RATE_SHIFT)
    for what, found in ratios.items():
        assert len(found) == 5 * len(CASES) and np.mean(found) == pytest.approx(1, abs=0.005), what
