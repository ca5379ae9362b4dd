"""Schema of a hardware profile: one device with its periphery and array. Units and ranges are defined here only.

Models are frozen and refuse unknown keys, values without unit and values out of range. Descriptions name the
corresponding aihwkit parameter as `aihwkit: ...`; `scff_hw.hardware.simulator` converts them.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scff_hw.config.base import Line, refuse
from scff_hw.hardware.quantities import Quantity

Weight = Annotated[float, Quantity("w", -100, 100)]
Size = Annotated[float, Quantity("w", 0, 1000)]
Share = Annotated[float, Quantity("fraction", 0, 1)]
Spread = Annotated[float, Quantity("fraction", 0, 1000)]
Siemens = Annotated[float, Quantity("S", 0, 1)]
Seconds = Annotated[float, Quantity("s", 0, 1e12)]
Shape = Annotated[float, Field(ge=-1000, le=1000)]

MODEL_KEYS: dict[str, tuple[str, ...]] = {
    "exact": (),
    "constant-step": (),
    "linear-step": ("gamma_up", "gamma_down", "noise_follows_step", "write_noise"),
    "soft-bounds": ("noise_follows_step", "write_noise", "symmetry_point_at_zero", "reference_spread"),
    "exp-step": (
        "gamma_up", "gamma_down", "a_up", "a_down", "slope", "offset",
        "write_noise", "cycle_to_cycle_add", "cycle_to_cycle_slope",
    ),
}  # fmt: skip
"""Keys of `device.response` per update model, besides the keys common to all models."""

REQUIRED_KEYS = {
    "linear-step": ("gamma_up", "gamma_down"),
    "exp-step": ("gamma_up", "gamma_down", "a_up", "a_down", "slope", "offset"),
}


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Response(Section):
    """Response of a weight to one pulse."""

    step: Annotated[float, Quantity("w", 1e-7, 1)] = Field(
        default=1e-3,
        description="mean weight change of one pulse at weight 0, over both directions; exp-step: a factor of it "
        "(aihwkit: dw_min, of the larger direction)",
    )
    w_min: Weight = Field(default=-1.0, description="mean lower bound of a weight (aihwkit: w_min)")
    w_max: Weight = Field(default=1.0, description="mean upper bound of a weight (aihwkit: w_max)")
    asymmetry: Annotated[float, Quantity("fraction", -1, 1)] = Field(
        default=0.0,
        description="of the step; up steps are larger by this share, down steps smaller (aihwkit: up_down, "
        "of the larger direction)",
    )
    cycle_to_cycle: Spread = Field(
        default=0.0,
        description="of the step in the same direction; standard deviation from pulse to pulse (aihwkit: dw_min_std)",
    )
    write_noise: Size = Field(
        default=0.0,
        description="standard deviation of the read weight about the written weight, drawn "
        "at every write (aihwkit: write_noise_std, in steps)",
    )
    noise_follows_step: bool = Field(
        default=True, description="cycle-to-cycle noise scales with the step at that weight (aihwkit: mult_noise)"
    )
    gamma_up: Shape | None = Field(
        default=None,
        description="no unit; linear-step: relative decrease of the up step from weight 0 to the upper bound, "
        "exp-step: exponent (aihwkit: gamma_up)",
    )
    gamma_down: Shape | None = Field(default=None, description="no unit; the same for down steps (aihwkit: gamma_down)")
    a_up: Shape | None = Field(default=None, description="no unit; exp-step: factor of up steps (aihwkit: A_up)")
    a_down: Shape | None = Field(default=None, description="no unit; exp-step: factor of down steps (aihwkit: A_down)")
    slope: Shape | None = Field(default=None, description="no unit; exp-step: slope of the argument (aihwkit: a)")
    offset: Shape | None = Field(default=None, description="no unit; exp-step: offset of the argument (aihwkit: b)")
    cycle_to_cycle_add: Shape = Field(
        default=0.0, description="no unit; exp-step: additive part of the pulse noise (aihwkit: dw_min_std_add)"
    )
    cycle_to_cycle_slope: Shape = Field(
        default=0.0,
        description="no unit; exp-step: part of the pulse noise proportional to the weight (aihwkit: dw_min_std_slope)",
    )
    symmetry_point_at_zero: bool = Field(
        default=False,
        description="soft-bounds: a reference device subtracts the weight at which up and down steps "
        "are equal (aihwkit: subtract_symmetry_point)",
    )
    reference_spread: Size = Field(
        default=0.0, description="soft-bounds: standard deviation of the reference devices (aihwkit: reference_std)"
    )

    @model_validator(mode="after")
    def _check(self) -> Response:
        if self.w_min >= self.w_max:
            refuse("w_max", f"must be above w_min = {self.w_min:g} w, got {self.w_max:g} w")
        if self.w_max - self.w_min < 2 * self.step:
            refuse("step", f"must fit twice between w_min and w_max, got {self.step:g} w")
        return self


def step_at_zero(model: str, response: Response) -> float:
    """Return the mean size of a pulse at weight 0, over both directions, in w; `step` except for exponential steps."""
    if model != "exp-step":
        return response.step
    required = (response.a_up, response.a_down, response.gamma_up, response.gamma_down, response.offset)
    assert None not in required, "the device is checked before"
    a_up, a_down, gamma_up, gamma_down, offset = (value or 0.0 for value in required)
    up = (1 + response.asymmetry) * max(0.0, 1 - a_up * math.exp(min(700.0, gamma_up * offset)))
    down = (1 - response.asymmetry) * max(0.0, 1 - a_down * math.exp(min(700.0, -gamma_down * offset)))
    return response.step * (up + down) / 2


class DeviceToDevice(Section):
    """Device-to-device variation: standard deviations, drawn once per device."""

    step: Spread = Field(default=0.0, description="of the step (aihwkit: dw_min_dtod)")
    step_log_normal: bool = Field(
        default=False, description="the step is log-normal over devices (aihwkit: dw_min_dtod_log_normal)"
    )
    asymmetry: Spread = Field(default=0.0, description="of the step; spread of the asymmetry (aihwkit: up_down_dtod)")
    w_min: Spread = Field(default=0.0, description="of w_min (aihwkit: w_min_dtod)")
    w_max: Spread = Field(default=0.0, description="of w_max (aihwkit: w_max_dtod)")
    gamma_up: Shape = Field(
        default=0.0, description="no unit; linear-step: spread of gamma_up (aihwkit: gamma_up_dtod)"
    )
    gamma_down: Shape = Field(
        default=0.0, description="no unit; linear-step: spread of gamma_down (aihwkit: gamma_down_dtod)"
    )


class Retention(Section):
    """Change of a weight without writes; applied once per batch in learning."""

    lifetime: Annotated[float, Quantity("batch", 1, 1e15)] | None = Field(
        default=None, description="time constant of the decay to zero, null: none (aihwkit: lifetime)"
    )
    lifetime_device_to_device: Spread = Field(
        default=0.0, description="of the decay rate (aihwkit: lifetime_dtod)"
    )
    diffusion: Size = Field(
        default=0.0, description="standard deviation of a random step per batch (aihwkit: diffusion)"
    )
    diffusion_device_to_device: Spread = Field(default=0.0, description="of the diffusion (aihwkit: diffusion_dtod)")


class Drift(Section):
    """Drift of a programmed conductance over time: `g(t) = g(t_0) (t / t_0)^-exponent`."""

    kind: Literal["pcm", "power-law"] = Field(
        description="pcm: exponent as a function of conductance, by aihwkit's PCM noise model; power-law: as below"
    )
    exponent: Annotated[float, Field(ge=0, le=2)] = Field(
        default=0.0, description="no unit; mean drift exponent (power-law)"
    )
    exponent_spread: Annotated[float, Field(ge=0, le=2)] = Field(
        default=0.0, description="no unit; standard deviation of the exponent over devices (power-law)"
    )
    t_0: Annotated[float, Quantity("s", 1e-9, 1e6)] = Field(
        default=20.0, description="time between programming and the first read"
    )


class Programming(Section):
    """Accuracy of program-and-verify, for weights trained elsewhere."""

    kind: Literal["pcm", "gaussian"] = Field(
        description="pcm: aihwkit's fit, a polynomial of the conductance; gaussian: noise as below"
    )
    noise: Size = Field(default=0.0, description="standard deviation of each programmed device, in w (gaussian)")


class Reset(Section):
    """State after a reset (one-sided pairs are reset when they are saturated)."""

    value: Weight = Field(default=0.0, description="weight after a reset (aihwkit: reset)")
    device_to_device: Spread = Field(default=0.0, description="of that weight (aihwkit: reset_dtod)")
    cycle_to_cycle: Size = Field(
        default=0.01, description="standard deviation from reset to reset (aihwkit: reset_std)"
    )


class Defects(Section):
    """Devices that do not change."""

    stuck: Share = Field(default=0.0, description="share of stuck devices (aihwkit: corrupt_devices_prob)")
    stuck_within: Size = Field(
        default=0.1, description="a stuck weight is between minus and plus this value (aihwkit: corrupt_devices_range)"
    )


class Device(Section):
    """The device at a cross point."""

    model: Literal["exact", "constant-step", "linear-step", "soft-bounds", "exp-step"] = Field(
        description="dependence of the step on the weight: exact (any change, no pulses), constant, linear, soft "
        "bounds (linear, zero at the bound), exponential (aihwkit: the device class)"
    )
    g_max: Siemens | None = Field(
        default=None,
        description="conductance of the mean device at response.w_max; null: 25 uS for programming",
    )
    g_min: Siemens | None = Field(
        default=None,
        description="conductance of the mean device at response.w_min; null: 0 uS for programming",
    )
    write_energy: Annotated[float, Quantity("J", 0, 1)] | None = Field(
        default=None, description="energy of one write pulse"
    )
    write_time: Seconds | None = Field(default=None, description="duration of one write pulse")
    endurance: Annotated[float, Quantity("pulse", 1, 1e18)] | None = Field(
        default=None, description="pulses until a device fails"
    )
    response: Response = Field(default_factory=Response, description="response of a weight to one pulse")
    device_to_device: DeviceToDevice = Field(default_factory=DeviceToDevice, description="variation between devices")
    retention: Retention = Field(default_factory=Retention, description="decay and diffusion in learning")
    drift: Drift | None = Field(default=None, description="drift after programming, null: unknown")
    programming: Programming | None = Field(default=None, description="programming noise, null: unknown")
    reset: Reset = Field(default_factory=Reset, description="state after a reset")
    defects: Defects = Field(default_factory=Defects, description="devices that do not change")

    @property
    def states(self) -> float:
        """Number of steps, of the size at weight 0, between the mean bounds; infinite if that size is 0."""
        at_zero = step_at_zero(self.model, self.response)
        return (self.response.w_max - self.response.w_min) / at_zero if at_zero else math.inf

    @model_validator(mode="after")
    def _check(self) -> Device:
        own_keys = MODEL_KEYS[self.model]
        special = {key for keys in MODEL_KEYS.values() for key in keys}
        for key in sorted(special - set(own_keys)):
            if getattr(self.response, key) != Response.model_fields[key].default:
                takes = ", ".join(own_keys) or "none of its kind"
                refuse(f"response.{key}", f"must be left out with model {self.model}, which takes {takes}")
        for key in REQUIRED_KEYS.get(self.model, ()):
            if getattr(self.response, key) is None:
                refuse(f"response.{key}", f"is missing, model {self.model} needs it: a finite number")
        if self.g_min is not None and self.g_max is not None and self.g_min >= self.g_max:
            refuse("g_max", f"must be above g_min = {self.g_min * 1e6:g} uS, got {self.g_max * 1e6:g} uS")
        return self


class Periphery(Section):
    """Converters and wires of an array. Outputs are in units of a full-scale input times a weight of 1."""

    perfect: bool = Field(default=False, description="exact products, the keys below are ignored (aihwkit: is_perfect)")
    dac_bits: Annotated[float, Quantity("bit", 2, 16, whole=True)] | None = Field(
        default=7.0,
        description="input converter, including the sign; codes are -(2^(bits - 1) - 1) to 2^(bits - 1) - 1, so 1 bit "
        "would only be 0, null: continuous (aihwkit: inp_res = 1 / (2^bits - 2))",
    )
    input_noise: Size = Field(
        default=0.0, description="standard deviation at each input, relative to a full-scale input (aihwkit: inp_noise)"
    )
    adc_bits: Annotated[float, Quantity("bit", 2, 24, whole=True)] | None = Field(
        default=9.0,
        description="output converter, as dac_bits (aihwkit: out_res = 1 / (2^bits - 2))",
    )
    adc_range: Annotated[float, Quantity("w", 1e-3, 1e6)] | None = Field(
        default=20.0, description="largest output of the converter, null: no bound (aihwkit: out_bound)"
    )
    output_noise: Size = Field(default=0.1, description="standard deviation at each output (aihwkit: out_noise)")
    read_noise: Size = Field(
        default=0.0, description="standard deviation of each weight from read to read (aihwkit: w_noise, additive)"
    )
    wire_resistance: Annotated[float, Quantity("ohm", 0, 1e6)] = Field(
        default=0.0,
        description="resistance of a wire segment between adjacent cells, with device.g_max; 0: none. Programmed "
        "weights are read through the wires of all rows and columns; learning models only the output lines of "
        "one-sided pairs, and refuses other cells (aihwkit: ir_drop_g_ratio)",
    )
    noise_management: Literal["none", "abs-max"] = Field(
        default="abs-max",
        description="abs-max: each input vector is scaled to the input range (aihwkit: noise_management)",
    )
    bound_management: Literal["none", "iterative"] = Field(
        default="iterative",
        description="iterative: an output out of range is read again with half the input (aihwkit: bound_management)",
    )


class Array(Section):
    """The crossbar."""

    rows: Annotated[float, Quantity("line", 1, 1e6, whole=True)] | None = Field(
        default=None, description="input lines; layers with more are split over several arrays, null: as many as needed"
    )
    columns: Annotated[float, Quantity("line", 1, 1e6, whole=True)] | None = Field(
        default=None, description="output lines, pairs of lines where cells are pairs, null: as many as needed"
    )
    cell: Literal["single", "one-sided-pair", "random-pair"] = Field(
        default="single",
        description="single: one device relative to a fixed reference; one-sided-pair: a weight is the difference of "
        "two devices, each pulsed in one direction only; random-pair: the mean of two devices, one of which is drawn "
        "for each update (aihwkit: OneSidedUnitCell, VectorUnitCell)",
    )
    refresh_every: Annotated[float, Quantity("batch", 1, 1e9, whole=True)] | None = Field(
        default=None,
        description="one-sided-pair: period in which saturated pairs are reset and rewritten, null: never (aihwkit: "
        "refresh_every)",
    )
    refresh_above: Share = Field(
        default=0.75,
        description="of w_max; a pair is refreshed if its larger device exceeds this (aihwkit: refresh_upper_thres)",
    )
    refresh_with_both_above: Share = Field(
        default=0.25, description="of w_max; and its smaller device exceeds this (aihwkit: refresh_lower_thres)"
    )

    @model_validator(mode="after")
    def _check(self) -> Array:
        if self.refresh_every is not None and self.cell != "one-sided-pair":
            refuse("refresh_every", f"must be null with cell {self.cell}, only a one-sided-pair is refreshed")
        return self


class Learning(Section):
    """Operation of the array in learning: choices, not properties of the device."""

    weight_scaling_omega: Annotated[float, Quantity("w", 0, 10)] = Field(
        default=0.3, description="weight to which the largest initial weight of a layer is scaled; 0 w: no scaling"
    )
    max_pulses: Annotated[float, Quantity("pulse", 1, 10_000, whole=True)] = Field(
        default=31.0, description="longest pulse train of one update (aihwkit: desired_bl)"
    )
    update_management: bool = Field(
        default=True, description="pulse probabilities of inputs and errors are balanced (aihwkit: update_management)"
    )
    pulse_management: bool = Field(
        default=True, description="pulse trains are as short as the update allows (aihwkit: update_bl_management)"
    )
    learning_rate_factor: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=1.0, description="no unit; factor on the recipe's learning rate of weights, not of biases"
    )
    pulses: Literal["stochastic", "mean-count", "deterministic"] = Field(
        default="stochastic", description="generation of pulse trains (aihwkit: pulse_type)"
    )


class Document(Section):
    """Keys common to all kinds of profiles."""

    kind: Literal["analog", "digital"] = Field(description="kind of the profile")
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        max_length=100,
        description="names the profile in tables and run folders",
        json_schema_extra={"allowed": "at most 100 lower-case letters, digits, '.', '_' or '-'"},
    )
    description: Line = Field(description="one line")
    preset: str | None = Field(
        default=None,
        max_length=100,
        description="name of a shipped profile of the same kind that provides the omitted keys, null: the "
        "defaults here",
        json_schema_extra={"allowed": "the name of a shipped profile"},
    )
    sources: dict[str, Line] = Field(
        description="sources of the values, by section or by dotted key",
        json_schema_extra={"allowed": "a mapping of sections or dotted keys to one line of text each"},
    )

    def source_of(self, key: str) -> str:
        """Return the source of the value at a dotted key: its own, or that of the nearest enclosing section."""
        while key not in self.sources and "." in key:
            key = key.rpartition(".")[0]
        return self.sources.get(key, "")


class Profile(Document):
    """One analog device or chip."""

    kind: Literal["analog"] = Field(default="analog", description="analog devices")
    device: Device = Field(description="the device at a cross point")
    periphery: Periphery = Field(default_factory=Periphery, description="converters and wires")
    array: Array = Field(default_factory=Array, description="the crossbar")
    learning: Learning = Field(default_factory=Learning, description="operation of the array in learning")

    @model_validator(mode="after")
    def _check(self) -> Profile:
        exact = self.device.model == "exact"
        if exact and self.array.cell != "single":
            refuse("array.cell", f"must be single with device.model exact, got '{self.array.cell}'")
        if self.array.cell == "one-sided-pair" and self.device.response.w_max <= 0:
            refuse("device.response.w_max", "must be above 0 w for a one-sided-pair")
        if self.periphery.wire_resistance and self.device.g_max is None:
            refuse("periphery.wire_resistance", "needs device.g_max, which is missing")
        return self
