"""Costs on digital targets: comparison with manual calculations, and properties of any network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scff_hw.data import NAMES, info, load
from scff_hw.errors import UsageError
from scff_hw.hardware import Target, load_target
from scff_hw.hardware.costs import (
    Formats,
    Need,
    layer_to_infer,
    layer_to_learn,
    on_target,
    stored_bytes,
    to_backpropagate,
    to_infer,
    to_learn,
)
from scff_hw.hardware.workload import LayerWork, Workload, workload
from scff_hw.recipes import load_recipe
from scff_hw.training import recipe_costs


@dataclass(frozen=True)
class NumberFormats:
    """Formats of any width; by default those of a recipe."""

    weight_bits: int = 8
    activation_bits: int = 8
    shadow_bits: int = 16
    error_bits: int = 8
    accumulator_bits: int = 32


DEFAULT = NumberFormats()


def network(name: str, *overrides: str) -> Workload:
    return workload(load_recipe(name, overrides))


def test_a_value_takes_the_next_of_one_two_and_four_bytes() -> None:
    assert [stored_bytes(bits) for bits in (0, 1, 8, 9, 16, 17, 32)] == [0, 1, 1, 2, 2, 4, 4]
    for bits in (-1, 33):
        with pytest.raises(UsageError, match=f"must have from 0 to 32 bits, got {bits}"):
            stored_bytes(bits)


def test_a_dense_layer_by_hand() -> None:
    """mnist-500: 784 inputs, 500 units, 10 classes, batches of 100."""
    found = network("mnist-500")
    assert found == Workload((LayerWork(1, 500, 784, 1, 784, 500, 500, 1, 1, True),), 500, 10, 100)
    assert to_infer(found, DEFAULT) == Need(
        flash_bytes=(392_000 + 2_000) + (5_000 + 40),
        ram_bytes=(784 + 1_000 + 500) + 500 + 40,
        macs=392_000 + 5_000,
    )
    weights = 3 * 392_000 + 2_000
    for batch, buffers in ((100, 100 * (784 + 1_000 + 500) + 3_136), (2, 2 * (784 + 1_000 + 500) + 3_136)):
        assert to_learn(found, DEFAULT, batch) == Need(
            flash_bytes=399_040,
            ram_bytes=weights + buffers,
            moved_bytes=394_000,
            macs=392_000,
            outer_macs=392_000,
            weight_writes=392_000 / batch,
        )
    assert to_backpropagate(found, DEFAULT, 100) == Need(
        flash_bytes=399_040,
        ram_bytes=weights + (15_000 + 40) + 100 * (784 + 1_000 + 500) + 100 * (500 + 500) + 3_136,
        moved_bytes=399_040,
        macs=397_000 + 5_000,
        outer_macs=397_000,
        weight_writes=3_970.0,
    )


def test_convolutions_by_hand() -> None:
    """cifar10-cnn: 3 x 32 x 32 into 96, 384, 1536 channels; the second layer takes two streams."""
    found = network("cifar10-cnn")
    assert found.layers == (
        LayerWork(1, 96, 75, 1_024, 3_888, 24_576, 6_144, 1, 1_024, True),
        LayerWork(2, 384, 864, 256, 31_104, 24_576, 6_144, 2, 256, True),
        LayerWork(3, 1_536, 3_456, 64, 38_400, 24_576, 6_144, 1, 64, True),
    )
    macs = (7_372_800, 84_934_656, 339_738_624)
    assert tuple(layer.macs for layer in found.layers) == macs
    infer = to_infer(found, DEFAULT)
    assert infer.flash_bytes == (7_200 + 384) + (331_776 + 1_536) + (5_308_416 + 6_144) + (184_320 + 40)
    assert infer.ram_bytes == (38_400 + 196_608 + 24_576) + 18_432 + 40
    assert infer.macs == sum(macs) + 184_320
    learn = to_learn(found, DEFAULT, 100)
    weights = 3 * (7_200 + 331_776 + 5_308_416) + 4 * (96 + 384 + 1_536)
    second = 2 * (100 * (31_104 + 3 * 98_304) + (3_888 + 196_608 + 24_576)) + 4 * 864
    assert learn.ram_bytes == weights + second
    assert learn.macs == macs[0] + (macs[0] + 2 * macs[1]) + (macs[0] + 2 * macs[1] + macs[2])
    assert learn.outer_macs == macs[0] + 2 * macs[1] + macs[2]
    assert learn.weight_writes == pytest.approx((7_200 + 331_776 + 5_308_416) / 100)
    back = to_backpropagate(found, DEFAULT, 100)
    kept = (3_888 + 31_104 + 38_400) + 3 * 196_608 + 18_432
    errors = 18_432 + (98_304 + 38_400)
    assert back.ram_bytes == weights + (3 * 184_320 + 40) + 100 * (kept + errors) + 4 * 18_432
    assert back.macs == 2 * (sum(macs) + 184_320) - macs[0]


def test_each_layer_by_hand() -> None:
    found = network("cifar10-cnn")
    second = found.layers[1]
    assert layer_to_infer(second, DEFAULT) == Need(333_312, 31_104 + 196_608 + 24_576, macs=84_934_656)
    learn = layer_to_learn(found, second, DEFAULT, 2)
    assert learn.ram_bytes == 3 * 331_776 + 1_536 + 2 * (2 * (31_104 + 3 * 98_304) + 225_072) + 3_456
    assert (learn.macs, learn.outer_macs) == (7_372_800 + 169_869_312, 169_869_312)


def test_formats_by_hand() -> None:
    """Four-bit weights take a byte; without shadow weights each row has 4 bytes of random state."""
    found = network("mnist-500")
    formats = NumberFormats(weight_bits=4, activation_bits=12, shadow_bits=0, error_bits=16, accumulator_bits=24)
    assert to_infer(found, formats).ram_bytes == (2 * 784 + 1_000 + 1_000) + 1_000 + 40
    assert to_learn(found, formats, 2).ram_bytes == 392_000 + 2_000 + 2_000 + 2 * (1_568 + 500 * 4) + 3_136


def test_what_a_recipe_changes() -> None:
    plain = network("mnist-500").layers[0]
    assert network("mnist-500", "augmentation.two_views=true").layers[0] == replace(plain, rows=2)
    assert network("mnist-500", "layers.1.learn.epochs=0").layers[0] == replace(plain, learns=False)
    assert network("mnist-500", "training.rule.name=forward-forward").layers[0] == replace(plain, rows=2)
    few = network("mnist-cnn", "training.update_positions=7").layers[0]
    assert few.outer_macs == 192 * 81 * 7 and few.macs == 192 * 81 * 400
    with pytest.raises(UsageError, match="did you mean 'scff'"):
        network("mnist-500", "training.rule.name=sff")
    # what the readout does not read is not shipped
    assert len(network("digits-mlp", "readout.layers=[1]").layers) == 1


def test_a_layer_that_does_not_learn_stays_in_flash() -> None:
    found = network("mnist-500", "layers.1.learn.epochs=0")
    assert to_learn(found, DEFAULT, 100) == replace(to_infer(found, DEFAULT), macs=0)
    assert layer_to_learn(found, found.layers[0], DEFAULT, 100).ram_bytes == 0


def test_batches_too_small_are_refused() -> None:
    found = network("mnist-500")
    with pytest.raises(UsageError, match="at least 2 samples to form a negative pair, got 1"):
        to_learn(found, DEFAULT, 1)
    with pytest.raises(UsageError, match="at least 1 sample, got 0"):
        to_backpropagate(found, DEFAULT, 0)


def chip(**changes: str) -> Target:
    """A Cortex-M4 with round numbers."""
    figures = {
        "memory.flash": "1024 B",
        "memory.flash_reserved": "24 B",
        "memory.ram": "512 B",
        "memory.ram_reserved": "12 B",
        "compute.clock": "1 MHz",
        "compute.cycles_per_mac": "2 cycles",
        "compute.cycles_per_outer_mac": "5 cycles",
        "compute.cycles_per_weight_write": "10 cycles",
        "energy.per_cycle": "1 nJ",
    }
    return load_target("cortex-m4", [f"{key}={value}" for key, value in (figures | changes).items()])


def test_time_energy_and_what_is_missing_by_hand() -> None:
    found = on_target(Need(1_000, 500, 0, macs=300, outer_macs=100, weight_writes=2.5), chip())
    assert (found.fits, found.flash_missing_bytes, found.ram_missing_bytes) == (True, 0, 0)
    assert found.time_s == pytest.approx((300 * 2 + 100 * 5 + 2.5 * 10) * 1e-6)
    assert found.energy_joule == pytest.approx((300 * 2 + 100 * 5 + 2.5 * 10) * 1e-9)
    for need, missing in ((Need(1_001, 500), (1, 0)), (Need(1_000, 507), (0, 7))):
        found = on_target(need, chip())
        assert (found.flash_missing_bytes, found.ram_missing_bytes) == missing and not found.fits


def test_energies_given_one_by_one() -> None:
    asic = load_target("asic-int8")
    found = on_target(Need(0, 0, macs=1_000, outer_macs=100, weight_writes=10), asic)
    assert found.energy_joule == pytest.approx(1_000 * 2.8e-12 + 100 * 10.3e-12 + 10 * 20.8e-12)
    assert found.time_s == pytest.approx((1_000 / 64 + 100 / 16 + 10 / 16) / 200e6)


def test_without_flash_constants_are_in_ram_once() -> None:
    bare = chip(**{"memory.flash": "0 B", "memory.flash_reserved": "0 B"})
    found = on_target(Need(400, 200, moved_bytes=300), bare)
    assert (found.flash_bytes, found.ram_bytes, found.fits) == (0, 300, True)
    assert on_target(Need(400, 200), bare).ram_missing_bytes == 100


class Sixteen:
    """The same fields as the section `fixed_point` of a recipe."""

    weight_bits, activation_bits, shadow_bits, error_bits, accumulator_bits = 16, 8, 32, 8, 32


def test_formats_of_any_object_that_has_them() -> None:
    formats: Formats = Sixteen()
    assert to_learn(network("mnist-500"), formats, 2).ram_bytes == 392_000 * 6 + 2_000 + 2 * 2_284 + 3_136


def test_a_recipe_s_costs_name_their_formats_and_batches() -> None:
    target = load_target("cortex-m4")
    found = recipe_costs(load_recipe("digits-100"), target)
    assert found["formats"]["shadow_bits"] == 16
    assert [cost["batch_size"] for cost in found["learning"]] == [100, 2]
    assert found["learning"][0]["ram_bytes"] == 3 * 6_400 + 400 + 100 * (64 + 300) + 256
    assert found["learning"][0]["fits"] and found["learning"][0]["macs"] == 12_800
    assert found["inference"]["time_s"] == pytest.approx(7_400 * 2.65 / 80e6)
    two = recipe_costs(load_recipe("digits-100", ["training.batch_size=2"]), target)
    assert [cost["batch_size"] for cost in two["learning"]] == [2]


def test_classes_are_those_of_the_data() -> None:
    assert all(info(name).has_recordings == (name == "fsdd") and info(name).classes for name in NAMES)
    for name in ("digits", "iris"):
        assert info(name).classes == len(load(name).classes)


BITS = st.integers(1, 32)
FORMATS = st.builds(NumberFormats, BITS, BITS, st.integers(0, 32), BITS, BITS)
KEYS = ("weight_bits", "activation_bits", "shadow_bits", "error_bits", "accumulator_bits")


@st.composite
def networks(draw: st.DrawFn) -> Workload:
    layers = []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        outputs, fan_in, positions, inputs, passed, features = (draw(st.integers(1, 50)) for _ in range(6))
        rows, chosen, learns = draw(st.integers(1, 2)), draw(st.integers(1, positions)), draw(st.booleans())
        layers.append(LayerWork(number, outputs, fan_in, positions, inputs, passed, features, rows, chosen, learns))
    return Workload(tuple(layers), sum(layer.features for layer in layers), draw(st.integers(2, 10)), 10)


def needs(network: Workload, formats: NumberFormats, batch: int) -> list[Need]:
    learn, back = to_learn(network, formats, batch), to_backpropagate(network, formats, batch)
    return [to_infer(network, formats), learn, back]


@given(networks(), FORMATS, st.sampled_from(KEYS), st.integers(2, 64))
def test_wider_numbers_never_take_less(network: Workload, formats: NumberFormats, key: str, batch: int) -> None:
    narrow = replace(formats, **{key: max(1, getattr(formats, key))})
    wide = replace(narrow, **{key: 32})
    for less, more in zip(needs(network, narrow, batch), needs(network, wide, batch), strict=True):
        assert less.flash_bytes <= more.flash_bytes and less.ram_bytes <= more.ram_bytes
        assert (less.macs, less.outer_macs) == (more.macs, more.outer_macs)


@given(networks(), FORMATS, st.data(), st.integers(2, 64))
def test_more_units_always_take_more(
    network: Workload, formats: NumberFormats, data: st.DataObject, batch: int
) -> None:
    index = data.draw(st.integers(0, len(network.layers) - 1))
    layers = list(network.layers)
    layers[index] = replace(layers[index], outputs=layers[index].outputs + 1)
    larger = replace(network, layers=tuple(layers))
    for less, more in zip(needs(network, formats, batch), needs(larger, formats, batch), strict=True):
        assert less.flash_bytes < more.flash_bytes
        assert less.ram_bytes <= more.ram_bytes
    assert to_infer(network, formats).macs < to_infer(larger, formats).macs
    if layers[index].learns:
        assert to_learn(network, formats, batch).ram_bytes < to_learn(larger, formats, batch).ram_bytes


@given(networks(), FORMATS, st.integers(2, 64))
def test_a_larger_batch_takes_more_ram_and_fewer_writes(network: Workload, formats: NumberFormats, batch: int) -> None:
    less, more = to_learn(network, formats, batch), to_learn(network, formats, batch + 1)
    assert less.ram_bytes <= more.ram_bytes and less.flash_bytes == more.flash_bytes
    assert less.weight_writes * batch == pytest.approx(more.weight_writes * (batch + 1))
    assert to_infer(network, formats).ram_bytes <= less.ram_bytes


@given(networks(), FORMATS, st.integers(2, 64))
def test_layers_add_up(network: Workload, formats: NumberFormats, batch: int) -> None:
    learn = to_learn(network, formats, batch)
    each = [layer_to_learn(network, layer, formats, batch) for layer in network.layers]
    assert learn.macs == sum(need.macs for need in each)
    assert learn.outer_macs == sum(need.outer_macs for need in each)
    assert learn.ram_bytes >= max(need.ram_bytes for need in each)
    assert to_infer(network, formats).flash_bytes > sum(need.flash_bytes for need in each)
