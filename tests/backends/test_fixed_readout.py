"""A readout that learns in integers: against autograd, and as a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from scff_hw.backends.fixed.formats.calibrate import default_formats
from scff_hw.backends.fixed.reference.layer import IntegerLayer, LayerSpec, standardise
from scff_hw.backends.fixed.reference.readout import IntegerReadout, untrained
from scff_hw.config.fixed_point import FixedPoint
from scff_hw.errors import UsageError

FRAC, FEATURE_FRAC = 7, 5


def drawn(seed: int, classes: int = 4, features: int = 30) -> tuple[IntegerReadout, np.ndarray]:
    rng = np.random.default_rng(seed)
    readout = untrained(classes, features, FRAC, FEATURE_FRAC, "half_even")
    readout.stored = rng.integers(-9000, 9000, readout.stored.shape)
    readout.bias = rng.integers(-(2**20), 2**20, readout.bias.shape)
    return readout, rng.integers(-127, 128, features)


@given(seed=st.integers(0, 2**32 - 1), label=st.integers(0, 3), rate_shift=st.integers(0, 6))
def test_an_update_is_the_gradient_of_one_logistic_unit_a_class(seed: int, label: int, rate_shift: int) -> None:
    readout, x = drawn(seed)
    weight = torch.tensor(readout.quantised / 2.0**FRAC, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(readout.bias / 2.0 ** (FRAC + FEATURE_FRAC + 8), dtype=torch.float64, requires_grad=True)
    logits = weight @ torch.tensor(x / 2.0**FEATURE_FRAC) + bias
    target = torch.nn.functional.one_hot(torch.tensor(label), 4).double()
    torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum").backward()
    assert weight.grad is not None and bias.grad is not None
    before, bias_before = readout.stored.copy(), readout.bias.copy()
    readout.learn(x, label, rate_shift)
    # the table's argument is off by up to half a step of 1/32, where the logistic function's slope is at most 1/4
    slack = 2.0**-rate_shift / 4 * (1 / 64 + 1e-3)
    change = (before - readout.stored) / 2.0 ** (FRAC + 8)
    expected = weight.grad.numpy() * 2.0**-rate_shift
    saturated = np.abs(readout.stored) == 2**15 - 1
    within = slack * np.abs(x / 2.0**FEATURE_FRAC) + 2.0 ** -(FRAC + 8)
    assert (saturated | (np.abs(change - expected) <= within)).all()
    change = (bias_before - readout.bias) / 2.0 ** (FRAC + FEATURE_FRAC + 8)
    assert np.abs(change - bias.grad.numpy() * 2.0**-rate_shift) == pytest.approx(0, abs=slack + 1e-5)


def test_it_classifies_as_well_as_logistic_regression_does() -> None:
    x, y = load_digits(return_X_y=True)
    pixels = np.asarray(x, np.int64)
    form = default_formats(torch.zeros(10, 64), FixedPoint()).feature
    features = standardise(pixels, form, "half_even")
    train, test = slice(0, 1200), slice(1200, None)
    readout = untrained(10, 64, FRAC, form.frac_bits, "half_even")
    for rate_shift in (6, 7, 8):
        for row, label in zip(features[train], y[train], strict=True):
            readout.learn(row, int(label), rate_shift)
    found = np.mean(readout.logits(features[test]).argmax(axis=1) == y[test])
    known = LogisticRegression(max_iter=2000).fit(features[train], y[train]).score(features[test], y[test])
    assert found >= known - 0.02


def test_a_label_of_no_class_is_refused() -> None:
    readout, x = drawn(0)
    with pytest.raises(UsageError, match=r"The label must be from 0 to 3\. Got 4 instead"):
        readout.learn(x, 4, 7)


@pytest.mark.parametrize("bits", [0, 16, 32])
def test_first_weights_are_uniform_within_the_root_of_the_fan_in(bits: Any) -> None:
    fan_in = 401
    options = FixedPoint(shadow_bits=bits)
    form = default_formats(torch.full((300, fan_in), fan_in**-0.5), options)
    layer = IntegerLayer(np.zeros((300, fan_in)), np.ones(300), LayerSpec(form, None, True, 1.0, 1.0, 0.0))
    layer.start(5)
    found = layer.stored / 2.0**form.stored.frac_bits
    step, bound = 2.0**-form.stored.frac_bits, fan_in**-0.5
    assert np.abs(found).max() == pytest.approx(bound, abs=step + bound / 2**15)
    # a uniform distribution's variance is a third of its bound's square; 120 300 draws
    assert found.std() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert found.mean() == pytest.approx(0, abs=4 * bound / (3 * found.size) ** 0.5)
    assert not layer.bias.any()
    again = layer.stored.copy()
    layer.start(6)
    assert np.mean(layer.stored == again) < 0.2
