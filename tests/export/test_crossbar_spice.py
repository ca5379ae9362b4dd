"""The netlist of a tile in ngspice: the digital product without wires, nodal analysis with them, aihwkit beside it."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from scff_hw.errors import ScffError, UsageError
from scff_hw.export.crossbar import spice
from scff_hw.export.crossbar.mapping import conductances
from scff_hw.export.crossbar.model import export_crossbar
from scff_hw.export.crossbar.read import load_crossbar
from scff_hw.export.crossbar.spice import netlist, simulate
from scff_hw.hardware import load_profile

from .conftest import tool
from .onnx_runs import DENSE, tiny_run

ROWS, COLUMNS = 32, 16
G_MAX = 25e-6
Floats = NDArray[np.float64]


@pytest.fixture(scope="module", autouse=True)
def ngspice() -> str:
    return tool("ngspice")


@pytest.fixture(scope="module")
def tile() -> tuple[Floats, Floats]:
    """Pairs from 0 to 25 uS, one device of each off, as weights of a random layer are."""
    mapping = conductances(load_profile("pcm"))
    weight = np.random.default_rng(3).uniform(-1, 1, (COLUMNS, ROWS)) * 2
    plus, minus, _ = mapping.pair(weight.T)
    return plus, minus


@pytest.fixture(scope="module")
def volts() -> Floats:
    return np.random.default_rng(4).uniform(0, 0.2, ROWS)


def nodal(plus: Floats, minus: Floats, volts: Floats, row_ohm: float, column_ohm: float) -> Floats:
    """Kirchhoff's current law at both ends of every cell, wires on rows and columns; the outputs' currents."""
    g = np.stack([plus, minus], axis=2).reshape(len(plus), -1)
    rows, lines = g.shape
    size = 2 * rows * lines
    top = np.arange(rows * lines).reshape(rows, lines)
    bottom = top + rows * lines
    entries: list[tuple[int, int, float]] = []
    source = np.zeros(size)

    def stamp(a: int, b: int, siemens: float) -> None:
        entries.extend([(a, a, siemens), (b, b, siemens), (a, b, -siemens), (b, a, -siemens)])

    for i in range(rows):
        for c in range(lines):
            stamp(top[i, c], bottom[i, c], g[i, c])
            if c:
                stamp(top[i, c - 1], top[i, c], 1 / row_ohm)
            else:
                entries.append((top[i, 0], top[i, 0], 1 / row_ohm))
                source[top[i, 0]] = volts[i] / row_ohm
            if i:
                stamp(bottom[i - 1, c], bottom[i, c], 1 / column_ohm)
            else:
                entries.append((bottom[0, c], bottom[0, c], 1 / column_ohm))
    a, b, values = zip(*entries, strict=True)
    found = np.asarray(spsolve(coo_matrix((values, (a, b)), shape=(size, size)).tocsc(), source))
    currents = found[bottom[0]] / column_ohm
    return currents[0::2] - currents[1::2]


def estimate(plus: Floats, minus: Floats, volts: Floats, ohm: float) -> Floats:
    """What aihwkit's read with IR drop gives for the same tile: ampere."""
    from aihwkit.simulator.configs import SingleRPUConfig
    from aihwkit.simulator.configs.devices import ConstantStepDevice
    from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType
    from aihwkit.simulator.parameters.io import IOParameters
    from aihwkit.simulator.parameters.mapping import MappingParameter

    io = IOParameters(
        inp_res=-1, out_res=-1, out_noise=0.0, inp_bound=0, out_bound=0, ir_drop=1.0, ir_drop_g_ratio=1 / (ohm * G_MAX),
        noise_management=NoiseManagementType.NONE, bound_management=BoundManagementType.NONE,
    )  # fmt: skip
    device = ConstantStepDevice(w_max=2, w_min=-2, w_max_dtod=0.0, w_min_dtod=0.0)
    config = SingleRPUConfig(device=device, forward=io, mapping=MappingParameter(digital_bias=True))
    made = config.tile_class(plus.shape[1], len(plus), config, bias=False)
    made.set_weights(torch.tensor((plus - minus).T / G_MAX, dtype=torch.float32))
    y = made.joint_forward(torch.tensor(volts[None], dtype=torch.float32))
    return y.numpy().ravel().astype(float) * G_MAX


def off(found: Floats, wanted: Floats) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_without_wires_it_is_the_digital_product(tile: tuple[Floats, Floats], volts: Floats) -> None:
    plus, minus = tile
    assert off(simulate(netlist(plus, minus, volts, 0, 0), COLUMNS), volts @ (plus - minus)) < 1e-9


def test_inputs_of_both_signs(tile: tuple[Floats, Floats], volts: Floats) -> None:
    signed = volts - 0.1
    assert off(simulate(netlist(*tile, signed, 0, 0), COLUMNS), signed @ (tile[0] - tile[1])) < 1e-9
    assert off(simulate(netlist(*tile, signed, 3, 5), COLUMNS), nodal(*tile, signed, 3, 5)) < 1e-6


@pytest.mark.parametrize("ohm", [1e-3, 1.0, 20.0])
def test_with_wires_it_is_nodal_analysis(tile: tuple[Floats, Floats], volts: Floats, ohm: float) -> None:
    assert off(simulate(netlist(*tile, volts, ohm, ohm), COLUMNS), nodal(*tile, volts, ohm, ohm)) < 1e-6


def test_wires_take_from_every_line_and_in_proportion(tile: tuple[Floats, Floats], volts: Floats) -> None:
    """Every single line loses current; twice the resistance loses nearly twice as much, and never more."""
    plus, nothing = tile[0], np.zeros_like(tile[0])
    ideal = volts @ plus
    losses = [ideal - simulate(netlist(plus, nothing, volts, ohm, ohm), COLUMNS) for ohm in (1.0, 2.0, 4.0)]
    for loss, more in pairwise(losses):
        assert (loss > 0).all()
        assert ((more / loss > 1.9) & (more / loss < 2)).all()
    last = losses[0] / ideal
    assert last[-1] > last[0], "the column that is farthest from the drivers loses most"


def rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize("ohm", [1.0, 5.0, 20.0])
def test_aihwkits_estimate_beside_it(tile: tuple[Floats, Floats], ohm: float) -> None:
    """Its model: resistance along outputs alone, cells alike, inputs as lengths of full pulses.

    So with every input full and wires of columns alone: within 10 % of each line's loss where cells are alike, within
    12 % of the root mean square over random pairs. Wires of rows, which it leaves out, add 40 to 60 % here. An input of
    0.3 as a voltage loses in proportion, where 0.3 of a pulse's length would lose 0.3 of that.
    """
    full = np.ones(ROWS)
    alike = np.full((ROWS, COLUMNS), 0.6 * G_MAX), np.zeros((ROWS, COLUMNS))
    for plus, minus in (alike, tile):
        ideal = full @ (plus - minus)
        columns = ideal - simulate(netlist(plus, minus, full, 0, ohm), COLUMNS)
        both = ideal - simulate(netlist(plus, minus, full, ohm, ohm), COLUMNS)
        theirs = ideal - estimate(plus, minus, full, ohm)
        assert rms(theirs) == pytest.approx(rms(columns), rel=0.12)
        assert 1.4 < rms(both) / rms(columns) < 1.6
        if plus is alike[0]:
            np.testing.assert_allclose(theirs, columns, rtol=0.1)
            part = 0.3 * ideal - simulate(netlist(plus, minus, 0.3 * full, 0, ohm), COLUMNS)
            np.testing.assert_allclose(part, 0.3 * columns, rtol=1e-6)
            assert rms(0.3 * ideal - estimate(plus, minus, 0.3 * full, ohm)) < 0.4 * rms(part)


@pytest.mark.parametrize("ohm", [0.0, 4.0])
def test_the_exported_netlist_runs_as_it_is(ohm: float, ngspice: str, tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", DENSE)
    profile = load_profile("pcm", [f"periphery.wire_resistance={ohm} ohm"])
    manifest = export_crossbar(run, profile, tmp_path / "out", check=True)
    program = load_crossbar(tmp_path / "out")
    part = program.program["netlist"]
    assert (part["rows"], part["columns"], part["wire_ohm"]) == (32, 16, ohm)
    done = subprocess.run(
        [ngspice, "-b", "tile.cir"], cwd=tmp_path / "out", capture_output=True, text=True, timeout=300
    )
    printed = [float(value) for value in re.findall(r"^i\(vs\d+\) = (\S+)$", done.stdout, re.MULTILINE)]
    found = np.array(printed[0::2]) - np.array(printed[1::2])
    plus, minus = (program.arrays[f"{part['tile']}.{key}"][:32, :16] for key in ("plus", "minus"))
    volts = np.array(part["volts"])
    assert np.abs(volts).max() <= 0.2 and (volts < 0).any() and (volts > 0).any()
    ideal = volts @ (plus - minus)
    wanted = nodal(plus, minus, volts, ohm, ohm) if ohm else ideal
    assert off(found, wanted) < 1e-6
    told = manifest["checks"]
    assert told["selftest"].startswith("PASS") and told["netlist_without_wires"] < 1e-9
    assert told["ir_drop_of_largest_output"] == pytest.approx(off(found, ideal), rel=1e-6, abs=1e-12)


def test_what_is_no_tile_is_refused(tile: tuple[Floats, Floats], volts: Floats) -> None:
    with pytest.raises(UsageError, match=r"two matrices \[rows, columns\] and its volts \[rows\]"):
        netlist(*tile, volts[:-1], 0, 0)
    with pytest.raises(UsageError, match=r"must be 0 ohm or more. Got -1 and 0"):
        netlist(*tile, volts, -1, 0)


def test_a_netlist_that_ngspice_does_not_solve_is_an_error() -> None:
    with pytest.raises(ScffError, match="must print 2 currents of the netlist, but printed 0"):
        simulate("a tile\nR1 a b no_value_at_all\n.control\nop\nprint i(vs0)\n.endc\n.end\n", 1)


def test_ngspice_that_hangs_is_an_error(
    tile: tuple[Floats, Floats], volts: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spice, "LIMIT_S", 0.01)
    with pytest.raises(ScffError, match="did not solve the netlist within"):
        simulate(netlist(*tile, volts, 1, 1), COLUMNS)
