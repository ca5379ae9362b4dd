"""Calibration: the formats that a network gets, their file, and what is refused on the way."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from scff_hw.backends import Dense, FloatBackend, Optimisation, make_backend
from scff_hw.backends.fixed import Calibration, FixedBackend, LayerFormats, QFormat, calibrate
from scff_hw.backends.fixed.formats.document import dump_formats
from scff_hw.backends.fixed.formats.formats import FRAC_RANGE, check_sums, fraction_bits, power_of_two
from scff_hw.core.layer import PairLayer
from scff_hw.core.network import Network
from scff_hw.core.pairs import Stream
from scff_hw.core.rules import SCFF
from scff_hw.data import load
from scff_hw.errors import CheckpointError, RecipeError, UsageError
from scff_hw.hardware import load_profile
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training.build import untrained_weights
from scff_hw.training.calibration import calibrated_backend, load_formats
from scff_hw.training.run_context import plain_samples

CONV = (
    "layers=[{kind: conv2d, channels: 8, kernel: 3, padding: 1, init: xavier, pairs: made, "
    "pool: {kind: max, size: 2, stride: 2}, "
    "learn: {epochs: 1, optimiser: sgd, learning_rate: 1.0, theta_pos: 1, theta_neg: 2}}]"
)


def recipe(*overrides: str) -> Recipe:
    return load_recipe("digits-100", list(overrides))


def calibrated(run_recipe: Recipe, learning: bool = True) -> tuple[FixedBackend, Calibration]:
    samples = plain_samples(run_recipe, load("digits"), "train")
    backend = calibrated_backend(run_recipe, untrained_weights(run_recipe, 0), samples, 0, learning=learning)
    assert backend.calibration is not None
    return backend, backend.calibration


def test_formats_hold_what_was_seen() -> None:
    backend, found = calibrated(recipe())
    ranges = {each.tensor: each for each in found.ranges}
    assert set(ranges) == {
        "input", "standardised", "pre_activation", "output", "transmitted", "error", "feature", "weight",
    }  # fmt: skip
    form = backend.formats["layers.1"]
    assert set(backend.formats) == {"layers.1"}
    for name in ("input", "standardised", "pre_activation", "output", "transmitted", "error", "feature", "weight"):
        each, chosen = ranges[name], getattr(form, name)
        assert (each.bits, each.frac) == (chosen.bits, chosen.frac)
        assert each.holds == chosen.top * 2.0**-chosen.frac_bits
        assert 0.12 < each.used < 8 and each.clipped < 0.02, f"{name} uses {each.used:.2f} of its range"
    assert ranges["input"].largest == 1.0 and form.input == QFormat(8, 6)
    assert 1 / 8 < ranges["weight"].used <= 1 / 4, "a quarter of the range, or an eighth, before it learns"
    assert (form.weight.bits, form.stored.bits) == (8, 16)
    assert form.stored.frac_bits == form.weight.frac_bits + 8
    assert form.accumulator.frac_bits == form.weight.frac_bits + form.standardised.frac_bits
    assert form.bias.frac_bits == form.accumulator.frac_bits + 8
    assert form.gradient.frac_bits == form.error.frac_bits + form.standardised.frac_bits


def test_weights_that_do_not_learn_fill_their_range() -> None:
    _, found = calibrated(recipe(), learning=False)
    weight = next(each for each in found.ranges if each.tensor == "weight")
    assert 0.5 < weight.used <= 1 and weight.clipped == 0


@pytest.mark.parametrize(
    "overrides", [(), (CONV,), (CONV, "training.update_positions=4")], ids=["dense", "conv", "few"]
)
def test_errors_are_sized_for_one_update(overrides: tuple[str, ...]) -> None:
    """An error is a mean over the batch and the positions it learns from, not over the samples calibrated on."""
    formats = {
        batches: calibrated(recipe(*overrides, f"fixed_point.calibration_batches={batches}"))[0].formats["layers.1"]
        for batches in (1, 14)
    }
    assert formats[1].error == formats[14].error
    halved = calibrated(recipe(*overrides, "training.batch_size=50"))[0].formats["layers.1"]
    assert halved.error.frac_bits == formats[14].error.frac_bits - 1
    if "training.update_positions=4" in overrides:
        every = calibrated(recipe(CONV))[0].formats["layers.1"]
        assert formats[14].error.frac_bits == every.error.frac_bits - 4, "64 positions to 4 are a factor of 16"


@pytest.mark.parametrize("overrides", [(), (CONV,)], ids=["dense", "conv"])
def test_a_later_layer_reads_what_the_one_before_passes_on(overrides: tuple[str, ...]) -> None:
    first = recipe(*overrides).layers[0]
    second = replace_layer(first) if first.kind == "dense" else first.model_copy(update={"pairs": "passed"})
    run_recipe = recipe(*overrides).model_copy(update={"layers": (first, second)})
    formats = calibrated(run_recipe)[0].formats
    assert formats["layers.2"].input == formats["layers.1"].transmitted
    assert formats["layers.1"].feature == formats["layers.2"].feature, "the readout reads both at one scale"


def replace_layer(layer: Any) -> Any:
    return layer.model_copy(update={"units": 30, "pairs": "passed"})


def test_scales_can_differ_by_channel() -> None:
    form = calibrated(recipe("fixed_point.weight_scales=channel"))[0].formats["layers.1"]
    assert isinstance(form.weight.frac, tuple) and len(form.weight.frac) == 100
    assert isinstance(form.accumulator.frac, tuple) and isinstance(form.bias.frac, tuple)
    assert form.stored.fracs == tuple(frac + 8 for frac in form.weight.frac)


def test_a_given_scale_of_weights_is_taken() -> None:
    assert calibrated(recipe("fixed_point.weight_scale=0.0078125"))[0].formats["layers.1"].weight == QFormat(8, 7)


@pytest.mark.parametrize(
    ("largest", "bits", "frac"), [(1.0, 8, 6), (127 / 128, 8, 7), (0.0, 8, 0), (1e-30, 8, FRAC_RANGE[1]), (3.0, 2, -2)]
)
def test_fraction_bits_are_the_most_that_hold_a_value(largest: float, bits: int, frac: int) -> None:
    assert fraction_bits(largest, bits) == frac


def test_a_scale_must_be_a_power_of_two() -> None:
    assert [power_of_two(scale) for scale in (1.0, 0.25, 8.0)] == [0, 2, -3]
    with pytest.raises(UsageError, match=r"Got 0.003 instead; the nearest are 0.00195312 and 0.00390625"):
        power_of_two(0.003)
    with pytest.raises(UsageError, match=r"must be a power of two, which a shift can apply. Got -1 instead\.$"):
        power_of_two(-1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fixed_point.weight_scale=0.003"], "weight_scale must be a power of two, such as 0.00195312 or 0.00390625"),
        (["fixed_point.weight_scale=0.5", "fixed_point.weight_scales=channel"], "weight_scale must be null with"),
        (["fixed_point.weight_bits=1"], "fixed_point.weight_bits: .*an integer >= 2 and <= 8, got 1"),
        (["fixed_point.weight_bits=9"], "fixed_point.weight_bits: .*an integer >= 2 and <= 8, got 9"),
        (["fixed_point.activation_bits=3"], "fixed_point.activation_bits: .*an integer >= 4 and <= 8, got 3"),
        (["fixed_point.error_bits=17"], "fixed_point.error_bits: .*an integer >= 4 and <= 16, got 17"),
        (["fixed_point.accumulator_bits=33"], "fixed_point.accumulator_bits: .*>= 16 and <= 32, got 33"),
        (["fixed_point.shadow_bits=12"], "fixed_point.shadow_bits: .*0, 8, 16, 32.*got 12"),
        (["fixed_point.weight_bits=eight"], "fixed_point.weight_bits: .*got 'eight'"),
        (["fixed_point.rounding=half_odd"], "half_even.*half_up.*got 'half_odd'"),
        (["fixed_point.weight_bit=8"], "unknown key 'fixed_point.weight_bit'.*did you mean 'weight_bits'"),
    ],
)
def test_formats_out_of_range_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as found:
        recipe(*overrides)
    assert re.search(message, " ".join(str(found.value).split())), found.value


def test_a_shadow_narrower_than_the_weights_cannot_be_asked_for() -> None:
    """Weights have 8 bits at most, which the narrowest shadow has too."""
    assert recipe("fixed_point.shadow_bits=8", "fixed_point.weight_bits=8").fixed_point.shadow_bits == 8


BITS = r"An accumulator of (\d+) bits cannot hold (.*) at layers.1; it needs (\d+) bits"


@pytest.mark.parametrize(
    ("overrides", "width", "what"),
    [
        ((), 16, "64 products of 8 by 8 bits and a bias"),
        ((CONV,), 24, r"the 6400 products of 8 by 8 bits of an update"),
        (
            (CONV, "fixed_point.error_bits=16", "training.batch_size=4"),
            29,
            "the 256 products of 16 by 8 bits of an update",
        ),
    ],
)
def test_an_accumulator_too_narrow_names_the_bits_that_do(overrides: tuple[str, ...], width: int, what: str) -> None:
    def narrow(bits: int) -> FixedBackend:
        return calibrated(recipe(*overrides, f"fixed_point.accumulator_bits={bits}"))[0]

    asked = width
    while True:  # the MVM's sum first, then the update's
        with pytest.raises(UsageError, match=BITS) as found:
            narrow(asked)
        match = re.search(BITS, str(found.value))
        assert match is not None and int(match[1]) == asked < int(match[3])
        if re.fullmatch(what, match[2]):
            break
        asked = int(match[3])
    needed = int(match[3])
    if "update" in what:
        assert narrow(needed).formats["layers.1"].accumulator_bits == needed
        with pytest.raises(
            UsageError, match=f"of {needed - 1} bits cannot hold {what} .* needs {needed} bits; a smaller"
        ):
            narrow(needed - 1)


def test_an_update_too_wide_for_32_bits_is_refused() -> None:
    message = (
        r"An accumulator of 32 bits cannot hold the 6400 products of 16 by 8 bits of an update at layers.1; "
        r"it needs 36 bits; a smaller batch or narrower errors fit too\."
    )
    with pytest.raises(UsageError, match=message):
        calibrated(recipe(CONV, "fixed_point.error_bits=16"))
    calibrated(recipe(CONV, "fixed_point.error_bits=16", "training.batch_size=5"))
    calibrated(recipe(CONV, "fixed_point.error_bits=16"), learning=False)
    calibrated(recipe(CONV, "fixed_point.error_bits=16", "training.update_positions=4"))


def test_sums_that_just_fit_are_let_through() -> None:
    form = calibrated(recipe())[0].formats["layers.1"]
    products = 64 * 127 * 127 + (1 << 23)
    needed = products.bit_length() + 1
    check_sums("layers.1", replace(form, accumulator_bits=needed), 64, 64)
    with pytest.raises(UsageError, match=rf"it needs {needed} bits\.$"):
        check_sums("layers.1", replace(form, accumulator_bits=needed - 1), 64, 64)


def test_formats_are_read_as_they_were_written() -> None:
    for overrides in ((), ("fixed_point.weight_scales=channel", "fixed_point.shadow_bits=0")):
        run_recipe = recipe(*overrides)
        backend, found = calibrated(run_recipe)
        text = dump_formats(found)
        assert load_formats(text, run_recipe, 0, "formats.json") == backend
        ranges = json.loads(text)["ranges"]
        assert [each["tensor"] for each in ranges] == [each.tensor for each in found.ranges]


def damaged(text: str, how: str) -> str:
    document = json.loads(text)
    layer = document["layers"]["layers.1"]
    if how == "key":
        del layer["weight"]["bits"]
    elif how == "superfluous":
        layer["wieght"] = layer["weight"]
    elif how == "missing":
        del layer["error"]
    elif how == "text":
        layer["error"] = "wide"
    elif how == "type":
        layer["error"]["bits"] = "8"
    elif how == "fraction":
        layer["output"]["frac"] = [3, 4]
    elif how == "rounding":
        layer["rounding"] = "half_odd"
    elif how == "others":
        document["layers"] = {"layers.2": layer}
    elif how == "none":
        document["layers"] = {}
    elif how == "channels":
        layer["weight"]["frac"] = [5, 6, 7]
    return json.dumps(document)


@pytest.mark.parametrize(
    "how", ["key", "superfluous", "missing", "text", "type", "fraction", "rounding", "others", "none", "channels"]
)
def test_damaged_or_foreign_formats_are_refused(how: str) -> None:
    run_recipe = recipe()
    text = dump_formats(calibrated(run_recipe)[1])
    with pytest.raises(CheckpointError, match=r"(Layer layers\.\d of|The file) runs/formats\.json "):
        load_formats(damaged(text, how), run_recipe, 0, "runs/formats.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"The file runs/formats\.json is not JSON"),
        ("{", r"The file runs/formats\.json is not JSON"),
        ("[]", r"The file runs/formats\.json must be one JSON object\. Got a list instead\."),
        ("null", r"The file runs/formats\.json must be one JSON object\. Got null instead\."),
        ("{}", r"The file runs/formats\.json must hold 'layers', which is missing\."),
        ('{"layers": 3}', r"The key 'layers' in the file runs/formats\.json must be one JSON object\. Got 3 instead\."),
        ('{"layers": {"layers.1": 3}}', r"The key 'layers\.layers\.1' in the file runs/formats\.json must be one JSON"),
    ],
)
def test_a_file_of_something_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_formats(text, recipe(), 0, "runs/formats.json")


def test_formats_are_chosen_in_plain_python_too() -> None:
    """Without a recipe: a network in float, samples, and the widths."""
    draw = torch.Generator().manual_seed(0)

    def layer(inputs: int, outputs: int) -> PairLayer:
        weight: Tensor = torch.randn(outputs, inputs, generator=draw) / inputs**0.5
        array = FloatBackend().array(weight, torch.zeros(outputs), Dense(inputs, outputs), Optimisation("sgd", 0.1))
        return PairLayer(array, SCFF(1.0, 2.0), makes_pairs=True)

    network = Network([layer(20, 10), layer(10, 8)])
    found = calibrate(network, Stream(torch.randn(40, 20, generator=draw)), recipe().fixed_point, batch=20)
    assert list(found.formats) == ["layers.1", "layers.2"]
    assert all(isinstance(form, LayerFormats) for form in found.formats.values())


def test_a_profile_is_refused() -> None:
    message = "The fixed backend has no devices, so it takes no profile of them. Got 'ecram'; type: --backend analog"
    with pytest.raises(UsageError, match=re.escape(message)):
        make_backend("fixed", profile=load_profile("ecram"))
    assert isinstance(make_backend("fixed", seed=3), FixedBackend)
