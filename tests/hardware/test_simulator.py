"""What the simulator is told of a profile: aihwkit's own presets where there are some, and every key has an effect."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from aihwkit.simulator import presets
from aihwkit.simulator.configs import FloatingPointRPUConfig, SingleRPUConfig, UnitCellRPUConfig
from aihwkit.simulator.configs.compounds import OneSidedUnitCell, VectorUnitCell
from aihwkit.simulator.configs.devices import PulsedDevice

from scff_hw.backends.analog.tiles import TileGrid
from scff_hw.hardware import load_profile
from scff_hw.hardware.simulator import rpu_config

PRESETS = {
    "ideal": presets.IdealizedPreset,
    "gokmen-vlasov": presets.GokmenVlasovPreset,
    "reram-es": presets.ReRamESPreset,
    "reram-sb": presets.ReRamSBPreset,
    "capacitor": presets.CapacitorPreset,
    "ecram": presets.EcRamPreset,
    "ecram-mo": presets.EcRamMOPreset,
    "pcm": presets.PCMPreset,
}
OURS = {"construction_seed", "apply_write_noise_on_set"}


def assert_same(ours: Any, theirs: Any) -> None:
    for name in (field.name for field in fields(theirs) if field.name not in OURS):
        found, wanted = getattr(ours, name), getattr(theirs, name)
        if isinstance(wanted, float) or isinstance(found, float):
            assert found == pytest.approx(wanted, rel=1e-9), name
        elif name not in ("drift",):
            assert found == wanted, name


@pytest.mark.parametrize("name", PRESETS)
def test_a_shipped_profile_has_the_figures_of_its_preset(name: str) -> None:
    ours, theirs = rpu_config(load_profile(name), 1), PRESETS[name]()
    assert_same(ours.forward, theirs.forward)
    assert_same(ours.update, theirs.update)
    if name != "pcm":
        assert ours.device.bindings_class == theirs.device.bindings_class
        assert_same(ours.device, theirs.device)
        return
    assert isinstance(ours.device, OneSidedUnitCell)
    for mine, wanted in zip(ours.device.unit_cell_devices, theirs.device.unit_cell_devices, strict=True):
        assert_same(mine, wanted)
    for key in ("refresh_every", "units_in_mbatch", "refresh_upper_thres", "refresh_lower_thres"):
        assert getattr(ours.device, key) == getattr(theirs.device, key)
    assert_same(ours.device.refresh_forward, theirs.device.refresh_forward)
    assert_same(ours.device.refresh_update, theirs.device.refresh_update)


def test_perfect_reads_of_an_exact_device_are_a_floating_point_tile() -> None:
    assert isinstance(rpu_config(load_profile("exact"), 0), FloatingPointRPUConfig)
    noisy = rpu_config(load_profile("exact", ["periphery={output_noise: 0.1 w}"]), 0)
    assert isinstance(noisy, SingleRPUConfig) and not isinstance(noisy.device, PulsedDevice)
    assert noisy.forward.out_noise == 0.1
    forgetful = rpu_config(load_profile("exact", ["device.retention.lifetime=100 batches"]), 0)
    assert forgetful.device.lifetime == 100


def test_cells_are_pairs_of_devices_of_their_own() -> None:
    config = rpu_config(load_profile("ecram", ["array.cell=random-pair"]), 5)
    assert isinstance(config, UnitCellRPUConfig) and isinstance(config.device, VectorUnitCell)
    first, second = (device.construction_seed for device in config.device.unit_cell_devices)
    assert 0 < first != second > 0


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 2, 2**31 - 1, 2**63 - 1])
def test_a_seed_is_never_the_one_that_means_unseeded(seed: int) -> None:
    config = rpu_config(load_profile("ideal"), seed)
    assert 0 < config.device.construction_seed < 2**31


@pytest.mark.parametrize(
    ("override", "part", "name", "value"),
    [
        ("periphery.dac_bits=null", "forward", "inp_res", -1.0),
        ("periphery.adc_bits=6 bit", "forward", "out_res", 1 / 62),
        ("periphery.adc_range=12 w", "forward", "out_bound", 12.0),
        ("periphery.read_noise=0.02 w", "forward", "w_noise", 0.02),
        ("periphery.input_noise=0.01 w", "forward", "inp_noise", 0.01),
        ("learning.max_pulses=5 pulses", "update", "desired_bl", 5),
        ("learning.weight_scaling_omega=0.6 w", "mapping", "weight_scaling_omega", 0.6),
        ("device.response.write_noise=0.01 w", "device", "write_noise_std", 5.0),
        ("device.retention.diffusion=0.001 w", "device", "diffusion", 0.001),
        ("device.defects.stuck=3 %", "device", "corrupt_devices_prob", 0.03),
    ],
)
def test_a_key_reaches_the_simulator(override: str, part: str, name: str, value: float) -> None:
    config = rpu_config(load_profile("ecram", [override]), 1)
    assert getattr(getattr(config, part), name) == pytest.approx(value)


@pytest.mark.parametrize("bits", [2, 3, 7])
def test_converters_of_few_bits_have_the_codes_that_the_readme_says(bits: int) -> None:
    """Codes from -(2^(bits - 1) - 1) to 2^(bits - 1) - 1 over the full range; the fewest bits still give a sign."""
    quiet = ["periphery.output_noise=0 w", "periphery.noise_management=none", "periphery.bound_management=none"]
    sweep = torch.linspace(-1, 1, 2001).unsqueeze(1)
    top = 2 ** (bits - 1) - 1
    for converter in ("dac_bits=BITS bit periphery.adc_bits=null", "adc_bits=BITS bit periphery.dac_bits=null"):
        given = f"periphery.{converter}".replace("BITS", str(bits)).replace(" periphery", "|periphery").split("|")
        profile = load_profile("exact", ["periphery.perfect=false", "periphery.adc_range=1 w", *quiet, *given])
        outputs = TileGrid(torch.ones(1, 1), profile, 0, "a").mvm(sweep)
        assert sorted({round(value * top) for value in outputs.flatten().tolist()}) == list(range(-top, top + 1))


def test_wires_are_given_as_the_ratio_that_the_simulator_wants() -> None:
    wires = ["device.g_max=5 uS", "device.g_min=1 uS", "periphery.wire_resistance=0.35 ohm"]
    io = rpu_config(load_profile("ecram", wires), 1).forward
    assert (io.ir_drop, io.ir_drop_g_ratio) == (1.0, pytest.approx(1 / 0.35 / 5e-6))
