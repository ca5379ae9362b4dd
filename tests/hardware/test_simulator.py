"""Simulator settings of a profile: equal to aihwkit's presets where they exist, and every key has an effect."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from aihwkit.simulator import presets
from aihwkit.simulator.configs import FloatingPointRPUConfig, SingleRPUConfig, UnitCellRPUConfig
from aihwkit.simulator.configs.compounds import OneSidedUnitCell, VectorUnitCell
from aihwkit.simulator.configs.devices import PulsedDevice
from aihwkit.simulator.parameters.enums import PulseType
from aihwkit.simulator.parameters.io import IOParameters
from aihwkit.simulator.parameters.training import UpdateParameters

from scff_hw.backends.analog.tiles import TileGrid
from scff_hw.hardware import load_profile
from scff_hw.hardware.schema import Device
from scff_hw.hardware.simulator import pulsed_device, rpu_config

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


@pytest.mark.parametrize("asymmetry", [0.3, -0.3])
@pytest.mark.parametrize("model", ["constant-step", "linear-step", "soft-bounds", "exp-step"])
def test_simulated_steps_are_those_of_the_table_in_the_readme(model: str, asymmetry: float) -> None:
    """hardware_profiles/README.md: s (1 + b) up and s (1 - b) down at weight 0; noise and spread are of that step."""
    keys = {
        "linear-step": {"gamma_up": 0.3, "gamma_down": 0.6},
        "exp-step": {"a_up": 0.2, "a_down": 0.4, "gamma_up": 1.0, "gamma_down": 2.0, "slope": 1.0, "offset": 0.0},
    }.get(model, {})
    response = {"step": "0.01 w", "asymmetry": f"{100 * asymmetry} %", **keys}
    noise = {"cycle_to_cycle": "20 %"} | ({} if model == "constant-step" else {"write_noise": "0.004 w"})
    share = {"up": 0.8, "down": 0.6} if model == "exp-step" else {"up": 1.0, "down": 1.0}
    for up, size in ((True, 0.01 * (1 + asymmetry) * share["up"]), (False, 0.01 * (1 - asymmetry) * share["down"])):
        exact = changes(Device.model_validate({"model": model, "response": response}), up)
        np.testing.assert_allclose(exact, size if up else -size, rtol=1e-4)
        noisy = changes(Device.model_validate({"model": model, "response": response | noise}), up)
        written = 0.0 if model == "constant-step" else 0.004
        assert noisy.std() == pytest.approx(np.hypot(0.2 * size, written), rel=0.05)
        spread = Device.model_validate({"model": model, "response": response, "device_to_device": {"step": "10 %"}})
        assert changes(spread, up).std() == pytest.approx(0.1 * 0.01 * share["up" if up else "down"], rel=0.05)


def changes(device: Device, up: bool) -> np.ndarray[Any, Any]:
    """Change of 10 000 devices by one pulse at weight 0."""
    config = SingleRPUConfig(
        device=pulsed_device(device, 3),
        forward=IOParameters(is_perfect=True),
        update=UpdateParameters(
            desired_bl=1,
            update_management=False,
            update_bl_management=False,
            pulse_type=PulseType.DETERMINISTIC_IMPLICIT,
        ),
    )
    tile: Any = config.tile_class(100, 100, config, bias=False)
    tile.set_weights(torch.zeros(100, 100))
    tile.set_learning_rate(1e3)
    tile.update(torch.ones(1, 100), torch.ones(1, 100) * (-1 if up else 1))
    return tile.get_weights()[0].numpy().astype(float)


def test_states_are_counted_by_steps_at_weight_0() -> None:
    curves = {"a_up": 0.9, "a_down": 0.9, "gamma_up": 1.0, "gamma_down": 1.0, "slope": 1.0, "offset": 0.0}
    device = Device.model_validate({"model": "exp-step", "response": {"step": "0.1 w", **curves}})
    assert device.states == pytest.approx(200)
