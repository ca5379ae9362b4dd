"""Device models from measurements: known devices are found again, and measurements that give none are refused."""

# ruff: noqa: E501 (one case a line, each message whole)
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scff_hw.errors import ProfileError
from scff_hw.hardware import load_profile
from scff_hw.hardware.fitting import fit_device
from scff_hw.hardware.fitting_plot import profile_text, write_fit
from scff_hw.hardware.measurements import read_measurements

HEADER = "pulse,direction,conductance_uS"
Step = Callable[[float, bool], float]


def soft(step: float, asymmetry: float, w_max: float, w_min: float) -> Step:
    return lambda w, up: step * (1 + asymmetry) * (1 - w / w_max) if up else -step * (1 - asymmetry) * (1 - w / w_min)


def measure(
    path: Path,
    step: Step,
    *,
    cycle: float = 0.0,
    reading: float = 0.0,
    factors: tuple[float, ...] = (1.0,),
    n: int = 60,
) -> Path:
    """Four branches of `n` pulses a device; weights -1 to 1 are 10 to 30 uS."""
    draw = np.random.default_rng(0)
    rows = [f"device,{HEADER}"]
    for device, factor in enumerate(factors):
        w = -0.9
        directions = [True, *([True] * n + [False] * n) * 2]
        for pulse, up in enumerate(directions):
            if pulse:
                w += factor * (step(w, up) + cycle * draw.standard_normal())
            g = 20 + 10 * (w + reading * draw.standard_normal())
            rows.append(f"{device},{pulse},{'up' if up else 'down'},{g:.6f}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("model", ["soft-bounds", "linear-step", "exp-step"])
def test_a_noiseless_device_is_followed_exactly_by_a_model_that_can(model: str, tmp_path: Path) -> None:
    data = read_measurements(measure(tmp_path / "m.csv", soft(0.03, 0.2, 1.3, -1.2)))
    fit = fit_device(data, model)
    assert fit.error < (1e-3 if model != "exp-step" else 2e-2)
    measured, fitted = data[0].conductance, fit.trajectory(data[0])
    assert np.abs(measured - fitted).max() < 0.03 * np.ptp(measured)


def test_noise_of_the_step_and_of_the_reading_are_told_apart(tmp_path: Path) -> None:
    path = measure(tmp_path / "m.csv", soft(0.03, 0.0, 1.2, -1.2), cycle=0.01, reading=0.02, n=400)
    fit = fit_device(read_measurements(path))
    scale = 20e-6 / (fit.g_max - fit.g_min)  # weights of the fit are those of the measured range
    assert fit.write_noise == pytest.approx(0.02 * scale, rel=0.15)
    assert fit.cycle_to_cycle * fit.parameters["step"] == pytest.approx(0.01 * scale, rel=0.3)


def test_the_spread_of_several_devices_is_found(tmp_path: Path) -> None:
    factors = (0.8, 0.9, 1.0, 1.1, 1.2)
    fit = fit_device(
        read_measurements(measure(tmp_path / "m.csv", soft(0.02, 0, 1.2, -1.2), factors=factors)), "soft-bounds"
    )
    assert fit.devices == 5
    assert fit.device_to_device == pytest.approx(np.std(factors, ddof=1), rel=0.25)


def test_what_is_written_is_a_valid_profile_and_a_plot(tmp_path: Path) -> None:
    data = read_measurements(measure(tmp_path / "m.csv", soft(0.03, 0.2, 1.3, -1.2), cycle=0.005))
    for model in ("soft-bounds", "linear-step", "exp-step"):
        fit = fit_device(data, model)
        profile, plot = write_fit(fit, data, tmp_path, f"mine-{model}", "our bench")
        loaded = load_profile(profile)
        assert loaded.device.model == model and loaded.source_of("device").startswith("our bench")
        assert loaded.device.response.step == pytest.approx(fit.parameters["step"], rel=1e-3)
        assert plot.read_bytes().startswith(b"\x89PNG")
        assert profile.read_text() == profile_text(fit, f"mine-{model}", "our bench")
    with pytest.raises(ProfileError, match=r"got 'My Device'; give one with --name"):
        write_fit(fit, data, tmp_path, "My Device", "our bench")


UP = [f"{k},up,{2 + k / 10}" for k in range(10)]
DOWN = [f"{k},down,{4 - k / 10}" for k in range(10, 20)]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([HEADER, *UP], "m.csv: a fit needs at least 8 pulses in each direction, got 0 down; measure both directions"),
        ([HEADER, *DOWN], "m.csv: a fit needs at least 8 pulses in each direction, got 0 up; measure both directions"),
        ([HEADER, *UP[:5], *UP[6:], *DOWN], "m.csv:7: pulse must be 5, one after the row before (device 1), got 6; a gap hides how much each pulse did"),
        ([HEADER, *UP, "10,down,", *DOWN[1:]], "m.csv:12: conductance must be a finite number >= 0, got an empty cell"),
        ([HEADER, *UP, "10,down,nan", *DOWN[1:]], "m.csv:12: conductance must be a finite number >= 0, got 'nan'"),
        ([HEADER, *UP, "10,down", *DOWN[1:]], "m.csv:12: a row must have 3 cells, got 2"),
        ([HEADER, *UP, "10,dwn,3", *DOWN[1:]], "m.csv:12: direction must be up or down, got 'dwn'"),
        ([HEADER, *UP, "x,down,3", *DOWN[1:]], "m.csv:12: pulse must be a whole number, got 'x'"),
        (["pulse,direction,conductance", *UP, *DOWN], "m.csv:1: one column must hold the conductance with its unit, allowed: pulse, direction, conductance_S or"),
        (["puls,direction,conductance_uS", *UP, *DOWN], "m.csv:1: the column pulse is missing"),
        ([], "m.csv: measurements must start with the columns pulse, direction, conductance_<unit>; the file is empty"),
        ([HEADER, *(f"{k},{'up' if k < 10 else 'down'},3" for k in range(20))], "m.csv: the conductance must change with the pulses"),
    ],
)  # fmt: skip
def test_measurements_that_give_no_device_are_refused(rows: list[str], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("\n".join(rows) + ("\n" if rows else ""))
    with pytest.raises(ProfileError) as caught:
        read_measurements(path)
    assert sentence in str(caught.value)


def test_swapped_directions_and_unknown_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(
        "\n".join([HEADER, *UP, *DOWN]).replace("up", "x").replace("down", "up").replace("x", "down") + "\n"
    )
    with pytest.raises(
        ProfileError, match=r"conductance must rise under pulses in direction up.*are the directions swapped\?"
    ):
        fit_device(read_measurements(path))
    path.write_text("\n".join([HEADER, *UP, *DOWN]) + "\n")
    with pytest.raises(
        ProfileError, match=r"model must be one of soft-bounds, linear-step, exp-step, best, got 'soft'; did you mean"
    ):
        fit_device(read_measurements(path), "soft")
    with pytest.raises(ProfileError, match=r"none.csv: measurements must be a readable CSV file, but: No such file"):
        read_measurements(tmp_path / "none.csv")
