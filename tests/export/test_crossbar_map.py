"""The tile map and its conductances are what the analog backend puts on aihwkit's tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scff_hw.backends import Dense
from scff_hw.backends.analog.programmed import ProgrammedArray
from scff_hw.backends.analog.tiles import TileGrid
from scff_hw.cli import main
from scff_hw.errors import UsageError
from scff_hw.export.crossbar.mapping import conductances, granularity, tiles
from scff_hw.export.crossbar.model import export_crossbar
from scff_hw.export.crossbar.read import CrossbarProgram, load_crossbar
from scff_hw.hardware import Profile, load_profile, profile_names
from scff_hw.hardware.schema import DeviceToDevice
from scff_hw.tensor_file import read_tensors

from .onnx_runs import CONV, DENSE, tiny_run

SIEMENS = ("device.g_min=2 uS", "device.g_max=42 uS")
SMALL = ("array.rows=20 lines", "array.columns=5 lines")


def hardware(name: str, *overrides: str) -> Profile:
    given = () if name == "pcm" else SIEMENS
    return load_profile(name, [*given, *SMALL, *overrides])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One finished run a backend, dense and convolutional."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "float": tiny_run(folder / "float", CONV),
        "fixed": tiny_run(folder / "fixed", CONV, backend="fixed"),
        "analog": tiny_run(folder / "analog", DENSE, backend="analog", profile="ideal"),
    }


def grid_of(program: CrossbarProgram, weight: torch.Tensor, profile: Profile, number: int) -> Any:
    return TileGrid(weight.flatten(1), profile, program.manifest.seed, f"layers.{number}")


@pytest.mark.parametrize("backend", ["float", "fixed", "analog"])
@pytest.mark.parametrize("name", ["ideal", "pcm"])
def test_tiles_hold_what_aihwkit_tiles_hold(backend: str, name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    """Split, scale, weight on the crossbar and, in pairs, both devices; bounds alike so that none is cut.

    Programs use the whole range of a device: the learning tile beside them starts with its largest weight there, too.
    """
    full = f"learning.weight_scaling_omega={2 if name == 'pcm' else 1} w"
    profile = hardware(name, full, "device.device_to_device.w_max=0 %", "device.device_to_device.w_min=0 %")
    export_crossbar(runs[backend], profile, tmp_path / "out")
    program = load_crossbar(tmp_path / "out")
    mapping = program.program["conductance"]
    weights, _ = read_tensors(runs[backend] / "weights.safetensors")
    for layer in program.program["layers"]:
        weight = weights[f"layers.{layer['layer']}.weight"].float()
        grid = grid_of(program, weight, profile, layer["layer"])
        found = np.full(weight.flatten(1).shape, np.nan)
        assert len(layer["tiles"]) == len(list(grid)) > 1
        for entry, tile in zip(layer["tiles"], grid, strict=True):
            plus, minus = (program.arrays[f"{entry['name']}.{key}"] for key in ("plus", "minus"))
            np.testing.assert_allclose(entry["scale"], tile.get_mapping_scales().flatten()[0], rtol=1e-6)
            on_tile = tile.tile.get_weights().numpy().T
            np.testing.assert_allclose((plus - minus) / mapping["siemens_per_w"], on_tile, atol=1e-6)
            if name == "pcm":
                hidden = tile.get_hidden_parameters()
                for device, key in ((minus, "hidden_weights_0"), (plus, "hidden_weights_1")):
                    wanted = mapping["g_min_siemens"] + hidden[key].numpy().T * mapping["siemens_per_w"]
                    np.testing.assert_allclose(device, wanted, atol=1e-6 * mapping["siemens_per_w"])
            else:
                assert np.allclose(minus, 22e-6)  # the middle of the range
            assert plus.min() >= mapping["g_min_siemens"] and plus.max() <= mapping["g_max_siemens"]
            found[slice(*entry["columns"]), slice(*entry["rows"])] = program.weight(entry["name"])
        np.testing.assert_allclose(found, weight.flatten(1).numpy(), atol=1e-6)
        assert np.array_equal(program.arrays[layer["bias"]], weights[layer["bias"]].double().numpy())
    assert np.array_equal(program.arrays["readout.weight"], weights["readout.weight"].double().numpy())


def test_programming_in_order_from_reset_gives_the_targets(runs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("pcm", "ideal"):
        export_crossbar(runs["float"], hardware(name), tmp_path / name)
        program = load_crossbar(tmp_path / name)
        for layer in program.program["layers"]:
            for entry in layer["tiles"]:
                targets = np.stack([program.arrays[f"{entry['name']}.{key}"] for key in ("plus", "minus")])
                order = program.arrays[f"{entry['name']}.order"]
                written = np.full(targets.shape, program.program["conductance"]["g_min_siemens"])
                written[tuple(order.T)] = targets[tuple(order.T)]
                assert np.array_equal(written, targets)
                assert len(np.unique(order, axis=0)) == len(order) == entry["devices_to_program"]
                assert (np.diff(order[:, 1]) >= 0).all(), "row after row"


def test_weights_that_a_device_cannot_hold_are_cut_and_counted() -> None:
    """A single device whose weights begin at 0 holds no negative one."""
    profile = load_profile("ideal", [*SIEMENS, "device.response.w_min=0 w"])
    weight = np.array([[1.5, -0.5], [-2.0, 0.75]])
    (tile,) = tiles("layers.1", weight, profile)
    mapping = conductances(profile)
    assert tile.clipped == 2 and tile.scale == 1.5
    np.testing.assert_allclose((tile.plus - tile.minus).T / mapping.per_weight, [[1, 0], [0, 0.5]], atol=1e-6)
    assert tile.plus.max() == pytest.approx(42e-6, rel=1e-12) and tile.plus.min() == 2e-6


def test_targets_use_the_whole_range_as_programmed_arrays_do() -> None:
    """EcRAM reaches from -0.8276 to 1.1724 w: here its lower bound sets the scale, and nothing is cut."""
    profile = load_profile("ecram", [*SIEMENS, "device.response.write_noise=0 w", "device.response.step=0.0001 w"])
    weight = torch.rand(6, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    (tile,) = tiles("layers.1", weight.numpy(), profile)
    assert tile.clipped == 0 and tile.plus.min() == pytest.approx(2e-6) and tile.plus.max() < 42e-6
    alike = profile.model_copy(
        update={"device": profile.device.model_copy(update={"device_to_device": DeviceToDevice()})}
    )
    array = ProgrammedArray(weight, torch.zeros(6), Dense(7, 6), alike, 0, "layers.1")
    assert tile.scale == pytest.approx(array.grid.scales()[0][0], rel=1e-6)
    (devices,) = array.devices
    np.testing.assert_allclose(devices.conductances[0].numpy().T, tile.plus, atol=20e-6 * 0.0001)


def test_a_single_cell_is_the_readme_sentence() -> None:
    """hardware_profiles/README.md: with a reference in the middle of the range, -1 w is g_min and 1 w is g_max."""
    mapping = conductances(load_profile("ideal", SIEMENS))
    plus, minus, clipped = mapping.pair(np.array([[-1.0, 0.0, 1.0]]))
    np.testing.assert_allclose(plus, [[2e-6, 22e-6, 42e-6]])
    np.testing.assert_allclose(minus, [[22e-6] * 3])
    assert clipped == 0


@pytest.mark.parametrize("name", [name for name in profile_names() if name != "exact"])
def test_the_step_that_trains_go_by_is_aihwkits(name: str) -> None:
    profile = load_profile(name)
    grid = TileGrid(torch.zeros(2, 3), profile, 0, "a")
    assert granularity(profile.device) == pytest.approx(grid.granularity(), rel=1e-6)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("device.response.w_min=0.1 w",), "must have 0 between them. Got 0.1 w and 1 w"),
        (("array.cell=random-pair",), "must be single or one-sided-pair. Got 'random-pair'"),
    ],
)
def test_devices_without_a_differential_pair_are_refused(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        conductances(load_profile("ideal", [*SIEMENS, *overrides]))


def test_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match=r"weights of layers.1 must be finite"):
        list(tiles("layers.1", np.array([[np.nan]]), load_profile("pcm")))


def test_converters_are_those_that_aihwkit_reads_with(runs: dict[str, Path], tmp_path: Path) -> None:
    """Inputs swept over one cell: outputs lie on the steps of the DAC, then on those of the ADC, and end there."""
    quiet = ("periphery.output_noise=0 w", "periphery.noise_management=none", "periphery.bound_management=none")
    plain = ("learning.weight_scaling_omega=0 w", "device.device_to_device.w_max=0 %", "device.response.w_max=4 w")
    sweep = torch.linspace(-1, 1, 4001).unsqueeze(1)
    settings = {
        "dac": ("periphery.dac_bits=5 bit", "periphery.adc_bits=null"),
        "adc": ("periphery.dac_bits=null", "periphery.adc_bits=6 bit", "periphery.adc_range=2 w"),
    }
    for key, bits in settings.items():
        profile = hardware("ideal", *quiet, *plain, *bits)
        export_crossbar(runs["float"], profile, tmp_path / key, read_volt=0.3)
        told = load_crossbar(tmp_path / key).program["converters"]
        weight = 1.0 if key == "dac" else 3.0
        y = TileGrid(torch.tensor([[weight]]), profile, 0, "a").mvm(sweep).numpy().ravel()
        if key == "dac":
            y = y / weight * told["read_volt"]
            step, top, full = told["dac"]["step_volt"], told["dac"]["code_top"], told["dac"]["full_scale_volt"]
            assert told["adc"]["step_ampere"] is None and top == 15
        else:
            y = y * told["ampere_per_w"]
            step, top, full = told["adc"]["step_ampere"], told["adc"]["code_top"], told["adc"]["full_scale_ampere"]
            assert told["dac"]["step_volt"] is None and told["adc"]["full_scale_w"] == 2 and top == 31
        codes = np.unique(np.rint(y / step))
        np.testing.assert_allclose(y, np.rint(y / step) * step, atol=1e-5 * full)
        assert np.array_equal(codes, np.arange(-top, top + 1))
        assert y.max() == pytest.approx(full, rel=1e-5)


def test_a_run_with_moments_needs_a_rate(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", DENSE, "layers.*.learn.momentum=0.5")
    with pytest.raises(UsageError, match=r"The optimiser of layers.1 .* momentum 0.5"):
        export_crossbar(run, load_profile("pcm"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_recipe_are_refused(runs: dict[str, Path], tmp_path: Path, capfd: Any) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "weights.safetensors"):
        (run / name).write_bytes((runs["analog"] / name).read_bytes())
    (run / "recipe.yaml").write_text((runs["analog"] / "recipe.yaml").read_text().replace("units: 24", "units: 25"))
    code = main(["export", "crossbar", str(run), "--profile", "pcm", "--out", str(tmp_path / "out")])
    said = capfd.readouterr().err
    assert code == 2 and "weights.safetensors does not belong to the files beside it" in said
    assert json.loads((run / "run.json").read_text())["status"] == "done" and not (tmp_path / "out").exists()
