"""A fitted device as files: its profile, and a plot of the fit against the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scff_hw.errors import ProfileError
from scff_hw.files import write_atomic
from scff_hw.hardware.fitting import Fit
from scff_hw.hardware.loader import parse_profile
from scff_hw.hardware.measurements import Branch
from scff_hw.recipes.loader import dump_yaml
from scff_hw.report._style import THEMES, count_axis, dress, new_figure, png


def write_fit(fit: Fit, branches: Sequence[Branch], folder: Path, name: str, source: str) -> tuple[Path, Path]:
    """Write `NAME.yaml` and `NAME.png` into `folder`, and return both paths.

    Raises:
        ProfileError: the name cannot be a profile's, or the fit lies outside what a profile may hold.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name):
        raise ProfileError(
            f"the name of a profile must be at most 100 lower-case letters, digits, '.', '_' or '-', got '{name}'; "
            "give one with --name"
        )
    text = profile_text(fit, name, source)
    parse_profile(text, f"the profile fitted to {source}")
    return write_atomic(folder / f"{name}.yaml", text.encode()), write_atomic(
        folder / f"{name}.png", plot(fit, branches)
    )


def profile_text(fit: Fit, name: str, source: str) -> str:
    """The profile as YAML: the device as fitted, everything else left at its defaults."""
    weights = {"step", "w_min", "w_max"}
    response: dict[str, str | float | bool] = {}
    for key, value in fit.parameters.items():
        unit = " w" if key in weights else " %" if key == "asymmetry" else ""
        shown = 100 * value if key == "asymmetry" else value
        response[key] = f"{shown:.5g}{unit}" if unit else float(f"{shown:.5g}")
    if fit.model == "exp-step":
        response |= {"slope": 1.0, "offset": 0.0}
    else:
        response["noise_follows_step"] = False
    response |= {"cycle_to_cycle": f"{100 * fit.cycle_to_cycle:.4g} %", "write_noise": f"{fit.write_noise:.4g} w"}
    measured = f"{fit.devices} device" + ("s" if fit.devices > 1 else "")
    return dump_yaml(
        {
            "name": name,
            "description": f"{fit.model} model fitted to measurements of {measured}",
            "sources": {"device": f"{source} ({measured}, fit by scff-hw profiles fit)"},
            "device": {
                "model": fit.model,
                "g_min": f"{fit.g_min * 1e6:.6g} uS",
                "g_max": f"{fit.g_max * 1e6:.6g} uS",
                "response": response,
                "device_to_device": {"step": f"{100 * fit.device_to_device:.4g} %"},
            },
        }
    )


def plot(fit: Fit, branches: Sequence[Branch]) -> bytes:
    """Conductance over pulses, measured and fitted, one line a device; PNG."""
    theme = THEMES["light"]
    figure = new_figure(7.2, 3.6, theme)
    axes = figure.subplots()
    counts: dict[str, int] = {}
    for index, branch in enumerate(branches):
        start = counts.get(branch.device, 0)
        pulses = np.arange(start, start + len(branch.conductance))
        counts[branch.device] = int(pulses[-1])
        colour = theme.positive if branch.up else theme.negative
        label = "measured, " + ("up" if branch.up else "down")
        first = all(other.up != branch.up for other in branches[:index])
        measured, fitted = branch.conductance * 1e6, fit.trajectory(branch) * 1e6
        axes.plot(pulses, measured, ".", color=colour, markersize=3, alpha=0.6, label=label if first else None)
        axes.plot(pulses, fitted, "-", color=theme.ink, linewidth=1.4, label="fit" if index == 0 else None)
    title = f"{fit.model}: rms error {100 * fit.error / 2:.2f} % of the range"
    dress(axes, theme, x="pulse", y="conductance, uS", title=title)
    count_axis(axes)
    axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8.5)
    return png(figure)
