"""Converts a hardware profile to aihwkit's configuration of one tile. Needs aihwkit."""

from __future__ import annotations

from typing import Any

from scff_hw.hardware.available import require_aihwkit
from scff_hw.hardware.schema import Array, Device, Learning, Periphery, Profile

SEEDS = 2**31 - 1
"""aihwkit's construction seeds are positive 32-bit integers; 0 means unseeded."""


def rpu_config(profile: Profile, seed: int) -> Any:
    """Return aihwkit's configuration for one tile of a profile's array.

    Args:
        seed: seed of the tile's devices, any integer; tiles of the same shape and seed have identical devices.

    Returns:
        A `FloatingPointRPUConfig`, `SingleRPUConfig` or `UnitCellRPUConfig`.

    Raises:
        MissingPartError: aihwkit is not installed, or does not work.
    """
    require_aihwkit()
    from aihwkit.simulator.configs import FloatingPointRPUConfig, SingleRPUConfig, UnitCellRPUConfig
    from aihwkit.simulator.configs.devices import IdealDevice
    from aihwkit.simulator.parameters.mapping import MappingParameter

    mapping = MappingParameter(
        digital_bias=True,
        weight_scaling_omega=profile.learning.weight_scaling_omega,
        max_input_size=0,
        max_output_size=0,
    )
    seed = seed % (SEEDS - 1) + 1
    device = profile.device
    if device.model == "exact" and profile.periphery.perfect and not _changes_by_itself(device):
        return FloatingPointRPUConfig(mapping=mapping)
    io = io_parameters(profile.periphery, device)
    update = update_parameters(profile.learning)
    if device.model == "exact":
        ideal = IdealDevice(
            construction_seed=seed, diffusion=device.retention.diffusion, lifetime=device.retention.lifetime or 0.0
        )
        return SingleRPUConfig(device=ideal, forward=io, update=update, mapping=mapping)  # type: ignore[arg-type]
    if profile.array.cell == "single":
        return SingleRPUConfig(device=pulsed_device(device, seed), forward=io, update=update, mapping=mapping)
    cell = _unit_cell(profile.array, device, io, update, seed)
    return UnitCellRPUConfig(device=cell, forward=io, update=update, mapping=mapping)


def pulsed_device(device: Device, seed: int) -> Any:
    """Return aihwkit's pulsed device with the construction seed `seed` (above 0)."""
    from aihwkit.simulator.configs import devices

    response, spread = device.response, device.device_to_device
    # aihwkit's dw_min is the larger step of both directions; up_down reduces the other
    larger = 1 + abs(response.asymmetry)
    common: dict[str, Any] = {
        "construction_seed": seed,
        "dw_min": response.step * larger,
        "dw_min_std": response.cycle_to_cycle,
        "dw_min_dtod": spread.step / larger,
        "dw_min_dtod_log_normal": spread.step_log_normal,
        "up_down": 2 * response.asymmetry / larger,
        "up_down_dtod": spread.asymmetry / larger,
        "w_min": response.w_min,
        "w_max": response.w_max,
        "w_min_dtod": spread.w_min,
        "w_max_dtod": spread.w_max,
        "lifetime": device.retention.lifetime or 0.0,
        "lifetime_dtod": device.retention.lifetime_device_to_device,
        "diffusion": device.retention.diffusion,
        "diffusion_dtod": device.retention.diffusion_device_to_device,
        "reset": device.reset.value,
        "reset_dtod": device.reset.device_to_device,
        "reset_std": device.reset.cycle_to_cycle,
        "corrupt_devices_prob": device.defects.stuck,
        "corrupt_devices_range": device.defects.stuck_within,
    }
    # Weights are set exactly: programming noise is modelled separately, and a restored array must be unchanged.
    noise = {"write_noise_std": response.write_noise / common["dw_min"], "apply_write_noise_on_set": False}
    match device.model:
        case "constant-step":
            return devices.ConstantStepDevice(**common)
        case "linear-step":
            own: dict[str, Any] = {
                "gamma_up": response.gamma_up,
                "gamma_down": response.gamma_down,
                "gamma_up_dtod": spread.gamma_up,
                "gamma_down_dtod": spread.gamma_down,
                "mult_noise": response.noise_follows_step,
            }
            return devices.LinearStepDevice(**common, **noise, **own)
        case "soft-bounds":
            return devices.SoftBoundsReferenceDevice(
                **common,
                **noise,
                mult_noise=response.noise_follows_step,
                subtract_symmetry_point=response.symmetry_point_at_zero,
                reference_std=response.reference_spread,
            )
        case "exp-step":
            own = {
                "A_up": response.a_up,
                "A_down": response.a_down,
                "gamma_up": response.gamma_up,
                "gamma_down": response.gamma_down,
                "a": response.slope,
                "b": response.offset,
                "dw_min_std_add": response.cycle_to_cycle_add,
                "dw_min_std_slope": response.cycle_to_cycle_slope,
            }
            return devices.ExpStepDevice(**common, **noise, **own)
        case "exact":
            raise AssertionError("an exact device has no pulses")


def io_parameters(periphery: Periphery, device: Device) -> Any:
    """Return aihwkit's parameters of a read."""
    from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType, WeightNoiseType
    from aihwkit.simulator.parameters.io import IOParameters

    if periphery.perfect:
        return IOParameters(is_perfect=True)
    noisy = periphery.read_noise > 0
    parameters = IOParameters(
        inp_noise=periphery.input_noise,
        inp_res=_resolution(periphery.dac_bits),
        out_noise=periphery.output_noise,
        out_res=_resolution(periphery.adc_bits if periphery.adc_range is not None else None),
        out_bound=periphery.adc_range or 0.0,
        w_noise=periphery.read_noise,
        w_noise_type=WeightNoiseType.ADDITIVE_CONSTANT if noisy else WeightNoiseType.NONE,
        noise_management={"none": NoiseManagementType.NONE, "abs-max": NoiseManagementType.ABS_MAX}[
            periphery.noise_management
        ],
        bound_management={"none": BoundManagementType.NONE, "iterative": BoundManagementType.ITERATIVE}[
            periphery.bound_management
        ],
    )
    if periphery.wire_resistance and device.g_max:
        parameters.ir_drop = 1.0
        parameters.ir_drop_g_ratio = 1 / (periphery.wire_resistance * device.g_max)
    return parameters


def update_parameters(learning: Learning) -> Any:
    """Return aihwkit's parameters of an update."""
    from aihwkit.simulator.parameters.enums import PulseType
    from aihwkit.simulator.parameters.training import UpdateParameters

    kinds = {
        "stochastic": PulseType.STOCHASTIC_COMPRESSED,
        "mean-count": PulseType.MEAN_COUNT,
        "deterministic": PulseType.DETERMINISTIC_IMPLICIT,
    }
    return UpdateParameters(
        desired_bl=int(learning.max_pulses),
        pulse_type=kinds[learning.pulses],
        update_management=learning.update_management,
        update_bl_management=learning.pulse_management,
    )


def _unit_cell(array: Array, device: Device, io: Any, update: Any, seed: int) -> Any:
    from aihwkit.simulator.configs.compounds import OneSidedUnitCell, VectorUnitCell
    from aihwkit.simulator.parameters.enums import VectorUnitCellUpdatePolicy

    # aihwkit ignores the seeds of the devices unless the cell has a seed
    pair = [pulsed_device(device, seed), pulsed_device(device, seed % SEEDS + 1)]
    if array.cell == "random-pair":
        return VectorUnitCell(
            construction_seed=seed, unit_cell_devices=pair, update_policy=VectorUnitCellUpdatePolicy.SINGLE_RANDOM
        )
    return OneSidedUnitCell(
        construction_seed=seed,
        unit_cell_devices=pair,
        refresh_every=int(array.refresh_every or 0),
        units_in_mbatch=True,
        refresh_upper_thres=array.refresh_above,
        refresh_lower_thres=array.refresh_with_both_above,
        refresh_forward=io,
        refresh_update=update,
    )


def _changes_by_itself(device: Device) -> bool:
    return bool(device.retention.lifetime or device.retention.diffusion)


def _resolution(bits: float | None) -> float:
    return -1.0 if bits is None else 1 / (2**bits - 2)
