"""Exported pulse programs replayed on aihwkit's tiles, slot by slot, against the backend's own update.

Both sides act on twins: tiles with the same devices. A slot is one update by a train of a single certain
pulse, so that aihwkit decides nothing but what a device makes of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scff_hw.backends.analog.tiles import TileGrid
from scff_hw.export.crossbar.mapping import granularity
from scff_hw.export.crossbar.model import export_crossbar
from scff_hw.export.crossbar.program import scheme
from scff_hw.export.crossbar.pulses import PulseTrains, TilePulses, codes
from scff_hw.export.crossbar.read import load_crossbar
from scff_hw.hardware import Profile, load_profile
from scff_hw.hardware.simulator import rpu_config

from .onnx_runs import CONV, tiny_run

ROWS, COLUMNS = 8, 6
Floats = NDArray[np.float64]

QUIET = (
    "device.response.cycle_to_cycle=0 %",
    *(f"device.device_to_device.{key}=0 %" for key in ("step", "w_min", "w_max")),
)
X = np.array([1.0, -0.8, 0.55, 0.3, -0.12, 0.05, 0.0, 0.9])
D = np.array([-0.5, 0.4, 0.22, -0.1, 0.03, 0.0])


def slotwise(profile: Profile, seed: int) -> Any:
    """The profile's tile, updated by one certain pulse: a probability of 1.005 is never below a uniform draw."""
    from aihwkit.simulator.parameters.enums import PulseType
    from aihwkit.simulator.parameters.training import UpdateParameters

    config = rpu_config(profile, seed)
    config.update = UpdateParameters(
        desired_bl=1,
        fixed_bl=True,
        update_management=False,
        update_bl_management=False,
        pulse_type=PulseType.STOCHASTIC_COMPRESSED,
    )
    return config


class Bench:
    """A tile that the backend updates, its twin that trains are replayed on, and the program of both."""

    def __init__(self, profile: Profile, steps: float, seed: int = 3) -> None:
        """`steps` are asked for where input and error are largest."""
        self.profile, self.seed = profile, seed
        draw = np.random.default_rng(seed)
        self.weight = torch.tensor(draw.uniform(-0.2, 0.2, (COLUMNS, ROWS)), dtype=torch.float32)
        self.own = TileGrid(self.weight, profile, seed, "a")
        self.renew()
        self.scale = self.own.scales()[0][0]
        self.step = granularity(profile.device)
        self.rate = steps * self.step * self.scale / (np.abs(X).max() * np.abs(D).max())
        self.start = self.own.tiles[0][0].tile.get_weights().clone()
        self.pulses = TilePulses(scheme(profile), ROWS, COLUMNS, self.rate / (self.scale * self.step), seed, self.scale)

    def renew(self) -> None:
        """Make tiles of the same devices with noise of their own."""
        # pairs of devices are drawn anew for every tile, whatever the seed
        state = self.own.state()
        self.own = TileGrid(self.weight, self.profile, self.seed, "a")
        self.twin = TileGrid(self.weight, self.profile, self.seed, "a", slotwise)
        for grid in (self.own, self.twin):
            grid.load_state(state)

    def by_backend(self) -> Floats:
        """What one update changes on the crossbar, `[rows, columns]`."""
        tile = self.own.tiles[0][0].tile
        tile.set_weights(self.start)
        self.own.update(
            torch.tensor(X[None], dtype=torch.float32), torch.tensor(D[None], dtype=torch.float32), self.rate
        )
        return (tile.get_weights() - self.start).numpy().T.astype(float)

    def by_program(self) -> tuple[Floats, PulseTrains]:
        """What the next trains change, replayed slot by slot, and the trains."""
        (x, x_exponent), (d, d_exponent) = codes(X), codes(D)
        trains = self.pulses.update(x, x_exponent, d, d_exponent)
        return self.replay(trains), trains

    def replay(self, trains: PulseTrains) -> Floats:
        tile = self.twin.tiles[0][0]
        tile.tile.set_weights(self.start)
        rows = torch.tensor(trains.rows * trains.row_sign[:, None], dtype=torch.float32)
        # errors are divided by the scale on their way to the tile
        columns = torch.tensor(trains.columns * -trains.column_sign[:, None], dtype=torch.float32) * self.scale
        for slot in range(trains.length):
            tile.set_learning_rate(1.01 * self.step)
            tile.update(rows[None, :, slot].contiguous(), columns[None, :, slot].contiguous())
        return (tile.tile.get_weights() - self.start).numpy().T.astype(float)


@pytest.mark.parametrize("steps", [0.4, 7.0, 90.0])
@pytest.mark.parametrize("pulses", ["stochastic", "mean-count"])
def test_devices_get_the_pulses_that_the_program_counts(steps: float, pulses: str) -> None:
    """On devices without noise a weight's change over its step is the program's signed count, on every one."""
    bench = Bench(load_profile("ideal", [*QUIET, f"learning.pulses={pulses}"]), steps)
    seen = 0
    for _ in range(50):
        change, trains = bench.by_program()
        np.testing.assert_allclose(change / bench.step, trains.counts, atol=0.01)
        seen += int(np.abs(trains.counts).sum())
    assert seen > 20


PAIRS = ("array.refresh_every=null", "device.device_to_device.w_max=0 %")
UNMANAGED = ("learning.update_management=false", "learning.pulse_management=false")
FIXED_LENGTH = ("learning.pulse_management=false",)


def compare(own: Floats, found: Floats, step: float) -> None:
    """Changes `[trials, rows, columns]` of two origins.

    Mean of every device, and of their sum, within 5 standard errors of the difference, which some 50 devices leave by
    chance once in 30 000 runs; root mean square of the spread over devices within 10 %.
    """
    error = np.sqrt((own.var(axis=0) + found.var(axis=0)) / len(own))
    gap = np.abs(found.mean(axis=0) - own.mean(axis=0))
    assert (gap <= np.maximum(5 * error, 1e-3 * step)).all(), (gap / np.maximum(error, 1e-3 * step)).max()
    totals = own.sum(axis=(1, 2)), found.sum(axis=(1, 2))
    assert abs(totals[1].mean() - totals[0].mean()) <= 5 * np.sqrt((totals[0].var() + totals[1].var()) / len(own))
    assert np.sqrt(found.var(axis=0).mean()) == pytest.approx(np.sqrt(own.var(axis=0).mean()), rel=0.1)


SCHEMES = {"noise-free": QUIET, "ideal": (), "fixed-length": FIXED_LENGTH, "unmanaged": UNMANAGED}
LENGTHS = (0.5, 9.0, 60.0)
CASES = {
    **{f"{name}, {steps:g}": ("ideal", changes, steps) for name, changes in SCHEMES.items() for steps in LENGTHS},
    # what trains of another length are is the scheme's; what a pulse does is the device's
    **{f"{name}, {steps:g}": (name, (), steps) for name in ("ecram", "reram-es") for steps in (0.5, 9.0)},
    **{f"pcm, {steps:g}": ("pcm", PAIRS, steps) for steps in (9.0, 60.0)},
}


@pytest.mark.parametrize(("name", "overrides", "steps"), CASES.values(), ids=CASES)
def test_replayed_updates_are_distributed_as_the_backends(name: str, overrides: tuple[str, ...], steps: float) -> None:
    """600 updates from one start by each; trains of one slot, of a few, and of all 31 with errors cut short.

    One slot pulses few devices, so that what they spread is known to 2.6 % at 600 updates (reram-es, 40 repeats): 2400.
    A tile draws its noise from a table of 32 768 values that is made with it. Many pulses of one sign know their mean
    to no more than that table does, which made means of 600 updates spread 1.2 times as far as those of independent
    draws: hence new tiles after every 20.
    """
    bench = Bench(load_profile(name, list(overrides)), steps)
    own, found = [], []
    for _ in range(120 if steps < 1 else 30):
        own += [bench.by_backend() for _ in range(20)]
        found += [bench.by_program()[0] for _ in range(20)]
        bench.renew()
    compare(np.array(own), np.array(found), bench.step)


def test_the_mean_count_is_the_product_that_was_asked_for() -> None:
    """Where nothing is cut: mean pulses are the steps asked for, within 5 standard errors of 2000 updates."""
    bench = Bench(load_profile("ideal", QUIET), 20.0)
    (x, x_exponent), (d, d_exponent) = codes(X), codes(D)
    counts = np.array([bench.pulses.update(x, x_exponent, d, d_exponent).counts for _ in range(2000)])
    asked = -np.outer(X, D) * bench.rate / (bench.scale * bench.step)
    assert (np.abs(counts.mean(axis=0) - asked) <= 5 * counts.std(axis=0) / 2000**0.5 + 1e-3).all()


@pytest.mark.parametrize("steps", [0.7, 4.3, 17.9, 90.0])
def test_mean_counts_are_those_of_aihwkit(steps: float) -> None:
    """On devices without noise, device by device; no product here ends on a half, which would go up, there to even."""
    bench = Bench(load_profile("ideal", [*QUIET, "learning.pulses=mean-count"]), steps)
    change, trains = bench.by_program()
    np.testing.assert_allclose(change, bench.by_backend(), atol=1e-3 * bench.step)
    assert not steps > 4 or np.abs(trains.counts).max() >= 4


@pytest.mark.parametrize("steps", [4.3, 17.9, 90.0])
def test_deterministic_updates_are_within_two_pulses_of_aihwkits_implicit_ones(steps: float) -> None:
    """aihwkit multiplies probabilities without trains; trains of L slots know them to 1 / L each: at most 2 pulses."""
    bench = Bench(load_profile("ideal", [*QUIET, "learning.pulses=deterministic"]), steps)
    change, _ = bench.by_program()
    assert bench.pulses.scheme.kind == "mean-count"
    assert np.abs(change - bench.by_backend()).max() <= 2.01 * bench.step


def test_an_exported_layer_learns_as_the_backend_does(tmp_path: Path) -> None:
    """A convolution on split tiles: constants as exported against `TileGrid.update` at that rate, 400 times."""
    # the program's scale is that of a tile that learns from a largest weight of 1 w
    array = ["array.rows=30 lines", "array.columns=3 lines", "learning.weight_scaling_omega=1 w"]
    profile = load_profile("ideal", ["device.g_min=1 uS", "device.g_max=9 uS", *array])
    run = tiny_run(tmp_path / "run", CONV)
    export_crossbar(run, profile, tmp_path / "out")
    program = load_crossbar(tmp_path / "out")
    layer = program.program["layers"][1]
    weight = np.zeros((layer["outputs"], layer["fan_in"]))
    for tile in layer["tiles"]:
        weight[slice(*tile["columns"]), slice(*tile["rows"])] = program.weight(tile["name"])
    own, twin = (
        TileGrid(torch.tensor(weight, dtype=torch.float32), profile, 0, "a", config)
        for config in (rpu_config, slotwise)
    )
    draw = np.random.default_rng(0)
    x, d = draw.normal(size=layer["fan_in"]), 0.01 * draw.normal(size=layer["outputs"])
    (xc, x_exponent), (dc, d_exponent) = codes(x), codes(d)
    start = own.read()
    step = granularity(profile.device)
    changes: tuple[list[Any], list[Any]] = ([], [])
    pulses = {tile["name"]: program.pulses(tile["name"]) for tile in layer["tiles"]}
    for _ in range(400):
        own.write(start)
        own.update(
            torch.tensor(x[None], dtype=torch.float32),
            torch.tensor(d[None], dtype=torch.float32),
            layer["learning_rate"],
        )
        changes[0].append((own.read() - start).numpy())
        twin.write(start)
        for entry, tile in zip(layer["tiles"], twin, strict=True):
            rows, columns = slice(*entry["rows"]), slice(*entry["columns"])
            trains = pulses[entry["name"]].update(xc[rows], x_exponent, dc[columns], d_exponent)
            for slot in range(trains.length):
                up = trains.rows[:, slot] * trains.row_sign, trains.columns[:, slot] * -trains.column_sign
                row, column = (torch.tensor(line[None], dtype=torch.float32) for line in up)
                tile.set_learning_rate(1.01 * step)
                tile.update(row, column * entry["scale"])
        changes[1].append((twin.read() - start).numpy())
    assert len(layer["tiles"]) == 4
    compare(np.array(changes[0]), np.array(changes[1]), step * layer["tiles"][0]["scale"])
