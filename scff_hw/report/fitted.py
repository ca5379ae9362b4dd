"""Files of a fitted device: its profile, and a plot of the fit and the data."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scff_hw.config.base import ONE_LINE
from scff_hw.config.yamltext import show
from scff_hw.errors import ProfileError, UsageError
from scff_hw.files import write_atomic
from scff_hw.hardware.fitting import Fit
from scff_hw.hardware.loader import parse_profile
from scff_hw.hardware.measurements import Series
from scff_hw.hardware.pulse_models import CONSTANT_SHARE
from scff_hw.recipes.loader import dump_yaml
from scff_hw.report._style import THEMES, count_axis, dress, new_figure, png

WEIGHTS = ("step", "w_min", "w_max", "write_noise")
SHARES = ("asymmetry", "cycle_to_cycle")
MAX_PULSES = 3_000
"""Largest number of pulses per device on the plot."""
MAX_SOURCE = 600
"""Most characters of a source: the profile adds how the device was fitted, within the limit of a line."""


def write_fit(fit: Fit, series: Sequence[Series], folder: Path, name: str, source: str) -> tuple[Path, Path]:
    """Write `NAME.yaml` and `NAME.png` into `folder`; return both paths.

    Raises:
        ProfileError: as `check_files`, or the fit is outside the valid range of a profile.
        UsageError: as `check_files`.
    """
    profile, image = check_files(folder, name, source)
    text = profile_text(fit, name, source)
    try:
        parse_profile(text, f"the profile fitted to {source}", numbered=False)
    except ProfileError as error:
        raise ProfileError(str(error).partition("\n")[0]) from None
    return write_atomic(profile, text.encode()), write_atomic(image, plot(fit, series))


def check_files(folder: Path, name: str, source: str) -> tuple[Path, Path]:
    """Check the arguments of `write_fit` before a fit; return the paths of the profile and of the plot.

    Raises:
        ProfileError: the name or the source is not valid for a profile.
        UsageError: `folder` is not a folder, or one of the files exists.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name):
        raise ProfileError(
            "the name of a profile must begin with a lower-case letter or digit and be at most 100 lower-case letters, "
            f"digits, '.', '_' or '-', got {show(name)}; give one with --name"
        )
    if len(source) > MAX_SOURCE or not re.fullmatch(ONE_LINE, source):
        raise ProfileError(
            f"the source of measurements must be one line of at most {MAX_SOURCE} characters, got {show(source)}; "
            "give one with --source"
        )
    for part in (folder, *folder.parents):
        if os.path.lexists(part) and not part.is_dir():
            raise UsageError(f"--out must be a folder; {part} is not a folder.")
    files = folder / f"{name}.yaml", folder / f"{name}.png"
    for file in files:
        if os.path.lexists(file):
            raise UsageError(f"The file {file} exists already; choose another --name or --out.")
    return files


def profile_text(fit: Fit, name: str, source: str) -> str:
    """Return the profile as YAML: the fitted device, with its intervals as sources; other keys have their defaults."""
    response: dict[str, Any] = {key: _written(key, value) for key, value in fit.parameters.items()}
    if fit.model == "exp-step":
        response |= {"slope": 1.0, "offset": 0.0}
    else:
        response["noise_follows_step"] = fit.noise_follows_step
    if fit.model == "exp-step" and not fit.noise_follows_step:
        response |= {
            "cycle_to_cycle": _written("cycle_to_cycle", CONSTANT_SHARE),
            "cycle_to_cycle_add": _written("cycle_to_cycle_add", fit.constant_noise / CONSTANT_SHARE),
        }
    else:
        response["cycle_to_cycle"] = _written("cycle_to_cycle", fit.cycle_to_cycle)
    response["write_noise"] = _written("write_noise", fit.write_noise)
    measured = f"{fit.devices} device" + ("s" if fit.devices > 1 else "")
    sources = {"device": f"{source} ({measured}, fit by scff-hw profiles fit; {fit.included})"}
    for key, bound in zip(("g_min", "g_max"), fit.known, strict=True):
        if bound:
            sources[f"device.{key}"] = f"given to the fit of {measured}"
        elif ends := fit.intervals.get(f"{key}_siemens"):
            sources[f"device.{key}"] = f"fit, 95 % interval {ends[0] * 1e6:.6g} uS to {ends[1] * 1e6:.6g} uS"
    for key in response:
        ends = fit.intervals.get(f"{key}_w" if key in WEIGHTS else key)
        if ends and not (key == "cycle_to_cycle" and "cycle_to_cycle_add" in response):
            sources[f"device.response.{key}"] = (
                f"fit, 95 % interval {_written(key, ends[0])} to {_written(key, ends[1])}"
            )
    return dump_yaml(
        {
            "name": name,
            "description": f"{fit.model} model fitted to measurements of {measured}",
            "sources": sources,
            "device": {
                "model": fit.model,
                "g_min": f"{fit.g_min * 1e6:.8g} uS",
                "g_max": f"{fit.g_max * 1e6:.8g} uS",
                "response": response,
                "device_to_device": {
                    key: f"{100 * value:.4g} %" if not key.startswith("gamma") else float(f"{value:.4g}")
                    for key, value in fit.spread.items()
                },
            },
        }
    )


def _written(key: str, value: float) -> str | float:
    """Return `value` in the notation of `device.response` in a profile, e.g. "0.01 w"."""
    if key in WEIGHTS:
        return f"{value:.6g} w"
    return f"{100 * value:.5g} %" if key in SHARES else float(f"{value:.6g}")


def plot(fit: Fit, series: Sequence[Series]) -> bytes:
    """Plot conductance in uS over pulses, measured and fitted, of all devices; return PNG."""
    theme = THEMES["light"]
    figure = new_figure(7.2, 3.6, theme, layout="constrained")
    axes = figure.subplots()
    labels = {True: "measured, up", False: "measured, down", None: "fit"}
    plotted = [_shortened(device) for device in series if device.device in fit.estimates]
    for device in plotted:
        pulses = np.arange(len(device.conductance))
        # a reading has the direction of the preceding pulse
        direction = np.concatenate([device.up[:1], device.up])
        for up, colour in ((True, theme.positive), (False, theme.negative)):
            mask = direction == up
            axes.plot(
                pulses[mask],
                device.conductance[mask] * 1e6,
                ".",
                color=colour,
                markersize=3,
                alpha=0.6,
                label=labels.pop(up, None),
            )
    for device in plotted:
        for (first, last), path in zip(device.branches, fit.trajectories(device), strict=True):
            line = range(first, last + 1)
            axes.plot(line, path * 1e6, "-", color=theme.ink, linewidth=1.4, label=labels.pop(None, None))
    values = np.concatenate([device.conductance for device in plotted]) * 1e6
    low, high = np.quantile(values, [0.001, 0.999])
    low, high = min(low, fit.g_min * 1e6), max(high, min(fit.g_max * 1e6, 1.3 * high))
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    share = 100 * fit.error / (fit.parameters["w_max"] - fit.parameters["w_min"])
    title = f"{fit.model}: rms error {share:.2f} % of the range"
    dress(axes, theme, x="pulse", y="conductance, uS", title=title)
    count_axis(axes)
    axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8.5)
    return png(figure)


def _shortened(series: Series) -> Series:
    """Return the series up to pulse `MAX_PULSES`."""
    return Series(series.device, series.up[:MAX_PULSES], series.conductance[: MAX_PULSES + 1])
