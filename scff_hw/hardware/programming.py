"""One-time programming of weights onto a profile's devices, and drift over time. Needs aihwkit.

The same model is used wherever weights are programmed onto devices that do not learn. A tile's weights are scaled by
`full_range_scale`, and a device's conductance is linear in its weight (`Conductances`). `array.cell` defines a weight:
one device relative to a fixed reference, the difference of two devices, or the mean of two. Each device

1. gets a target, clipped at its own bounds; a stuck device stays at its stuck value;
2. is set to the level nearest to the target. Levels are `device.response.step` apart, from the lower bound up, and
   include the upper bound: program-and-verify by pulses is accurate to half a step. The step is that of the mean device
   at weight 0, so the levels are approximate for devices whose step depends on the weight. A device of the model
   `exact` reaches every weight;
3. gets the noise of `device.programming`, or by default that of one `device.response.write_noise`, within its own
   bounds and within `device.g_min` and `g_max`;
4. drifts by `device.drift`, unless it is stuck. A fixed reference does not drift.

With `periphery.wire_resistance` a weight follows from the current that its input's voltage drives through the wires of
the whole tile: the current of the positive column minus that of the adjacent negative column, or of the adjacent column
of fixed references for single devices, by nodal analysis (`scff_hw.hardware.wires`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scff_hw.errors import UsageError
from scff_hw.hardware.available import require_aihwkit
from scff_hw.hardware.conductances import ROUNDING, conductances
from scff_hw.hardware.schema import Profile
from scff_hw.hardware.simulator import io_parameters, rpu_config
from scff_hw.hardware.wires import with_wires

PARTS = {"single": (1.0,), "one-sided-pair": (1.0, -1.0), "random-pair": (0.5, 0.5)}
"""Contribution of each device of a cell to its weight; in a one-sided pair the positive device is first."""


def inference_config(profile: Profile, seed: int = 0) -> Any:
    """Return aihwkit's configuration of one inference tile with drift and the profile's periphery.

    `seed` is not used: differences between tiles are in their `ProgrammedDevices`.

    Returns:
        An `InferenceRPUConfig`, with global drift compensation that callers may use.

    Raises:
        MissingPartError: aihwkit is not installed, or does not work.
    """
    require_aihwkit()
    from aihwkit.inference.compensation.drift import GlobalDriftCompensation
    from aihwkit.simulator.configs import InferenceRPUConfig
    from aihwkit.simulator.parameters.mapping import MappingParameter

    return InferenceRPUConfig(
        # wires are solved at programming and drift
        forward=io_parameters(profile.periphery.model_copy(update={"wire_resistance": 0.0}), profile.device),
        drift_compensation=GlobalDriftCompensation(),
        mapping=MappingParameter(digital_bias=True, weight_scaling_omega=1.0, max_input_size=0, max_output_size=0),
    )


def require_drift(profile: Profile) -> None:
    """Refuse a profile without a drift model.

    Raises:
        UsageError: `device.drift` is not given.
    """
    if profile.device.drift is None:
        raise UsageError(
            f"The profile '{profile.name}' must have device.drift for weights to drift: how its devices drift is not "
            "known, and no drift at all would be a wrong answer. Got null instead; "
            "profiles that have it: pcm, or add it to a profile of your own."
        )


class ProgrammedDevices:
    """The devices of one tile, with programming and drift. Noise is drawn from PyTorch's global generator.

    Weights are in w, weights on the crossbar, float32; `D` is the number of devices of a cell.

    Attributes:
        lower, upper: `[D, outputs, inputs]`, w; bounds of each device, equal for a stuck device.
        clipped: number of weights clipped at a bound in the last programming; stuck devices do not count.
        noise_model: noise model for an aihwkit inference tile, which programs these devices and lets them drift.

    Raises:
        UsageError: wire resistance with a cell whose weight is not a difference of two columns.
    """

    def __init__(self, profile: Profile, outputs: int, inputs: int, seed: int) -> None:
        """Draw the devices from `seed`; a learning tile with the same seed has the same devices."""
        self._ohm = 0.0 if profile.periphery.perfect else profile.periphery.wire_resistance
        if self._ohm and profile.array.cell == "random-pair":
            raise UsageError(
                f"The array.cell of a profile with periphery.wire_resistance must be single or one-sided-pair. Got "
                f"'random-pair' in '{profile.name}' instead, which of whose columns are wired how is not known; write "
                "periphery.wire_resistance: 0 ohm to leave wires out."
            )
        self._device = profile.device
        self._conductances = conductances(profile)
        self._parts = torch.tensor(PARTS[profile.array.cell]).view(-1, 1, 1)
        self._paired = profile.array.cell == "one-sided-pair"
        self.lower, self.upper = _bounds(profile, outputs, inputs, seed)
        self.clipped = 0
        scale = self._conductances
        self._pcm = _pcm_model()(scale.g_max * 1e6, scale.g_min * 1e6, profile)
        self._programmed = self._now = self._exponents = torch.zeros_like(self.lower)
        self.noise_model = _tile_model()(self)

    @property
    def conductances(self) -> Tensor:
        """Present conductances `[D, outputs, inputs]`, siemens, float32."""
        return self._now * 1e-6

    def program(self, weight: Tensor) -> Tensor:
        """Program `weight` `[outputs, inputs]`, in w, and return the resulting weight."""
        scale, device = self._conductances, self._device
        desired = torch.stack((weight.clamp(min=0), -weight.clamp(max=0))) if self._paired else weight.unsqueeze(0)
        desired = desired.expand_as(self.lower)
        target = desired.clamp(self.lower, self.upper)
        beyond = (desired - target).abs() > ROUNDING * (scale.w_max - scale.w_min)
        self.clipped = int((beyond & ~self._stuck).any(dim=0).sum())
        if device.model != "exact":
            target = self._nearest_level(target)
        g_target = self._microsiemens(target)
        programming = device.programming
        if programming is not None and programming.kind == "pcm":
            noisy = self._pcm.apply_programming_noise_to_conductance(g_target)
        else:
            sigma = device.response.write_noise if programming is None else programming.noise
            noisy = g_target + sigma * scale.per_weight * 1e6 * torch.randn_like(g_target)
        self._programmed = noisy.clamp(self._microsiemens(self.lower), self._microsiemens(self.upper))
        self._exponents = self._pcm.generate_drift_coefficients(g_target)
        self._now = self._programmed
        return self._weight()

    def drift(self, t_s: float) -> Tensor:
        """Apply the drift until `t_s` seconds after programming, and return the weights `[outputs, inputs]`, in w."""
        drifted = self._pcm.apply_drift_noise_to_conductance(self._programmed, self._exponents, t_s)
        self._now = torch.where(self._stuck, self._programmed, drifted)
        return self._weight()

    @property
    def _stuck(self) -> Tensor:
        return self.lower == self.upper

    def _nearest_level(self, target: Tensor) -> Tensor:
        step = self._device.response.step
        level = (self.lower + step * ((target - self.lower) / step).round()).minimum(self.upper)
        return torch.where((self.upper - target) < (level - target).abs(), self.upper, level)

    def _microsiemens(self, weight: Tensor) -> Tensor:
        scale = self._conductances
        return ((weight - scale.w_min) * (scale.per_weight * 1e6) + scale.g_min * 1e6).clamp(
            scale.g_min * 1e6, scale.g_max * 1e6
        )

    def _weight(self) -> Tensor:
        scale = self._conductances
        if self._ohm:
            outputs, inputs = self._now.shape[1:]
            columns = np.full((inputs, outputs, 2), scale.zero)  # per output: positive column, then negative
            for part, siemens in enumerate(self.conductances.double().numpy()):
                columns[:, :, part] = siemens.T
            through = with_wires(columns.reshape(inputs, -1), self._ohm).reshape(columns.shape)
            return torch.from_numpy((through[:, :, 0] - through[:, :, 1]).T / scale.per_weight).float().contiguous()
        return (self._parts * (self._now - scale.zero * 1e6)).sum(dim=0) / (scale.per_weight * 1e6)


def _bounds(profile: Profile, outputs: int, inputs: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the lower and upper bounds of each device `[D, outputs, inputs]`, w, within those of the mean device."""
    response, shape = profile.device.response, (len(PARTS[profile.array.cell]), outputs, inputs)
    lower, upper = torch.full(shape, response.w_min), torch.full(shape, response.w_max)
    if profile.device.model == "exact":
        return lower, upper
    config = rpu_config(profile, seed)
    hidden = config.tile_class(outputs, inputs, config, bias=False).get_hidden_parameters()
    # aihwkit's one-sided cell has the negative device first
    names = {"single": ("",), "one-sided-pair": ("_1", "_0"), "random-pair": ("_0", "_1")}[profile.array.cell]
    own = [torch.stack([hidden[f"{bound}{name}"] for name in names]) for bound in ("min_bound", "max_bound")]
    return own[0].clamp(lower, upper), own[1].clamp(lower, upper)


@cache
def _pcm_model() -> Any:
    require_aihwkit()
    from aihwkit.inference.converter.conductance import SinglePairConductanceConverter
    from aihwkit.inference.noise.pcm import PCMLikeNoiseModel

    class DeviceNoise(PCMLikeNoiseModel):
        """aihwkit's PCM noise model, conductances in uS, with the drift of the profile."""

        def __init__(self, g_max: float, g_min: float, profile: Profile) -> None:
            drift = profile.device.drift
            converter = SinglePairConductanceConverter(g_max=g_max, g_min=g_min)
            super().__init__(g_converter=converter, t_0=20.0 if drift is None else drift.t_0)
            self.drift = drift

        def generate_drift_coefficients(self, g_target: Tensor) -> Tensor:
            if self.drift is None or self.drift.kind == "pcm":
                return super().generate_drift_coefficients(g_target)
            return (self.drift.exponent + self.drift.exponent_spread * torch.randn_like(g_target)).clamp(min=0)

        def apply_drift_noise_to_conductance(
            self, g_prog: Tensor, drift_noise_param: Tensor, t_inference: float
        ) -> Tensor:
            assert self.drift is not None, "drift needs a drift model"
            if self.drift.kind == "pcm":
                return super().apply_drift_noise_to_conductance(g_prog, drift_noise_param, t_inference)
            return g_prog * ((t_inference + self.t_0) / self.t_0) ** (-drift_noise_param)

    return DeviceNoise


@cache
def _tile_model() -> Any:
    from aihwkit.inference.noise.base import BaseNoiseModel

    class TileNoise(BaseNoiseModel):
        """Noise model of an inference tile that uses `ProgrammedDevices`; aihwkit itself would rescale the weights."""

        def __init__(self, devices: ProgrammedDevices) -> None:
            super().__init__()
            self.devices = devices

        def apply_programming_noise(self, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
            return self.devices.program(weights), []

        def apply_drift_noise(
            self, weights: Tensor, drift_noise_parameters: list[Tensor | None], t_inference: float
        ) -> Tensor:
            return self.devices.drift(t_inference)

    return TileNoise
