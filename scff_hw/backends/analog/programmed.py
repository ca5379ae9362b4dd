"""Arrays with weights trained elsewhere: programmed once, read many times, with drift in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scff_hw.backends.analog.tiles import TileGrid, device_seed
from scff_hw.core.arrays import Optimisation
from scff_hw.core.backend import Backend
from scff_hw.core.geometry import Geometry
from scff_hw.core.network import Network
from scff_hw.core.random import stream_seed
from scff_hw.hardware.conductances import full_range_scale
from scff_hw.hardware.programming import ProgrammedDevices, inference_config, require_drift
from scff_hw.hardware.schema import Profile


@dataclass(frozen=True)
class ProgrammedBackend(Backend):
    """Backend whose arrays are programmed at creation.

    Attributes:
        profile: hardware profile.
        seed: seed of the devices (an analog backend with this seed has the same) and of programming and drift noise.
        compensated: reads are scaled by aihwkit's global drift compensation, one factor per tile.
    """

    name: ClassVar[str] = "programmed"

    profile: Profile
    seed: int = 0
    compensated: bool = False

    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> ProgrammedArray:
        """Return an array programmed with `weight`; it does not learn, so `optimisation` is not used."""
        return ProgrammedArray(weight, bias, geometry, self.profile, self.seed, name, self.compensated)


class ProgrammedArray:
    """One layer's weights on tiles with read noise and drift, programmed by `scff_hw.hardware.programming`.

    The bias is digital and exact. aihwkit's training tiles ignore drift; these are its inference tiles.

    Attributes:
        devices: devices of each tile, in the order of `grid`.
    """

    learning_rate = 0.0

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
        profile: Profile,
        seed: int,
        name: str = "",
        compensated: bool = False,
    ) -> None:
        geometry.check_weight(weight)
        self.geometry = geometry
        self.profile = profile
        self.bias = bias.detach().to(torch.float32, copy=True)
        self.grid = TileGrid(weight.detach().flatten(1), profile, seed, name, inference_config, full_range_scale)
        self.grid.compensated = compensated
        self.devices: list[ProgrammedDevices] = []
        self._streams = (seed, "programming", name)
        with _drawn_from(*self._streams):
            for o, line in enumerate(self.grid.tiles):
                for i, tile in enumerate(line):
                    sizes = self.grid.output_sizes[o], self.grid.input_sizes[i]
                    devices = ProgrammedDevices(profile, *sizes, device_seed(seed, name, o, i))
                    self.devices.append(devices)
                    tile.eval()
                    tile.program_weights(noise_model=devices.noise_model)

    @property
    def weight(self) -> Tensor:
        """A copy of the current weights, times the drift compensation if `compensated`."""
        return self._read().view(self.geometry.weight_shape)

    @property
    def clipped(self) -> int:
        """Number of weights clipped at a bound of their devices during programming."""
        return sum(devices.clipped for devices in self.devices)

    def drift(self, t_s: float) -> None:
        """Drift the devices from programming to `t_s` seconds after it; successive times need not increase.

        Raises:
            UsageError: the profile has no drift.
        """
        require_drift(self.profile)
        with _drawn_from(*self._streams, "drift", f"{t_s:g}"):
            for tile in self.grid:
                tile.drift_weights(t_s)

    def mvm(self, x: Tensor) -> Tensor:
        self.geometry.check_input(x)
        return self.geometry.fold(self.grid.mvm(self.geometry.rows(x.float())), x)

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        raise NotImplementedError("programmed weights do not learn: read them back onto an array of the analog backend")

    def weight_range(self) -> tuple[float, float]:
        low, high = self.weight.aminmax()
        return float(low), float(high)

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "bias": self.bias.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        raise NotImplementedError("programmed weights are made from weights, not restored")

    def _read(self) -> Tensor:
        lines = []
        for line in self.grid.tiles:
            factors = [tile.alpha if self.grid.compensated else 1.0 for tile in line]
            parts = [tile.get_weights()[0] * factor for tile, factor in zip(line, factors, strict=True)]
            lines.append(torch.cat(parts, dim=1))
        return torch.cat(lines)


@contextmanager
def _drawn_from(seed: int, *names: str) -> Iterator[None]:
    """Seed PyTorch's global generator, used by aihwkit for this noise, with a named stream; restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, *names))
        yield


def clipped_share(network: Network) -> float:
    """Return the share of a network's programmed weights that were clipped at a bound of their devices, 0..1."""
    arrays = [array for array in network.arrays.values() if isinstance(array, ProgrammedArray)]
    return sum(array.clipped for array in arrays) / max(sum(array.weight.numel() for array in arrays), 1)
