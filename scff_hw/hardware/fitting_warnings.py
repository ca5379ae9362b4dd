"""Warnings about a fit: parameters at limits, outliers, poor fit, few data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from scff_hw.hardware.fitted_device import DeviceScale, reached
from scff_hw.hardware.measurements import Series
from scff_hw.hardware.pulse_compare import EXTRAPOLATED, OUTLIER
from scff_hw.hardware.pulse_likelihood import Estimate, Pulses, filtered

FEW_PULSES = 30
"""Fewer pulses in one direction give a warning about wide intervals."""
POOR = 0.08
"""Misfit of the mean steps over conductance, relative to the mean step, above which there is a warning."""
BINS = 6


def thin_data(series: Sequence[Series], chosen: Sequence[Series], cuts: Sequence[Pulses]) -> list[str]:
    """Return warnings about devices and rows that were not fitted, and about directions with few pulses."""
    warnings = []
    rows, fitted = sum(len(one.conductance) for one in series), sum(len(one.reading) for one in cuts)
    if fitted < rows:
        devices = f" and {len(chosen)} of {len(series)} devices" if len(chosen) < len(series) else ""
        warnings.append(f"the fit used {fitted} of {rows} rows{devices}, taken evenly from the file")
    for up, name in ((True, "up"), (False, "down")):
        pulses = sum(int((one.up == up).sum()) for one in chosen)
        if pulses < FEW_PULSES:
            warnings.append(f"only {pulses} pulses {name}: the intervals of their values are wide")
    return warnings


def outliers(used: Sequence[Pulses], cuts: Sequence[Pulses]) -> int:
    """Return the number of excluded readings and steps."""
    jumps = sum(int((cut.linked & ~one.linked).sum()) for one, cut in zip(used, cuts, strict=True))
    return sum(int((~one.seen).sum()) for one in used) + jumps


def outlier_warnings(devices: Sequence[Series], used: Sequence[Pulses], cuts: Sequence[Pulses]) -> list[str]:
    """Return a warning about excluded readings and steps, with the devices."""
    count = outliers(used, cuts)
    if not count:
        return []
    share = 100 * count / sum(len(one.seen) for one in used)
    names = [
        device.device for device, one, cut in zip(devices, used, cuts, strict=True) if outliers([one], [cut])
    ]  # fmt: skip
    where = f", on device {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if len(devices) > 1 else ""
    what = "1 reading or step lies" if count == 1 else f"{count} readings or steps ({share:.2g} %) lie"
    return [f"{what} more than {OUTLIER:g} standard deviations off the model, left out of the fit{where}"]


def poor_fit(estimates: Sequence[Estimate], used: Sequence[Pulses]) -> list[str]:
    """Return a warning if the mean steps of the data differ from those of the model."""
    share = misfit(estimates, used)
    if share < POOR:
        return []
    return [
        f"poor fit: the mean steps of the data differ from those of {estimates[0].model.name} by {100 * share:.0f} % "
        "of the mean step"
    ]


def misfit(estimates: Sequence[Estimate], pulses: Sequence[Pulses]) -> float:
    """Return the misfit of mean steps over bins of conductance, relative to the mean step; 0 if noise explains it."""
    worst = 0.0
    for up in (True, False):
        residuals, positions, steps, errors = [], [], [], []
        for one, part in zip(estimates, pulses, strict=True):
            chosen = (part.up == up) & part.linked & part.seen[1:] & part.seen[:-1]
            expected = one.model.steps(one.values, one.states[:-1], part.up).after
            current = filtered(one.model, one.values, part, one.states)
            residuals.append((one.states[1:] - expected)[chosen])
            positions.append(one.states[:-1][chosen])
            steps.append(np.abs(expected - one.states[:-1])[chosen])
            errors.append((current.error / np.sqrt(current.spread))[1:][chosen])
        residual, position, error = (np.concatenate(part) for part in (residuals, positions, errors))
        if len(residual) < 4 * BINS:
            continue
        bins = np.searchsorted(np.quantile(position, np.linspace(0, 1, BINS + 1)[1:-1]), position)
        counts = np.bincount(bins, minlength=BINS)
        chi = float((np.bincount(bins, weights=error, minlength=BINS) ** 2 / np.maximum(counts, 1)).sum())
        if stats.chi2.sf(chi, BINS) > 1e-3:
            continue
        means = np.bincount(bins, weights=residual, minlength=BINS) / np.maximum(counts, 1)
        size = float(np.sqrt(np.sum(counts * means**2) / counts.sum()))
        worst = max(worst, size / max(float(np.mean(np.concatenate(steps))), 1e-12))
    return worst


def limit_warnings(estimates: Sequence[Estimate]) -> list[str]:
    """Return warnings about parameters at a limit on any device."""
    warnings = []
    for name in sorted({name for one in estimates for name in one.at_limit}):
        count = sum(name in one.at_limit for one in estimates)
        where = "" if len(estimates) == 1 else f" on {count} of {len(estimates)} devices"
        model = estimates[0].model
        if name in ("cycle", "reading"):
            # at the low limit there is no noise, which needs no warning
            if any(one.value(name) > -1 for one in estimates if name in one.at_limit):
                warnings.append(f"the noise of {'pulses' if name == 'cycle' else 'readings'} is at its limit{where}")
        elif model.name == "soft-bounds" and name == "gamma_down" and model.floor > -20:
            warnings.append(
                f"w_min is at its limit{where}: the steps down would vanish below 0 uS, so the bound is put at 0 uS"
            )
        elif model.name == "soft-bounds" and name.startswith("gamma"):
            key = "w_max" if name.endswith("up") else "w_min"
            warnings.append(f"{key} is at its limit{where}: the steps hardly change over the measured range")
        elif name in ("low", "high"):
            warnings.append(f"{'w_min' if name == 'low' else 'w_max'} is at its limit{where}")
        else:
            key = {"g_up": "gamma_up", "g_down": "gamma_down"}.get(name, name)
            more = " of 0: the steps do not shrink towards the bound" if model.name == "linear-step" else ""
            warnings.append(f"{key} is at its limit{more}{where}")
    return warnings


def bound_warnings(estimates: Sequence[Estimate], scales: Sequence[DeviceScale], low: float, high: float) -> list[str]:
    """Return warnings about bounds, `low` and `high` in siemens, that no pulse reached."""
    least = min(scale.centre - scale.half for scale in scales)
    most = max(scale.centre + scale.half for scale in scales)
    warnings = []
    if estimates[0].model.name == "soft-bounds":
        reach = (EXTRAPOLATED - 1) * (most - least) / 2
        ends = (
            ("g_max", high, "largest", most, high > most + reach),
            ("g_min", low, "least", least, low < least - reach),
        )
        for (key, value, which, measured, far), bound in zip(ends, estimates[0].model.known[::-1], strict=True):
            if far and bound is None:
                warnings.append(
                    f"{key} = {value * 1e6:.4g} uS is extrapolated: the {which} conductance measured is "
                    f"{measured * 1e6:.4g} uS"
                )
        return warnings
    sides = (("lower", "least", "g_min", low), ("upper", "largest", "g_max", high))
    for there, (side, key, name, value) in zip(reached(estimates), sides, strict=True):
        if not there:
            warnings.append(
                f"the {side} bound was not reached: {name} = {value * 1e6:.4g} uS is the {key} conductance measured, "
                f"and values in w refer to that range; give --{name.replace('_', '-')} where it is known"
            )
    return warnings
