"""A device model from measurements: least squares on whole trajectories, then what is left over as noise.

Conductances become weights, -1 at the smallest and 1 at the largest measured. The models are aihwkit's, for an up and a
down pulse at weight w, with step s and asymmetry b:

    linear-step   s (1 + b) (1 - gamma_up w / w_max)             -s (1 - b) (1 - gamma_down w / w_min)
    soft-bounds   the same with both gammas 1 and fitted bounds
    exp-step      s (1 + b) max(0, 1 - a_up exp(gamma_up z))     -s (1 - b) max(0, 1 - a_down exp(-gamma_down z))
                  z = 2 slope w / (w_max - w_min) + offset, with slope 1 and offset 0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from scff_hw.errors import ProfileError, nearest
from scff_hw.hardware.measurements import Branch

Array = NDArray[np.float64]
Parameters = dict[str, float]

BOUNDS: dict[str, dict[str, tuple[float, float, float]]] = {
    "soft-bounds": {"asymmetry": (0, -0.95, 0.95), "w_max": (1.2, 1.0, 20), "w_min": (-1.2, -20, -1.0)},
    "linear-step": {
        "asymmetry": (0, -0.95, 0.95), "gamma_up": (0.5, 0, 1), "gamma_down": (0.5, 0, 1),
    },
    "exp-step": {
        "asymmetry": (0, -0.95, 0.95), "a_up": (0.1, -50, 1), "gamma_up": (2, 0.05, 20),
        "a_down": (0.1, -50, 1), "gamma_down": (2, 0.05, 20),
    },
}  # fmt: skip
"""Start, lowest and highest of each parameter but the step, whose start the data give; fewest parameters first."""


@dataclass(frozen=True)
class Fit:
    """A device model fitted to measurements.

    Attributes:
        model: of `device.model`.
        parameters: keys of `device.response`, in weights; bounds included.
        g_min, g_max: siemens; the measured range, weights -1 and 1.
        error: root mean square distance of the fit's trajectories from the data, in weights.
        cycle_to_cycle: standard deviation of the step from pulse to pulse, of the step.
        write_noise: standard deviation of a reading about the weight, in weights.
        device_to_device: relative standard deviation of the step over devices, 0 for one device.
        devices: how many were measured.
    """

    model: str
    parameters: Parameters
    g_min: float
    g_max: float
    error: float
    cycle_to_cycle: float = 0.0
    write_noise: float = 0.0
    device_to_device: float = 0.0
    devices: int = 1

    def figures(self) -> dict[str, Any]:
        """What a reader wants to see of it, by name."""
        return {
            "model": self.model,
            "rms_error_w": self.error,
            **{f"{key}_w" if key in ("step", "w_min", "w_max") else key: v for key, v in self.parameters.items()},
            "cycle_to_cycle": self.cycle_to_cycle,
            "write_noise_w": self.write_noise,
            "step_device_to_device": self.device_to_device,
            "devices": self.devices,
        }

    def trajectory(self, branch: Branch) -> Array:
        """The fit beside a measured branch, siemens `[n + 1]`, from the branch's fitted start."""
        w = _weights(branch, self.g_min, self.g_max)
        step = _step_function(self.model, self.parameters)
        return self.g_min + (_best_start(step, w, branch.up) + 1) / 2 * (self.g_max - self.g_min)


def fit_device(branches: Sequence[Branch], model: str = "best") -> Fit:
    """Fit one model, or the one that comes closest.

    Raises:
        ProfileError: no such model, or a device that rises under down pulses.
    """
    names = [*BOUNDS, "best"]
    if model not in names:
        raise ProfileError(f"model must be one of {', '.join(names)}, got '{model}'{nearest(model, names)}")
    g_min = float(min(branch.conductance.min() for branch in branches))
    g_max = float(max(branch.conductance.max() for branch in branches))
    weights = [_weights(branch, g_min, g_max) for branch in branches]
    directions = [branch.up for branch in branches]
    _check_directions(weights, directions)
    fits = [_fit(name, weights, directions, g_min, g_max) for name in BOUNDS if model in ("best", name)]
    best = min(fits, key=lambda fit: fit.error)
    # a model of fewer parameters wins a near draw
    best = next(fit for fit in fits if fit.error <= 1.02 * best.error)
    return _with_spread(_with_noise(best, weights, directions), branches, weights, directions)


def _fit(model: str, weights: Sequence[Array], directions: Sequence[bool], g_min: float, g_max: float) -> Fit:
    names = ["step", *BOUNDS[model]]
    change = np.concatenate([np.abs(np.diff(w[[0, len(w) // 2 or 1]])) / (len(w) // 2 or 1) for w in weights])
    start = [max(float(np.mean(change)), 1e-5), *(b[0] for b in BOUNDS[model].values())]
    low = [1e-7, *(b[1] for b in BOUNDS[model].values())]
    high = [1.0, *(b[2] for b in BOUNDS[model].values())]
    scales = np.array([start[0], *([1.0] * (len(names) - 1))])

    def residuals(values: Array) -> Array:
        step = _step_function(model, _named(names, values * scales))
        return np.concatenate([_best_start(step, w, up) - w for w, up in zip(weights, directions, strict=True)])

    result = least_squares(
        residuals, np.array(start) / scales, bounds=(np.array(low) / scales, np.array(high) / scales), max_nfev=200
    )
    parameters = _named(names, result.x * scales)
    return Fit(model, parameters, g_min, g_max, float(np.sqrt(np.mean(result.fun**2))))


def _named(names: Sequence[str], values: Array) -> Parameters:
    found = {name: float(value) for name, value in zip(names, values, strict=True)}
    return {"w_min": -1.0, "w_max": 1.0} | found


def _step_function(model: str, p: Parameters) -> Callable[[float, bool], float]:
    """The change of one pulse at a weight."""
    up_scale, down_scale = p["step"] * (1 + p["asymmetry"]), p["step"] * (1 - p["asymmetry"])
    if model == "exp-step":
        width = p["w_max"] - p["w_min"]

        def exponential(w: float, up: bool) -> float:
            z = 2 * w / width
            if up:
                return up_scale * max(0.0, 1 - p["a_up"] * float(np.exp(p["gamma_up"] * z)))
            return -down_scale * max(0.0, 1 - p["a_down"] * float(np.exp(-p["gamma_down"] * z)))

        return exponential
    up_slope = p.get("gamma_up", 1.0) / p["w_max"]
    down_slope = p.get("gamma_down", 1.0) / p["w_min"]
    return lambda w, up: up_scale * (1 - up_slope * w) if up else -down_scale * (1 - down_slope * w)


def _best_start(step: Callable[[float, bool], float], w: Array, up: bool) -> Array:
    """The trajectory over a branch; it starts where the first measurements, noise averaged out, say."""
    path = _run(step, float(w[0]), len(w), up)
    few = min(4, len(w))
    return _run(step, float(np.clip(w[0] + np.mean(w[:few] - path[:few]), -1, 1)), len(w), up)


def _run(step: Callable[[float, bool], float], start: float, count: int, up: bool) -> Array:
    path = np.empty(count)
    path[0] = w = start
    for index in range(1, count):
        w = min(max(w + step(w, up), -1.5), 1.5)
        path[index] = w
    return path


def _with_noise(fit: Fit, weights: Sequence[Array], directions: Sequence[bool]) -> Fit:
    """Split what single steps deviate by into noise of the step and noise of the reading.

    Noise of the reading enters two neighbouring steps with opposite signs: their covariance is minus its variance.
    """
    step = _step_function(fit.model, fit.parameters)
    left = [
        np.diff(w) - np.array([step(float(v), up) for v in w[:-1]])
        for w, up in zip(weights, directions, strict=True)
        if len(w) > 2
    ]
    left = [part - part.mean() for part in left]
    variance = float(np.mean(np.concatenate(left) ** 2))
    covariance = float(np.mean(np.concatenate([part[1:] * part[:-1] for part in left])))
    reading = min(max(0.0, -covariance), variance / 2)
    cycle = max(0.0, variance - 2 * reading) ** 0.5 / fit.parameters["step"]
    return replace(fit, cycle_to_cycle=cycle, write_noise=reading**0.5)


def _with_spread(fit: Fit, branches: Sequence[Branch], weights: Sequence[Array], directions: Sequence[bool]) -> Fit:
    """How the step differs from device to device, the shape of the response kept."""
    steps = []
    devices = sorted({branch.device for branch in branches})
    for device in devices:
        own = [(w, up) for w, up, b in zip(weights, directions, branches, strict=True) if b.device == device]

        def residuals(factor: Array, own: list[tuple[Array, bool]] = own) -> Array:
            step = _step_function(fit.model, fit.parameters | {"step": fit.parameters["step"] * float(factor[0])})
            return np.concatenate([_best_start(step, w, up) - w for w, up in own])

        steps.append(float(least_squares(residuals, [1.0], bounds=([1e-3], [1e3])).x[0]) if len(devices) > 1 else 1.0)
    spread = float(np.std(steps, ddof=1) / np.mean(steps)) if len(steps) > 1 else 0.0
    return replace(fit, device_to_device=spread, devices=len(devices))


def _weights(branch: Branch, g_min: float, g_max: float) -> Array:
    return 2 * (branch.conductance - g_min) / (g_max - g_min) - 1


def _check_directions(weights: Sequence[Array], directions: Sequence[bool]) -> None:
    for up, name, sense in ((True, "up", "rise"), (False, "down", "fall")):
        total = sum(float(w[-1] - w[0]) for w, d in zip(weights, directions, strict=True) if d == up)
        if (total > 0) != up:
            raise ProfileError(
                f"conductance must {sense} under pulses in direction {name}, but over all of them it does not; "
                "are the directions swapped?"
            )
