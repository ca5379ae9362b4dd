"""Fixed-point arrays: the shared contract on 8-bit grids, the Brevitas modules inside, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scff_hw.backends import Backend, Conv2d, Dense, Geometry, Metered, Optimisation
from scff_hw.backends.contract import BackendContract
from scff_hw.backends.fixed import FixedArray, FixedBackend, LayerFormats, QFormat
from scff_hw.backends.fixed.formats.calibrate import default_formats
from scff_hw.backends.fixed.reference.layer import IntegerLayer, LayerSpec, quantise
from scff_hw.config.fixed_point import FixedPoint
from scff_hw.core.goodness import Errors
from scff_hw.core.rules import Rule, Signals
from scff_hw.errors import CheckpointError, UsageError
from scff_hw.recipes import load_recipe

SGD = Optimisation("sgd", 0.25)


@cache
def options(*keys: str) -> Any:
    return load_recipe("digits-100", [f"fixed_point.{key}" for key in keys]).fixed_point


class Fitted(FixedBackend):
    """Formats for the contract's numbers, as calibration would give them: the same whatever the weights are."""

    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> FixedArray:
        # how far the weights get; a sum over positions carries a convolution's further
        holds = 7.9 if isinstance(geometry, Conv2d) else 1.9 if geometry.inputs > 1 else 0.49
        largest = torch.full(geometry.weight_shape, holds)
        if self.options.weight_scales == "channel":
            largest[1::2] *= 2
        assert isinstance(self.options, FixedPoint)
        options = self.options.model_copy(update={"weight_headroom": 1.0})
        formats = {name: default_formats(largest, options, inputs=1.0, errors=0.5)}
        return FixedBackend(options, formats, self.seed).array(weight, bias, geometry, optimisation, name)


class FixedContract(BackendContract):
    """Bound 10 %, for three grids that differ from the contract's numbers.

    Inputs within 1 are read in steps of 1/64 and errors within 0.4 in steps of 1/128: 1 % of their spread (2 % of a
    difference that cancels half of it). Weights are read in 8 bits, in steps of 1/16 in convolutions (6 % of the
    spread of those they start from), 1/64 in dense layers and 1/256 in the one of a single weight; changes have
    spreads of 1.6 to 2.3, 0.3 and 0.045. One rounding before an update and one after it are sqrt(2 / 12) of a step,
    twice the change of half the rate against the whole one 0.9 steps: 5 % at most, and 8 % of a single weight.
    """

    relative_error = 0.1
    learning_rate = 1.0
    error_scale = 0.4
    keys: tuple[str, ...] = ()

    def backend(self) -> Backend:
        return Fitted(options(*self.keys))


class TestShadowOf32Bits(FixedContract):
    keys = ("shadow_bits=32",)


class TestShadowOf16Bits(FixedContract):
    keys = ("shadow_bits=16", "rounding=half_up")


class TestScaleForEachChannel(FixedContract):
    """Bound 15 %: every second channel has steps twice as wide, 12 % of the spread of a convolution's weights."""

    relative_error = 0.15
    keys = ("shadow_bits=16", "weight_scales=channel")


class TestStochasticWithoutShadow(FixedContract):
    """n = 20 arrays with random numbers of their own; bound 10 %, as above.

    A change is rounded with a standard deviation of at most half a step, 3 % of the spread of the changes and 4 % of a
    single weight's; of the mean of 20 that is 1 %, twice the change of half the rate 2 %. The rest are the grids above.
    """

    repeats = 20
    keys = ("shadow_bits=0",)

    def backend(self) -> Backend:
        self.made = getattr(self, "made", 0) + 1
        return Fitted(options(*self.keys), seed=self.made)


class TestUpdatesOntoTheGridItself(FixedContract):
    keys = ("shadow_bits=0", "update_rounding=nearest")


def made(geometry: Geometry, *keys: str, seed: int = 0, name: str = "", optimisation: Optimisation = SGD) -> FixedArray:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.rand(geometry.weight_shape, generator=draw) - 0.5
    weight[::2] *= 0.3  # channels with scales of their own
    bias = torch.rand(geometry.outputs, generator=draw) - 0.5
    return FixedBackend(options(*keys)).array(weight, bias, geometry, optimisation, name)


def read(geometry: Geometry, seed: int = 1) -> Tensor:
    shape = (6, geometry.inputs) if isinstance(geometry, Dense) else (6, geometry.inputs, 7, 9)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2


GEOMETRIES = [Dense(30, 12), Conv2d(3, 5, 3)]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=["dense", "conv"])
@pytest.mark.parametrize("scales", ["tensor", "channel"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_brevitas_gives_the_references_products(geometry: Geometry, scales: str, bits: int) -> None:
    """Every quantiser of the module is active, and has nothing left to change; its integers are the reference's."""
    array = made(geometry, f"weight_bits={bits}", f"weight_scales={scales}", "weight_headroom=1")
    x, form = read(geometry), array.formats
    on_grid: Any = array.quantise_input(x)
    with torch.no_grad():
        assert torch.equal(array.module(on_grid), array.mvm(x))
    draw = torch.Generator().manual_seed(0)
    weight = torch.rand(geometry.weight_shape, generator=draw) - 0.5
    weight[::2] *= 0.3
    spec = LayerSpec(form, geometry.window, True, 1.0, 1.0, 0.0)
    reference = IntegerLayer(weight.double().numpy(), np.zeros(geometry.outputs), spec)
    quantised: Any = array.module.quant_weight()
    assert np.array_equal(quantised.int(float_datatype=False).flatten(1).numpy(), reference.weight)
    assert quantised.bit_width == bits and quantised.signed and quantised.zero_point == 0
    fracs = form.weight.fracs
    assert len(fracs) == (geometry.outputs if scales == "channel" else 1)
    assert quantised.scale.flatten().tolist() == [2.0**-frac for frac in fracs]
    if scales == "channel":
        assert len(set(fracs)) > 1, "the rows of this test are to have scales of their own"
    integers = quantise(x.double().numpy(), form.standardised)
    found = reference.mvm(integers)  # [R, P, C]
    expected = array.mvm(x).flatten(2).transpose(1, 2) if geometry.window else array.mvm(x)[:, None]
    unit = np.exp2(-np.asarray(form.accumulator.fracs, dtype=np.float64))
    assert np.array_equal(found * unit, expected.double().numpy())


@pytest.mark.parametrize("bits", [4, 8])
def test_inputs_are_read_by_a_brevitas_quantiser(bits: int) -> None:
    array = made(Dense(30, 12), f"activation_bits={bits}")
    form = array.formats.standardised
    x = torch.linspace(-20, 20, 600).view(20, 30)
    found: Any = array.quantise_input(x)
    assert np.array_equal(found.numpy() * 2.0**form.frac_bits, quantise(x.double().numpy(), form))


def test_an_input_is_prepared_once_for_its_mvm_and_its_update() -> None:
    array, geometry = made(Conv2d(3, 5, 3)), Conv2d(3, 5, 3)
    twin = made(geometry)
    x, error = read(geometry), torch.rand(6, 5, 5, 7) - 0.5
    array.mvm(x)
    array.update(x, error, torch.zeros(5))
    twin.update(x, error, torch.zeros(5))
    assert torch.equal(array.weight, twin.weight)
    assert array.take_metrics()["clipped_inputs"] == pytest.approx(twin.take_metrics()["clipped_inputs"])


def test_figures_are_shares_of_what_was_cut_off() -> None:
    array = FixedBackend(options("weight_headroom=1")).array(torch.full((2, 4), 0.5), torch.zeros(2), Dense(4, 2), SGD)
    assert isinstance(array, Metered)
    x = torch.tensor([[100.0, -100.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    array.mvm(x)
    array.update(x, torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.zeros(2))
    metrics = array.take_metrics()
    assert metrics == {"clipped_inputs": 2 / 8, "clipped_errors": 1 / 4, "weights_at_bounds": 0.0}
    array.update(torch.full((1, 4), 7.0), torch.tensor([[-1.9, 0.0]]), torch.zeros(2))
    assert array.take_metrics()["weights_at_bounds"] == 0.5
    assert array.take_metrics() == {"clipped_inputs": 0.0, "clipped_errors": 0.0, "weights_at_bounds": 0.5}


def test_weights_stop_at_the_ends_of_their_range() -> None:
    array = made(Dense(30, 12), "shadow_bits=16")
    form, x = array.formats.weight, torch.full((4, 30), 7.0)
    for sign in (1, -1):
        for _ in range(40):
            array.update(x, torch.full((4, 12), -1.9 * sign), torch.zeros(12))
        assert torch.equal(array.weight, torch.full((12, 30), sign * form.top * 2.0**-form.frac_bits))
        assert array.weight_range() == pytest.approx((float(array.weight[0, 0]),) * 2)


def test_a_rate_is_the_power_of_two_nearest_to_the_requested_one() -> None:
    array = made(Dense(30, 12))
    for requested, applied in ((0.25, 0.25), (0.3, 0.25), (1.0, 1.0), (3.0, 4.0), (1e-3, 2.0**-10)):
        array.learning_rate = requested
        assert array.learning_rate == applied


@pytest.mark.parametrize(
    ("optimisation", "name", "message"),
    [
        (
            Optimisation("adamw"),
            "layers.2",
            "The optimiser of the fixed backend must be sgd: moments would take more memory than the weights. Got "
            "'adamw' instead; type: --set layers.2.learn.optimiser=sgd --set layers.2.learn.learning_rate=0.3 "
            "--set layers.2.learn.weight_decay=0",
        ),
        (
            Optimisation("sgd", momentum=0.9),
            "layers.1",
            "The momentum of the fixed backend must be 0. Got 0.9 instead; type: --set layers.1.learn.momentum=0",
        ),
        (
            Optimisation("sgd", weight_decay=1e-4),
            "",
            "The weight decay of the fixed backend must be 0. Got 0.0001 instead; "
            "type: --set layers.*.learn.weight_decay=0",
        ),
    ],
)
def test_what_integers_cannot_do_is_refused(optimisation: Optimisation, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message) + "$"):
        made(Dense(3, 4), optimisation=optimisation, name=name)


def formats(*keys: str, frac: int | tuple[int, ...] = 6) -> LayerFormats:
    found = default_formats(torch.full((2, 3), 0.5), options(*keys))
    shadow = found.shadow and QFormat(found.shadow.bits, frac).plus(found.shadow.bits - found.weight.bits, 16)
    return replace(found, weight=QFormat(found.weight.bits, frac), shadow=shadow)


def test_weights_that_do_not_fit_are_refused_with_what_would() -> None:
    weight, bias = torch.full((2, 3), 2.5), torch.zeros(2)
    backend = FixedBackend(options(), {"layers.1": formats(frac=6)})
    message = (
        "Weights of up to 2.5 at layers.1 do not fit 8 bits with 6 fraction bits, which hold 1.984; "
        "5 fraction bits would."
    )
    with pytest.raises(UsageError, match=re.escape(message)):
        backend.array(weight, bias, Dense(3, 2), SGD, "layers.1")
    weight[0] = 1.0
    backend = FixedBackend(options(), {"layers.1": formats("weight_scales=channel", frac=(6, 6))})
    with pytest.raises(UsageError, match=r"at channel 1 of layers.1 do not fit .* 5 fraction bits would"):
        backend.array(weight, bias, Dense(3, 2), SGD, "layers.1")
    backend = FixedBackend(options(), {"layers.1": formats("weight_scales=channel", frac=(6, 5))})
    assert torch.equal(backend.array(weight, bias, Dense(3, 2), SGD, "layers.1").weight, weight)


def test_an_accumulator_too_narrow_for_the_mvm_names_the_bits_that_do() -> None:
    message = r"An accumulator of 16 bits cannot hold 30 products of 8 by 8 bits and a bias at layers.1; it needs (\d+)"
    with pytest.raises(UsageError, match=message) as found:
        made(Dense(30, 12), "accumulator_bits=16", name="layers.1")
    match = re.search(message, str(found.value))
    assert match is not None
    made(Dense(30, 12), f"accumulator_bits={match[1]}", name="layers.1")
    with pytest.raises(UsageError, match=message.replace("16 bits", f"{int(match[1]) - 1} bits")):
        made(Dense(30, 12), f"accumulator_bits={int(match[1]) - 1}", name="layers.1")


def test_a_sample_with_too_many_inputs_is_refused() -> None:
    with pytest.raises(UsageError, match=r"A sample at layers.1 must have at most 65536 inputs .* Got 65537"):
        made(Dense(65537, 1), name="layers.1")


def test_another_rule_is_refused() -> None:
    class Other(Rule):
        name = "other"

        def errors(self, signals: Signals) -> Errors:
            raise NotImplementedError

    parts: dict[str, Any] = {"padding": 0, "transmit": "relu", "pool": None, "readout_pool": None}
    with pytest.raises(
        UsageError,
        match=r"learns by the rules scff, forward-forward and forward-forward-supervised. Got 'other' instead",
    ):
        FixedBackend().layer(array=made(Dense(3, 4)), rule=Other(), makes_pairs=True, update_positions=None, **parts)


def test_a_state_of_other_shapes_is_refused() -> None:
    array = made(Dense(30, 12))
    state = array.state()
    with pytest.raises(CheckpointError, match=r"'held' of the state must have shape \[12, 30\]. Got \[12, 29\]"):
        array.load_state(state | {"held": state["held"][:, 1:]})
    with pytest.raises(CheckpointError, match=r"no tensor 'states'"):
        array.load_state({name: value for name, value in state.items() if name != "states"})
    with pytest.raises(CheckpointError, match=r"holds a tensor 'momentum'"):
        array.load_state(state | {"momentum": torch.zeros(1)})


def test_a_state_of_other_formats_is_refused() -> None:
    array, narrow = made(Dense(30, 12)), made(Dense(30, 12), "weight_headroom=1")
    assert array.formats.weight != narrow.formats.weight
    before = narrow.state()
    with pytest.raises(CheckpointError, match=r"saved in other formats than this array's"):
        narrow.load_state(array.state())
    assert all(torch.equal(value, before[name]) for name, value in narrow.state().items())
