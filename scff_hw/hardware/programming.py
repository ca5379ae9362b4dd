"""Weights programmed onto a profile's devices once, and what time does to them. Needs aihwkit."""

from __future__ import annotations

from functools import cache
from typing import Any

from scff_hw.errors import UsageError
from scff_hw.hardware.available import require_aihwkit
from scff_hw.hardware.schema import Device, Profile
from scff_hw.hardware.simulator import io_parameters

G_MAX_US = 25.0
"""Conductance of the largest weight where a profile gives no `device.g_max`: what aihwkit's PCM fits refer to."""


def inference_config(profile: Profile, seed: int = 0) -> Any:
    """aihwkit's configuration of one tile that weights are programmed onto and that then only reads and drifts.

    The largest weight of a tile is put at `device.g_max`, as program-and-verify does; reads are those of the
    profile's periphery. `seed` is not needed: noise of programming is PyTorch's, drawn when it is programmed.

    Returns:
        An `InferenceRPUConfig`, with global drift compensation where a caller reads with it.

    Raises:
        MissingPartError: aihwkit is not installed, or does not work.
    """
    require_aihwkit()
    from aihwkit.inference.compensation.drift import GlobalDriftCompensation
    from aihwkit.simulator.configs import InferenceRPUConfig
    from aihwkit.simulator.parameters.mapping import MappingParameter

    return InferenceRPUConfig(
        forward=io_parameters(profile.periphery, profile.device),
        noise_model=noise_model(profile.device),
        drift_compensation=GlobalDriftCompensation(),
        mapping=MappingParameter(digital_bias=True, weight_scaling_omega=1.0, max_input_size=0, max_output_size=0),
    )


def noise_model(device: Device) -> Any:
    """aihwkit's noise model of a device: `device.programming` when it is programmed, `device.drift` later.

    Where no noise of programming is known, a weight is off by the noise of one write, `response.write_noise`. Where no
    drift is known, drifting raises; see `require_drift`.
    """
    require_aihwkit()
    g_max = G_MAX_US if device.g_max is None else device.g_max * 1e6
    g_min = 0.0 if device.g_min is None else device.g_min * 1e6
    return _model_class()(device, g_max, g_min)


def require_drift(profile: Profile) -> None:
    """Refuse a profile that says nothing about drift.

    Raises:
        UsageError: `device.drift` is not given.
    """
    if profile.device.drift is None:
        raise UsageError(
            f"The profile '{profile.name}' must have device.drift for weights to drift: how its devices drift is not "
            "known, and no drift at all would be a wrong answer. Got null instead; "
            "profiles that have it: pcm, or add it to a profile of your own."
        )


@cache
def _model_class() -> type:
    import torch
    from aihwkit.inference.converter.conductance import SinglePairConductanceConverter
    from aihwkit.inference.noise.pcm import PCMLikeNoiseModel
    from torch import Tensor

    class DeviceNoise(PCMLikeNoiseModel):
        """aihwkit's PCM model, with the parts replaced that a device gives otherwise."""

        def __init__(self, device: Device, g_max: float, g_min: float) -> None:
            converter = SinglePairConductanceConverter(g_max=g_max, g_min=g_min)
            super().__init__(g_converter=converter, t_0=20.0 if device.drift is None else device.drift.t_0)
            self.device = device

        def apply_programming_noise(self, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
            programming = self.device.programming
            if programming is not None and programming.kind == "pcm":
                return super().apply_programming_noise(weights)
            sigma = self.device.response.write_noise if programming is None else programming.noise
            noisy = (weights + sigma * torch.randn_like(weights)).clamp(-1, 1)
            conductances, _ = self.g_converter.convert_to_conductances(weights)
            return noisy, [self.generate_drift_coefficients(g) for g in conductances]

        def generate_drift_coefficients(self, g_target: Tensor) -> Tensor:
            drift = self.device.drift
            if drift is None or drift.kind == "pcm":
                return super().generate_drift_coefficients(g_target)
            return (drift.exponent + drift.exponent_spread * torch.randn_like(g_target)).clamp(min=0)

        def apply_drift_noise_to_conductance(
            self, g_prog: Tensor, drift_noise_param: Tensor, t_inference: float
        ) -> Tensor:
            drift = self.device.drift
            assert drift is not None, "devices without a drift model were asked to drift"
            if drift.kind == "pcm":
                return super().apply_drift_noise_to_conductance(g_prog, drift_noise_param, t_inference)
            return g_prog * ((t_inference + self.t_0) / self.t_0) ** (-drift_noise_param)

    return DeviceNoise
