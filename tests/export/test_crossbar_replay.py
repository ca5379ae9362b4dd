"""Exported pulse programs replayed on aihwkit's tiles, slot by slot, against the backend's own update.

Both sides act on twins: tiles whose devices are drawn from one seed. A slot is one update by a train of a single certain
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
from scff_hw.export.crossbar import export_crossbar, scheme
from scff_hw.export.crossbar_map import granularity
from scff_hw.export.crossbar_read import load_crossbar
from scff_hw.export.pulses import PulseTrains, TilePulses, codes
from scff_hw.hardware import Profile, load_profile
from scff_hw.hardware.simulator import rpu_config

from .onnx_runs import CONV, tiny_run

ROWS, COLUMNS = 8, 6
TRIALS = 600
Floats = NDArray[np.float64]

QUIET = ("device.response.cycle_to_cycle=0 %", *(f"device.device_to_device.{key}=0 %" for key in ("step", "w_min", "w_max")))
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
        self.profile = profile
        weight = torch.tensor(np.random.default_rng(seed).uniform(-0.2, 0.2, (COLUMNS, ROWS)), dtype=torch.float32)
        self.own = TileGrid(weight, profile, seed, "a")
        self.twin = TileGrid(weight, profile, seed, "a", slotwise)
        self.scale = self.own.scales()[0][0]
        self.step = granularity(profile.device)
        self.rate = steps * self.step * self.scale / (np.abs(X).max() * np.abs(D).max())
        self.start = self.own.tiles[0][0].tile.get_weights().clone()
        self.pulses = TilePulses(scheme(profile), ROWS, COLUMNS, self.rate / (self.scale * self.step), seed, self.scale)

    def by_backend(self) -> Floats:
        """What one update changes on the crossbar, `[rows, columns]`."""
        tile = self.own.tiles[0][0].tile
        tile.set_weights(self.start)
        self.own.update(torch.tensor(X[None], dtype=torch.float32), torch.tensor(D[None], dtype=torch.float32), self.rate)
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
    """On devices without noise a weight's change over its step is the program's signed count, on every device, 50 times."""
    bench = Bench(load_profile("ideal", [*QUIET, f"learning.pulses={pulses}"]), steps)
    seen = 0
    for _ in range(50):
        change, trains = bench.by_program()
        np.testing.assert_allclose(change / bench.step, trains.counts, atol=0.01)
        seen += int(np.abs(trains.counts).sum())
    assert seen > 20


PAIRS = ("array.refresh_every=null", "device.device_to_device.w_max=0 %")


@pytest.mark.parametrize("steps", [0.5, 9.0, 60.0])
@pytest.mark.parametrize(
    ("name", "overrides"),
    [("ideal", QUIET), ("ideal", ()), ("ecram", ()), ("reram-es", ()), ("pcm", PAIRS)],
    ids=["noise-free", "ideal", "ecram", "reram-es", "pcm"],
)
def test_replayed_updates_are_distributed_as_the_backends(name: str, overrides: tuple[str, ...], steps: float) -> None:
    """600 updates from one start by each.

    Mean change of every device within 5 standard errors of the difference, of their sum within 5 (both fail by chance less
    than once in 5000 runs); root mean square of the spread over devices within 10 %.
    """
    bench = Bench(load_profile(name, list(overrides)), steps)
    own = np.array([bench.by_backend() for _ in range(TRIALS)])
    found = np.array([bench.by_program()[0] for _ in range(TRIALS)])
    error = np.sqrt((own.var(axis=0) + found.var(axis=0)) / TRIALS)
    z = (found.mean(axis=0) - own.mean(axis=0)) / np.maximum(error, 1e-3 * bench.step / TRIALS**0.5)
    total = (found.sum(axis=(1, 2)).mean() - own.sum(axis=(1, 2)).mean()) / np.sqrt(
        (found.sum(axis=(1, 2)).var() + own.sum(axis=(1, 2)).var()) / TRIALS
    )
    signed = np.abs(found).sum(axis=(1, 2))
    ratio = np.sqrt(found.var(axis=0).mean() / own.var(axis=0).mean())
    print(name, steps, "max z", np.abs(z).max(), "total", total, "spread", ratio, np.abs(own.mean(axis=0)).max() / bench.step)
