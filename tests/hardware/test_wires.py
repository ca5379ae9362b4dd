"""Wires of a tile: nodal analysis compared with ngspice, programmed weights, and refusal in learning."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from scff_hw.backends import Dense, Optimisation
from scff_hw.backends.analog import AnalogBackend
from scff_hw.backends.analog.programmed import ProgrammedArray
from scff_hw.errors import UsageError
from scff_hw.export.crossbar.spice import netlist, simulate
from scff_hw.hardware import Profile, load_profile
from scff_hw.hardware.wires import with_wires
from scff_hw.studies import request_study

WIRES = ["device.g_min=5 uS", "device.g_max=100 uS", "periphery.wire_resistance=20 ohm"]
EVEN = ["device.device_to_device={w_min: 0 %, w_max: 0 %}", "array.rows=null", "array.columns=null"]
QUIET = ["periphery.output_noise=0 w", "periphery.dac_bits=null", "periphery.adc_bits=null"]


@pytest.fixture(scope="module", autouse=True)
def ngspice() -> None:
    assert shutil.which("ngspice"), "ngspice is not installed"


def programmed(profile: Profile, outputs: int, inputs: int) -> ProgrammedArray:
    weight = torch.rand(outputs, inputs, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return ProgrammedArray(weight, torch.zeros(outputs), Dense(inputs, outputs), profile, 0, "layers.1")


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (1, 3), (3, 1)])
@pytest.mark.parametrize("ohm", [0.5, 300.0])
def test_a_tile_with_wires_is_that_of_ngspice(shape: tuple[int, int], ohm: float) -> None:
    draw = np.random.default_rng(0)
    plus, minus = draw.uniform(1e-6, 1e-4, (2, *shape))
    volts = draw.uniform(-0.2, 0.2, shape[0])
    cells = np.stack([plus, minus], axis=2).reshape(shape[0], -1)
    currents = (volts @ with_wires(cells, ohm)).reshape(-1, 2)
    expected = simulate(netlist(plus, minus, volts, ohm, ohm), shape[1])
    # ngspice solves to a relative tolerance of 1e-6 of node voltages
    np.testing.assert_allclose(currents[:, 0] - currents[:, 1], expected, rtol=1e-5, atol=1e-9 * 0.2 * 1e-4)
    if ohm == 0.5:
        np.testing.assert_allclose(with_wires(cells, 1e-4), cells, rtol=1e-5)


@pytest.mark.parametrize("cell", ["single", "one-sided-pair"])
def test_programmed_weights_are_read_through_all_wires(cell: str) -> None:
    """Positive and negative columns of an output are adjacent; the latter are references for single devices."""
    profile = load_profile("ideal", [*WIRES, *EVEN, *QUIET, f"array.cell={cell}"])
    array = programmed(profile, 6, 30)
    plain = programmed(load_profile("ideal", [*WIRES[:2], *EVEN, *QUIET, f"array.cell={cell}"]), 6, 30)
    (devices,) = array.devices
    plus = devices.conductances[0].double().numpy().T
    reference = np.full_like(plus, (5e-6 + 100e-6) / 2)
    minus = reference if cell == "single" else devices.conductances[1].double().numpy().T
    x = torch.rand(1, 30, generator=torch.Generator().manual_seed(1))
    expected = simulate(netlist(plus, minus, x[0].double().numpy(), 20.0, 20.0), 6)
    # conductances of 47.5 uS a weight of 1; the scale is that of the largest weight
    found = array.mvm(x)[0].double().numpy() / array.grid.scales()[0][0] * 47.5e-6
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)
    lost = float((array.mvm(x) - plain.mvm(x)).abs().max() / plain.mvm(x).abs().max())
    assert lost > 0.05  # aihwkit's own model of output lines loses far less here


def test_perfect_reads_have_no_wires() -> None:
    perfect = [*WIRES, *EVEN, "periphery.perfect=true"]
    found, plain = programmed(load_profile("ideal", perfect), 3, 4), programmed(load_profile("ideal", EVEN), 3, 4)
    torch.testing.assert_close(found.weight, plain.weight, rtol=1e-4, atol=1e-5)


def test_wires_that_no_model_describes_are_refused() -> None:
    single = load_profile("ideal", WIRES)
    with pytest.raises(UsageError, match=r"must be 0 ohm where array.cell is single: .* Got 20 ohm in 'ideal' instead"):
        AnalogBackend(single).array(torch.zeros(2, 3), torch.zeros(2), Dense(3, 2), Optimisation("sgd", 0.1))
    with pytest.raises(UsageError, match=r"must be single or one-sided-pair\. Got 'random-pair' in 'ideal' instead"):
        programmed(load_profile("ideal", [*WIRES, "array.cell=random-pair"]), 2, 3)
    sgd = ["layers.*.learn.optimiser=sgd", "layers.*.learn.weight_decay=0"]
    with pytest.raises(UsageError, match=r"must be 0 ohm where array.cell is single"):
        request_study("noise", "iris-mlp", profile="pcm", overrides=sgd, vary=["array={cell: single}", WIRES[2]])
    pairs = load_profile("pcm", WIRES[2:])
    AnalogBackend(pairs).array(torch.zeros(2, 3), torch.zeros(2), Dense(3, 2), Optimisation("sgd", 0.1))
