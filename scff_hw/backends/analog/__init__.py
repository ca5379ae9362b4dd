"""The analog backend: weights on simulated crossbars of real devices (aihwkit); `mvm` reads and `update` pulses them.

Reproducible from a seed, bit for bit: devices (bounds, steps, stuck ones), faults, and the programming and drift noise
of programmed weights. Not reproducible: pulses and their noise, write noise, read noise, decay and diffusion. aihwkit
1.2.0 draws those in C++ from generators that it seeds itself for each tile; its Python interface cannot seed them, and
`torch.manual_seed` does not affect them. So learning on devices repeats only statistically: report several runs.
A perfect periphery has no read noise, and exact devices have none of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from scff_hw.backends.analog.array import AnalogArray
from scff_hw.core.arrays import Optimisation
from scff_hw.core.backend import Backend
from scff_hw.core.geometry import Geometry
from scff_hw.errors import UsageError
from scff_hw.hardware import Profile, load_profile
from scff_hw.hardware.available import require_aihwkit

__all__ = ["DEFAULT_PROFILE", "AnalogArray", "AnalogBackend"]

DEFAULT_PROFILE = "ideal"
"""Shipped profile of a run that names no profile."""


@dataclass(frozen=True)
class AnalogBackend(Backend):
    """Arrays of crossbar tiles, all with one hardware profile. Learning repeats only statistically (see the module).

    Attributes:
        profile: devices, periphery, array and pulse scheme.
        seed: seed of the run; each tile draws its devices from the stream (seed, "device", array's name, tile).
        dtype: "float32", the dtype of aihwkit.
        device: "cpu".

    Raises:
        MissingPartError: aihwkit is not installed, or does not work.
        UsageError: another dtype or device.
    """

    name: ClassVar[str] = "analog"
    state_is_truth: ClassVar[bool] = True
    noisy_reads: ClassVar[bool] = True

    profile: Profile
    seed: int = 0
    dtype: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.dtype != "float32":
            raise UsageError(
                f"The dtype of the analog backend must be float32. Got '{self.dtype}' instead; "
                "type: --set training.dtype=float32"
            )
        if self.device != "cpu":
            raise UsageError(
                f"The device of the analog backend must be cpu. Got '{self.device}' instead; "
                "type: --set training.device=cpu"
            )
        require_aihwkit()

    @classmethod
    def make(
        cls, *, dtype: str = "float32", device: str = "cpu", profile: Any = None, seed: int = 0, options: Any = None
    ) -> AnalogBackend:
        return cls(load_profile(DEFAULT_PROFILE) if profile is None else profile, seed, dtype, device)

    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> AnalogArray:
        """Return an array with initial `weight` and `bias`, on devices determined by the seed and `name`.

        Raises:
            UsageError: an optimiser other than plain SGD.
        """
        return AnalogArray(weight, bias, geometry, optimisation, self.profile, self.seed, name)
