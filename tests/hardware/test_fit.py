"""Device models from measurements: recovery of known devices."""


from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from aihwkit.simulator.configs import SingleRPUConfig
from aihwkit.simulator.parameters.enums import PulseType
from aihwkit.simulator.parameters.io import IOParameters
from aihwkit.simulator.parameters.training import UpdateParameters

from scff_hw.errors import ProfileError, UsageError
from scff_hw.export.crossbar.mapping import conductances
from scff_hw.hardware import load_profile
from scff_hw.hardware.fitting import Fit, fit_device
from scff_hw.hardware.measurements import Series
from scff_hw.hardware.schema import Profile
from scff_hw.hardware.simulator import pulsed_device
from scff_hw.report.fitted import profile_text, write_fit

Step = Callable[[Any, bool], Any]
"""The mean change of a pulse at a weight."""
CENTRE, HALF = 30e-6, 20e-6
"""Conductance of weight 0, and of a weight of 1, in the generated data; siemens."""


def linear(step: float, asymmetry: float, gamma_up: float, gamma_down: float) -> Step:
    return lambda w, up: (
        step * (1 + asymmetry) * (1 - gamma_up * w) if up else -step * (1 - asymmetry) * (1 + gamma_down * w)
    )


def soft(step: float, asymmetry: float = 0.0, w_max: float = 1.0, w_min: float = -1.0) -> Step:
    return linear(step, asymmetry, 1 / w_max, -1 / w_min)


def curved(w: Any, up: bool) -> Any:
    """The shape of the shipped reram-es, six times its steps."""
    return 0.0081 * (1 + 0.0972 * np.exp(-2.5 * w)) if up else -0.006 * (1 + 0.99 * np.exp(2.5 * w))


def device(
    step: Step,
    *,
    cycle: float = 0.0,
    follows: bool = False,
    reading: float = 0.0,
    pulses: tuple[int, ...] = (60,) * 4,
    start: float = -0.9,
    seed: int = 0,
    name: str = "0",
) -> Series:
    """Pulses up, down, up ...; pulse noise `cycle`, in w, or relative to the step if it follows the step."""
    draw = np.random.default_rng(seed)
    up = np.repeat([index % 2 == 0 for index in range(len(pulses))], pulses)
    weights = [start]
    for going_up in up.tolist():
        change = step(weights[-1], going_up)
        noise = cycle * draw.standard_normal()
        weights.append(min(max(weights[-1] + change + noise * (change if follows else 1), -1.3), 1.3))
    read = np.array(weights) + reading * draw.standard_normal(len(weights))
    return Series(name, up, np.round((CENTRE + HALF * read) * 1e6, 6) / 1e6)


def bounded(step: Step) -> Step:
    """The same with hard bounds at -1 and 1."""
    return lambda w, up: np.clip(w + step(w, up), -1, 1) - w


def published(kind: str, seed: int) -> Series:
    """Measurements with known parameters: linear steps of 0.01 w, or soft bounds with steps of 0.05 w."""
    if kind == "linear-step":
        return device(bounded(linear(0.01, 0.1, 0.3, 0.6)), cycle=0.003, reading=0.01, pulses=(150,) * 6, seed=seed)
    return device(soft(0.05, -0.2), cycle=0.35, follows=True, reading=0.02, pulses=(64,) * 6, seed=seed)


TRUTH = {
    "linear-step": {"step_at_zero_siemens": 0.01 * HALF, "cycle_to_cycle": 0.3, "write": 0.01 * HALF},
    "soft-bounds": {"step_at_zero_siemens": 0.05 * HALF, "cycle_to_cycle": 0.35, "write": 0.02 * HALF},
}


def saved(fit: Fit, series: Series, folder: Path) -> Profile:
    profile = load_profile(write_fit(fit, [series], folder, "mine", "our bench")[0])
    assert isinstance(profile, Profile)
    return profile


@pytest.mark.parametrize("kind", ["linear-step", "soft-bounds"])
def test_the_true_model_predicts_held_out_pulses_best(kind: str) -> None:
    compare(kind, seeds=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear-step", "soft-bounds"])
def test_the_true_model_wins_18_times_of_20_and_intervals_cover(kind: str) -> None:
    compare(kind, seeds=20)


def compare(kind: str, seeds: int) -> None:
    wins, inside, off = 0, 0, []
    for seed in range(seeds):
        fit = fit_device([published(kind, seed)])
        wins += fit.model == kind
        figures = fit.metrics()
        scale = {"write": ("write_noise_w", fit.per_weight)}
        for name, truth in TRUTH[kind].items():
            key, unit = scale.get(name, (name, 1.0))
            off.append(abs(figures[key] * unit / truth - 1))
            low, high = fit.intervals[key]
            inside += low * unit <= truth <= high * unit
    assert wins >= 0.9 * seeds
    # of 95 %: 18 of 20 or more, on average over three figures
    assert inside >= 0.85 * 3 * seeds
    assert np.median(off) < 0.1 and max(off) < 0.35


def test_intervals_include_a_bound_that_was_not_reached_and_known_bounds_make_them_sharp() -> None:
    series = device(bounded(linear(0.01, 0.1, 0.3, 0.6)), cycle=0.003, reading=0.01, pulses=(150, 120) * 3, seed=3)
    truth = {"step_w": 0.01, "asymmetry": 0.1, "write_noise_w": 0.01, "gamma_up": 0.3, "gamma_down": 0.6}
    free = fit_device([series], "linear-step")
    known = fit_device([series], "linear-step", g_min=10e-6, g_max=50e-6)
    assert free.intervals["g_min_siemens"][0] == 0
    assert "the lower bound, which no pulse reached, from 0 to " in free.included
    assert (known.g_min, known.g_max, known.warnings) == (pytest.approx(10e-6), pytest.approx(50e-6), ())
    for name, value in truth.items():
        wide, sharp = free.intervals[name], known.intervals[name]
        assert wide[0] <= value <= wide[1], name
        assert sharp[1] - sharp[0] < wide[1] - wide[0], name
    assert known.parameters["step"] == pytest.approx(0.01, rel=0.05)
    assert "device.g_min: given to the fit of 1 device" in profile_text(known, "mine", "our bench")
    assert free.included in " ".join(profile_text(free, "mine", "our bench").split())


def test_known_bounds_that_the_data_deny_are_refused_or_warned_of() -> None:
    series = device(soft(0.05), reading=0.005, pulses=(60,) * 4)
    with pytest.raises(
        ProfileError, match=r"g_max must be at least 4\d\.\d+ uS, since readings lie above .* got 40 uS"
    ):
        fit_device([series], "soft-bounds", g_max=40e-6)
    with pytest.raises(ProfileError, match=r"g_max must be above g_min = 10 uS, got 9 uS"):
        fit_device([series], "soft-bounds", g_min=10e-6, g_max=9e-6)
    fit = fit_device([series], "soft-bounds", g_max=60e-6)
    assert any(
        line.startswith("g_max = 60 uS as given does not agree with the data: by them steps vanish at ")
        for line in fit.warnings
    )


@pytest.mark.parametrize("model", ["soft-bounds", "linear-step", "exp-step"])
@pytest.mark.parametrize("truth", [soft(0.05, -0.2), linear(0.02, 0.1, 0.5, 0.6)], ids=["soft", "linear"])
def test_targets_of_an_export_are_conductances_of_the_data_whichever_model(
    model: str, truth: Step, tmp_path: Path
) -> None:
    series = device(truth, pulses=(40,) * 4)
    profile = saved(fit_device([series], model), series, tmp_path)
    held = conductances(profile)
    response = profile.device.response
    ends, _, clipped = held.pair(np.array([[response.w_min, response.w_max]]))
    assert clipped == 0 and ends[0] == pytest.approx([profile.device.g_min, profile.device.g_max])
    # a pulse from a measured conductance leads to the next measured one
    lowest, highest = np.quantile(series.conductance, [0.02, 0.98])
    for siemens in np.linspace(lowest, highest, 7):
        weight = (siemens - held.zero) / held.per_weight
        assert held.pair(np.array([[weight]]))[0].item() == pytest.approx(siemens)
        for up in (True, False):
            expected = siemens + HALF * truth((siemens - CENTRE) / HALF, up)
            after = held.pair(np.array([[weight + profile_step(profile, weight, up)]]))[0].item()
            assert after == pytest.approx(expected, abs=0.02 * 0.5 * np.ptp(series.conductance))


def profile_step(profile: Profile, w: float, up: bool) -> float:
    """The table of hardware_profiles/README.md."""
    r = profile.device.response
    size = r.step * (1 + r.asymmetry if up else 1 - r.asymmetry) * (1 if up else -1)
    if profile.device.model == "exp-step":
        assert r.slope is not None and r.offset is not None
        z = 2 * r.slope * w / (r.w_max - r.w_min) + r.offset
        a, exponent = (r.a_up, r.gamma_up) if up else (r.a_down, -(r.gamma_down or 0))
        assert a is not None and exponent is not None
        return size * max(0.0, 1 - a * np.exp(exponent * z))
    gamma = (r.gamma_up if up else r.gamma_down) if profile.device.model == "linear-step" else 1.0
    assert gamma is not None
    return size * (1 - gamma * w / (r.w_max if up else r.w_min))


def test_soft_bounds_lie_where_steps_vanish_not_where_the_measurement_ends(tmp_path: Path) -> None:
    series = device(soft(0.02), pulses=(100, 100))
    profile = saved(fit_device([series]), series, tmp_path)
    assert profile.device.model == "soft-bounds"
    assert series.conductance.max() < 46e-6
    assert (profile.device.g_min, profile.device.g_max) == pytest.approx((10e-6, 50e-6), rel=1e-3)
    response = profile.device.response
    assert (response.w_min, response.w_max, response.step) == pytest.approx((-1, 1, 0.02), rel=1e-3)
    assert response.cycle_to_cycle == response.write_noise == 0


def test_a_bound_below_0_siemens_is_said(tmp_path: Path) -> None:
    series = published("linear-step", 0)
    fit = fit_device([series], "soft-bounds")
    assert fit.g_min == pytest.approx(0, abs=1e-9)
    assert "w_min is at its limit: the steps down would vanish below 0 uS, so the bound is put at 0 uS" in fit.warnings
    assert any(
        "g_max = " in line and "is extrapolated: the largest conductance measured" in line for line in fit.warnings
    )
    assert saved(fit, series, tmp_path).device.g_min == pytest.approx(0, abs=1e-9)


SIMULATED: dict[str, tuple[Step, float, bool, str]] = {
    "soft": (soft(0.05, -0.2), 0.35, True, "soft-bounds"),
    "linear": (linear(0.01, 0.0, 0.4, 0.5), 0.004, False, "linear-step"),
    "curved": (curved, 0.4, True, "exp-step"),
    "curved, constant noise": (curved, 0.004, False, "exp-step"),
}


@pytest.mark.parametrize("case", SIMULATED)
def test_simulated_pulses_have_steps_and_noises_of_the_data(case: str, tmp_path: Path) -> None:
    truth, cycle, follows, model = SIMULATED[case]
    series = device(truth, cycle=cycle, follows=follows, reading=0.01, pulses=(150,) * 10, start=-0.7, seed=4)
    fit = fit_device([series], model)
    profile = saved(fit, series, tmp_path)
    held = conductances(profile)
    lowest, highest = np.quantile(series.conductance, [0.1, 0.9])
    for siemens in np.linspace(lowest, highest, 3):
        for up in (True, False):
            change = held.per_weight * pulse(profile, (siemens - held.zero) / held.per_weight, up)
            expected = HALF * truth((siemens - CENTRE) / HALF, up)
            sigma = np.hypot(abs(expected) * cycle if follows else HALF * cycle, HALF * 0.01)
            assert change.mean() == pytest.approx(expected, rel=0.12, abs=0.001 * HALF)
            assert change.std() == pytest.approx(sigma, rel=0.15)


def pulse(profile: Profile, weight: float, up: bool) -> np.ndarray[Any, Any]:
    """Changes of 10 000 devices of aihwkit by one pulse from a weight."""
    config = SingleRPUConfig(
        device=pulsed_device(profile.device, 3),
        forward=IOParameters(is_perfect=True),
        update=UpdateParameters(
            desired_bl=1,
            update_management=False,
            update_bl_management=False,
            pulse_type=PulseType.DETERMINISTIC_IMPLICIT,
        ),
    )
    tile: Any = config.tile_class(100, 100, config, bias=False)
    tile.set_weights(torch.full((100, 100), weight))
    tile.set_learning_rate(1e3)
    tile.update(torch.ones(1, 100), torch.ones(1, 100) * (-1 if up else 1))
    return tile.get_weights()[0].numpy().astype(float) - weight


def test_noise_of_the_step_and_of_the_reading_are_told_apart() -> None:
    fit = fit_device(
        [device(soft(0.03, w_max=1.2, w_min=-1.2), cycle=0.01, reading=0.02, pulses=(400,) * 4)], "soft-bounds"
    )
    scale = HALF / fit.per_weight
    assert fit.write_noise == pytest.approx(0.02 * scale, rel=0.15)
    assert fit.cycle_to_cycle * fit.parameters["step"] == pytest.approx(0.01 * scale, rel=0.3)


def test_devices_are_told_apart_before_they_are_pooled() -> None:
    steps = np.array([0.014, 0.017, 0.02, 0.023, 0.026])
    fit = fit_device([device(soft(s, w_max=1.2, w_min=-1.2), name=str(s)) for s in steps], "soft-bounds")
    assert (fit.cycle_to_cycle, fit.write_noise, fit.devices) == (0, 0, 5)
    assert fit.parameters["step"] * fit.per_weight == pytest.approx(steps.mean() * HALF, rel=1e-3)
    assert fit.spread["step"] == pytest.approx(np.std(steps, ddof=1) / steps.mean(), rel=0.01)
    assert max(fit.spread["w_min"], fit.spread["w_max"], fit.spread["asymmetry"]) < 1e-3


def test_spreads_of_bounds_and_steps_are_those_of_the_devices() -> None:
    drawn = np.random.default_rng(1).standard_normal((3, 12))
    drawn = (drawn - drawn.mean(axis=1, keepdims=True)) / drawn.std(axis=1, ddof=1, keepdims=True)
    series = [
        device(
            soft(0.05 * (1 + 0.2 * s), 0.0, 1 + 0.15 * high, -(1 + 0.15 * low)),
            cycle=0.3, follows=True, reading=0.01, pulses=(50,) * 4, start=-0.5, seed=index, name=str(index),
        )
        for index, (low, high, s) in enumerate(drawn.T)
    ]  # fmt: skip
    fit = fit_device(series, "soft-bounds")
    assert (fit.g_min, fit.g_max) == pytest.approx((10e-6, 50e-6), rel=0.03)
    assert (fit.spread["w_min"], fit.spread["w_max"], fit.spread["step"]) == pytest.approx((0.15, 0.15, 0.2), rel=0.2)
    assert fit.parameters["step"] == pytest.approx(0.05, rel=0.05)
    low, high = fit.intervals["w_max_device_to_device"]
    assert low < 0.15 < high


def test_outliers_do_not_move_a_fit_and_are_counted() -> None:
    plain = device(soft(0.03, 0.1, 1.2, -1.2), cycle=0.005, reading=0.01)
    g = plain.conductance.copy()
    g[[77, 150]] = 500e-6, 0.0
    first, second = fit_device([plain], "soft-bounds"), fit_device([Series("0", plain.up, g)], "soft-bounds")
    assert (first.outliers, second.outliers) == (0, 2)
    assert second.warnings == (
        "2 readings or steps (0.83 %) lie more than 5 standard deviations off the model, left out of the fit",
    )
    for key in ("step_w", "asymmetry", "g_max_siemens", "cycle_to_cycle", "write_noise_w"):
        assert second.metrics()[key] == pytest.approx(first.metrics()[key], rel=0.05), key


def test_few_pulses_in_one_direction_and_pulses_in_turn_are_fitted() -> None:
    lopsided = device(soft(0.01, w_max=1.1, w_min=-1.1), cycle=0.002, reading=0.005, pulses=(500, 60))
    fit = fit_device([lopsided], "linear-step")
    middle = (fit.g_min + fit.g_max) / 2
    w = (middle - CENTRE) / HALF
    down = fit.parameters["step"] * (1 - fit.parameters["asymmetry"]) * fit.per_weight
    assert down == pytest.approx(0.01 * (1 + w / 1.1) * HALF, rel=0.1)
    turns = device(soft(0.03, w_max=1.1, w_min=-1.1), cycle=0.004, reading=0.005, pulses=(2, 1) * 90, start=-0.6)
    fit = fit_device([turns])
    at_zero = 0.03 * HALF
    assert fit.metrics()["step_at_zero_siemens"] == pytest.approx(at_zero, rel=0.25)
    assert len(fit.trajectories(turns)) == 180


def test_pulses_whose_range_is_one_step_give_no_device() -> None:
    with pytest.raises(ProfileError, match="measure several pulses in one direction"):
        fit_device([device(soft(0.02), pulses=(1, 1) * 30, start=0.0)], "linear-step")


def test_a_model_that_the_data_do_not_follow_is_warned_of() -> None:
    fit = fit_device([device(curved, cycle=0.1, follows=True, reading=0.003, pulses=(120,) * 8)], "soft-bounds")
    assert any(
        line.startswith("poor fit: the mean steps of the data differ from those of soft-bounds by")
        for line in fit.warnings
    )


def test_long_measurements_are_thinned_and_it_is_said() -> None:
    done: list[tuple[int, int]] = []
    series = device(soft(0.03), cycle=0.3, follows=True, reading=0.01, pulses=(100,) * 400)
    fit = fit_device([series], "soft-bounds", lambda *report: done.append(report))
    assert "the fit used 20000 of 40001 rows, taken evenly from the file" in fit.warnings
    assert fit.parameters["step"] == pytest.approx(0.03, rel=0.03)
    assert done[-1][0] == len(done) <= done[-1][1]


def test_what_is_written_is_a_valid_profile_and_a_plot(tmp_path: Path) -> None:
    series = device(soft(0.03, 0.2, 1.1, -1.1), cycle=0.005, reading=0.002)
    for model in ("soft-bounds", "linear-step", "exp-step"):
        fit = fit_device([series], model)
        profile, plot = write_fit(fit, [series], tmp_path, f"mine-{model}", "our bench")
        loaded = load_profile(profile)
        assert loaded.device.model == model and loaded.source_of("device").startswith("our bench")
        assert loaded.source_of("device.response.step").startswith("fit, 95 % interval ")
        assert loaded.device.response.step == pytest.approx(fit.parameters["step"], rel=1e-3)
        assert loaded.device.states == pytest.approx(2 / fit.metrics()["step_at_zero_w"], rel=1e-3)
        assert plot.read_bytes().startswith(b"\x89PNG")
        assert profile.read_text() == profile_text(fit, f"mine-{model}", "our bench")
        assert np.abs(np.concatenate(fit.trajectories(series))[:50] - series.conductance[:50]).max() < 3e-6
    with pytest.raises(UsageError, match=r"mine-exp-step\.yaml exists already; choose another --name or --out"):
        write_fit(fit, [series], tmp_path, "mine-exp-step", "our bench")
    with pytest.raises(ProfileError, match=r"got 'My Device'; give one with --name"):
        write_fit(fit, [series], tmp_path, "My Device", "our bench")
