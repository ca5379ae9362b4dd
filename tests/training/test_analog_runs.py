"""Whole runs on simulated devices: their records, resuming, and evaluation on other hardware."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scff_hw.core.layer import at_random_positions
from scff_hw.errors import CheckpointError, UsageError
from scff_hw.hardware import load_profile
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training import SilentProgress, evaluate, train

SMALL = [
    "layers.*.units=40",
    "layers.*.learn.optimiser=sgd",
    "layers.*.learn.weight_decay=0",
    "layers.*.learn.learning_rate=0.5",
    "layers.1.learn.epochs=3",
    "layers.2.learn.epochs=1",
    "readout.solver=ridge",
    "training.checkpoint_every_batches=4",
    "controls.backprop=null",
]


def small(*overrides: str) -> Recipe:
    return load_recipe("digits-mlp", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "ecram"
    train(small(), out, seed=3, backend="analog", profile=load_profile("ecram"))
    return out


def test_a_run_stores_its_profile_and_counts_its_pulses(finished: Path) -> None:
    assert load_profile(finished / "profile.yaml") == load_profile("ecram")
    run, summary = (json.loads((finished / name).read_text()) for name in ("run.json", "summary.json"))
    assert (run["backend"], run["profile"], summary["profile"]) == ("analog", "ecram", "ecram")
    assert "aihwkit" in run["versions"]
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert [(line["layer"], line["epoch"]) for line in epochs] == [(1, 1), (1, 2), (1, 3), (2, 1)]
    for line in epochs:
        assert 0 <= line["clipped_updates"] <= 1 and 0 <= line["weights_at_bounds"] < 0.1
        assert line["pulses"] > 1000
    assert summary["metrics"]["layers"][0]["pulses"] == epochs[2]["pulses"]


def test_exact_devices_end_where_the_float_backend_does(tmp_path: Path) -> None:
    train(small(), tmp_path / "float", seed=3)
    train(small(), tmp_path / "analog", seed=3, backend="analog", profile=load_profile("exact"))
    float_weights, analog = (load_file(tmp_path / name / "weights.safetensors") for name in ("float", "analog"))
    for name in ("layers.1.weight", "layers.1.bias", "layers.2.weight", "layers.2.bias"):
        torch.testing.assert_close(analog[name], float_weights[name], rtol=1e-3, atol=1e-4)


def test_evaluate_measures_the_chip_of_the_run_again(tmp_path: Path) -> None:
    """Bit for bit if reads have no noise; stuck devices distinguish one chip from another."""
    out = tmp_path / "run"
    broken = load_profile("ecram", ["periphery={perfect: true}", "device.defects.stuck=10 %"])
    reported = train(small(), out, seed=3, backend="analog", profile=broken)["metrics"]
    result = evaluate(out)
    assert result["profile"] == "ecram"
    for key in ("test_accuracy", "untrained_test_accuracy"):
        assert result["metrics"][key] == reported[key]


def test_evaluate_reads_a_noisy_chip_as_often_as_asked(finished: Path) -> None:
    result = evaluate(finished, repeats=4)
    readings = result["values"]["test_accuracy"]
    assert result["repeated"] == "reading" and len(readings) == result["repeats"] == 4
    assert result["metrics"]["test_accuracy"] == pytest.approx(sum(readings) / 4)
    assert result["std"]["test_accuracy"] == pytest.approx(np.std(readings, ddof=1))


def test_evaluate_programs_weights_onto_other_hardware(finished: Path) -> None:
    reported = json.loads((finished / "summary.json").read_text())["metrics"]
    assert (
        evaluate(finished, profile=load_profile("exact"))["metrics"]["test_accuracy"] > reported["test_accuracy"] - 0.1
    )
    noisy = load_profile("ecram", ["periphery.output_noise=100 w"])
    result = evaluate(finished, profile=noisy)
    assert result["metrics"]["test_accuracy"] < 0.5


def test_evaluate_programs_as_many_chips_as_asked_with_their_noise(finished: Path) -> None:
    """Reads have no noise, so chips differ only by programming."""
    perfect = ["periphery={perfect: true}", "device.device_to_device={w_min: 0 %, w_max: 0 %}"]
    noise = "device.programming={{kind: gaussian, noise: {} w}}".format
    none, much = (
        evaluate(finished, profile=load_profile("ideal", [*perfect, noise(sigma)]), repeats=2) for sigma in (0, 1)
    )
    assert none["values"]["test_accuracy"][0] == none["values"]["test_accuracy"][1] and none["clipped_weights"] == 0
    assert none["std"]["test_accuracy"] == 0 and none["repeats"] == 2
    first, second = much["values"]["test_accuracy"]
    assert first != second and much["metrics"]["test_accuracy"] == pytest.approx((first + second) / 2)
    again = evaluate(finished, profile=load_profile("ideal", [*perfect, noise(1)]), repeats=2)
    assert again == much  # devices and noise of programming follow from the seed, bit for bit
    assert much["std"]["test_accuracy"] == pytest.approx(abs(first - second) / 2**0.5)
    assert much["metrics"]["test_accuracy"] < none["metrics"]["test_accuracy"] - 0.1
    assert evaluate(finished, profile=load_profile("ideal", [*perfect, noise(1)]), repeats=1)["std"] == {
        "test_accuracy": None,
        "untrained_test_accuracy": None,
    }


def test_evaluate_reports_the_share_of_clipped_weights(finished: Path) -> None:
    """A single device with weights from 0 cannot store negative weights."""
    half = load_profile("ideal", ["device.response.w_min=0 w", "device.device_to_device.w_max=0 %"])
    weights = load_file(finished / "weights.safetensors")
    hidden = torch.cat([weights[name].flatten() for name in ("layers.1.weight", "layers.2.weight")])
    clipped = evaluate(finished, profile=half, repeats=1)["clipped_weights"]
    assert clipped == pytest.approx(float((hidden < 0).float().mean()), abs=0.001)


class StopsAt(SilentProgress):
    """Interrupts a run at its nth step."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def advance(self, n: int = 1, **fields: float) -> None:
        self.steps -= 1
        if not self.steps:
            raise KeyboardInterrupt


def test_a_stopped_run_resumes_with_its_devices(tmp_path: Path) -> None:
    out, profile = tmp_path / "run", load_profile("reram-es")
    with pytest.raises(KeyboardInterrupt):
        train(small(), out, seed=3, backend="analog", profile=profile, progress=StopsAt(20))
    with pytest.raises(
        CheckpointError, match=r"profile.yaml is not the one asked for now; resume with the same --profile"
    ):
        train(small(), out, seed=3, backend="analog", profile=load_profile("ecram"), resume=True)
    summary = train(small(), out, seed=3, backend="analog", profile=profile, resume=True)
    assert summary["metrics"]["test_accuracy"] > 0.5
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "batch" and line["layer"] == 1]
    assert steps == list(range(1, 43))


def test_adamw_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape("Got 'adamw' instead; type: --set layers.1.learn.optimiser=sgd")):
        train(load_recipe("digits-mlp"), tmp_path / "run", backend="analog")
    assert not (tmp_path / "run").exists()


def test_random_positions_keep_the_mean_error() -> None:
    error = torch.rand(4, 3, 5, 6)
    draws = [at_random_positions(error, 10, torch.Generator().manual_seed(seed)) for seed in range(300)]
    for drawn in draws:
        assert ((drawn != 0).any(dim=1).flatten(1).sum(1) == 10).all()
    mean = torch.stack(draws).mean(0)
    # each position is drawn a third of the time: one standard error is sqrt(2 / 300) = 8 % of its error
    assert ((mean - error).abs() / error).mean() < 0.08
    assert at_random_positions(error, 30, torch.Generator()) is error


def test_a_convolution_learns_from_few_positions_on_devices(tmp_path: Path) -> None:
    kernel = (
        "{kind: conv2d, channels: 8, kernel: 3, padding: 1, init: xavier, pairs: made, "
        "learn: {epochs: 1, optimiser: sgd, learning_rate: 1.0, theta_pos: 1, theta_neg: 2}}"
    )
    recipe = load_recipe(
        "digits-mlp",
        [
            f"layers=[{kernel}]",
            "readout.layers=[1]",
            "readout.solver=ridge",
            "controls.backprop=null",
            "training.update_positions=4",
        ],
    )
    summary = train(recipe, tmp_path / "run", backend="analog", profile=load_profile("ecram"))
    assert summary["metrics"]["layers"][0]["pulses"] > 0
    assert summary["metrics"]["test_accuracy"] > 0.5
