"""Whole runs on the bundled digits: their files, how they stop, and bit-equal results after resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from scff_hw.errors import CheckpointError, DataError, DivergenceError, RecipeError
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training import SilentProgress, evaluate, train
from scff_hw.training.build import untrained_weights

SMALL = [
    "layers.*.units=20",
    "layers.1.learn.epochs=3",
    "layers.2.learn.epochs=2",
    "readout.solver=ridge",
    "training.checkpoint_every_batches=4",
    "controls.backprop.epochs=2",
    "controls.backprop.learning_rate=0.02",
]


def small(*overrides: str) -> Recipe:
    return load_recipe("digits-mlp", [*SMALL, *overrides])


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(small(), out, seed=3)
    return out


def test_a_run_writes_its_folder(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "recipe.yaml",
        "run.json",
        "summary.json",
        "metrics.jsonl",
        "weights.safetensors",
        "initial.safetensors",
        "backprop.safetensors",
        "checkpoint.safetensors",
    }
    run = json.loads((finished / "run.json").read_text())
    assert run["status"] == "done" and run["seed"] == 3 and run["versions"]["torch"] == torch.__version__
    assert load_recipe(str(finished / "recipe.yaml")) == small()
    metrics = json.loads((finished / "summary.json").read_text())["metrics"]
    assert 0.1 < metrics["untrained_test_accuracy"] + 0.05 < metrics["test_accuracy"] <= 1
    assert metrics["untrained_test_accuracy"] + 0.05 < metrics["backprop_test_accuracy"] <= 1
    assert [layer["layer"] for layer in metrics["layers"]] == [1, 2]


def test_every_batch_is_logged(finished: Path) -> None:
    lines = records(finished)
    batches = [line for line in lines if line["kind"] == "batch"]
    per_epoch = 1437 // 100
    assert [b["step"] for b in batches if b["layer"] == 1] == list(range(1, 3 * per_epoch + 1))
    assert [b["step"] for b in batches if b["layer"] == 2] == list(range(1, 2 * per_epoch + 1))
    assert all(b["weight_min"] < 0 < b["weight_max"] and 0 <= b["dead_units"] <= 1 for b in batches)
    mean = sum(b["goodness_pos"] for b in batches if b["layer"] == 1 and b["epoch"] == 2) / per_epoch
    epoch = next(line for line in lines if line["kind"] == "epoch" and line["layer"] == 1 and line["epoch"] == 2)
    assert epoch["goodness_pos"] == pytest.approx(mean)
    assert [line["epoch"] for line in lines if line["kind"] == "backprop"] == [1, 2]


def test_initial_weights_are_those_of_the_untrained_control(finished: Path) -> None:
    initial, trained = load_file(finished / "initial.safetensors"), load_file(finished / "weights.safetensors")
    for name, value in untrained_weights(small(), 3).items():
        assert torch.equal(initial[name], value)
        assert not torch.equal(trained[name], value)


def test_evaluate_measures_what_the_run_reported(finished: Path) -> None:
    reported = json.loads((finished / "summary.json").read_text())["metrics"]
    metrics = evaluate(finished)["metrics"]
    assert metrics == {key: reported[key] for key in ("test_accuracy", "untrained_test_accuracy")}


def test_a_seed_gives_one_run_and_another_seed_another(finished: Path, tmp_path: Path) -> None:
    train(small("controls.backprop=null"), tmp_path / "same", seed=3)
    train(small("controls.backprop=null"), tmp_path / "other", seed=4)
    whole = load_file(finished / "weights.safetensors")
    same, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("same", "other"))
    assert all(torch.equal(whole[name], same[name]) for name in whole)
    assert not torch.equal(whole["layers.1.weight"], other["layers.1.weight"])


SCRIPT = """
import sys, time
from pathlib import Path
import torch
from scff_hw.recipes import load_recipe
from scff_hw.training import SilentProgress, train

class Slow(SilentProgress):
    def advance(self, n=1, **fields):
        time.sleep(0.02)

out, overrides = Path(sys.argv[1]), sys.argv[2:]
train(load_recipe("digits-mlp", overrides), out, seed=3, progress=Slow())
"""


def start(out: Path) -> subprocess.Popen[bytes]:
    """A process that trains slowly enough to be killed at a given point."""
    command = [sys.executable, "-c", SCRIPT, str(out), *SMALL]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def wait_for_lines(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        checkpoint = out / "checkpoint.safetensors"
        if checkpoint.exists():
            length = json.loads(_metadata(checkpoint)["scff_hw"])["metrics_bytes"]
            if length and (out / "metrics.jsonl").read_bytes()[:length].count(b"\n") >= count:
                return
        if process.poll() is not None:
            raise AssertionError(f"the run ended early: {process.stderr.read().decode() if process.stderr else ''}")
        time.sleep(0.01)
    raise AssertionError("the run did not get so far")


def _metadata(path: Path) -> dict[str, str]:
    """Read the file once: safe_open opens it twice, and the run may replace it in between."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]


KILL, TERM = signal.SIGKILL, signal.SIGTERM


@pytest.mark.parametrize(("lines", "how"), [(2, KILL), (40, KILL), (75, KILL), (40, TERM)])
def test_a_killed_run_resumes_to_the_same_bits(finished: Path, tmp_path: Path, lines: int, how: signal.Signals) -> None:
    """Killed in layer 1, in layer 2 and in the readouts: final weights and metrics equal an undisturbed run's."""
    out = tmp_path / "killed"
    process = start(out)
    wait_for_lines(out, lines, process)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0 and not (out / "summary.json").exists()
    train(small(), out, seed=3, resume=True)
    for name in ("weights.safetensors", "initial.safetensors"):
        whole, resumed = load_file(finished / name), load_file(out / name)
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert without_times(records(out)) == without_times(records(finished))


def test_a_finished_run_is_not_run_again(finished: Path) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    summary = train(small(), finished, seed=3, resume=True)
    assert summary == json.loads((finished / "summary.json").read_text())
    assert (finished / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("overrides", "seed", "message"),
    [
        ([], 4, "has seed 3, so it cannot be resumed with 4"),
        (["layers.1.units=41"], 3, "is not the one asked for now; resume with the same recipe and --set"),
    ],
)
def test_resuming_another_run_is_refused(finished: Path, overrides: list[str], seed: int, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        train(small(*overrides), finished, seed=seed, resume=True)


def test_a_folder_in_use_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not empty; choose another --out"):
        train(small(), finished)
    with pytest.raises(CheckpointError, match=r"holds no run.json, so it is not a run of scff-hw"):
        train(small(), tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["truncated", "junk", "missing", "other tensors"])
def test_a_damaged_checkpoint_is_refused(finished: Path, tmp_path: Path, damage: str) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    path = out / "checkpoint.safetensors"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other tensors":
        train(small("controls.backprop=null", "layers.1.units=30", "layers.*.learn.epochs=1"), tmp_path / "other")
        path.write_bytes((tmp_path / "other" / "checkpoint.safetensors").read_bytes())
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"junk" * 10)
    expected = {
        "truncated": "is not as it was written: its digest must be",
        "junk": "not a readable safetensors file",
        "missing": "checkpoint.safetensors does not exist",
        "other tensors": r"checkpoint.safetensors does not belong to the files beside it",
    }
    with pytest.raises(CheckpointError, match=expected[damage]):
        train(small(), out, seed=3, resume=True)


def test_weights_of_another_architecture_are_refused(finished: Path, tmp_path: Path) -> None:
    for name in ("run.json", "weights.safetensors", "initial.safetensors"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    recipe = (finished / "recipe.yaml").read_text().replace("units: 20", "units: 50", 1)
    (tmp_path / "recipe.yaml").write_text(recipe)
    with pytest.raises(CheckpointError, match=r"weights.safetensors does not belong to the files beside it"):
        evaluate(tmp_path)


def test_divergence_names_the_layer_the_epoch_and_a_cause(tmp_path: Path) -> None:
    recipe = small("layers.*.units=40", "layers.2.learn.learning_rate=100", "layers.2.learn.theta_pos=900")
    message = r"Layer 2 diverged in epoch 1, batch \d+: goodness_pos is .* a learning rate of 100, where adamw usually"
    with pytest.raises(DivergenceError, match=message):
        train(recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (-1e3, "Layer 1 has only dead units in epoch 1, batch 1: every output is 0.* likely cause: a theta_neg of"),
        (float("nan"), "Layer 1 diverged in epoch 1, batch 1: goodness_pos is nan; likely cause:"),
    ],
)
def test_a_dead_or_undefined_layer_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bias: float, message: str
) -> None:
    from scff_hw.training import session

    def broken(recipe: Recipe, seed: int) -> dict[str, torch.Tensor]:
        weights = untrained_weights(recipe, seed)
        return weights | {"layers.1.bias": torch.full_like(weights["layers.1.bias"], bias)}

    monkeypatch.setattr(session, "untrained_weights", broken)
    with pytest.raises(DivergenceError, match=message):
        train(small(), tmp_path / "run")


def test_missing_data_are_named_before_anything_is_written(tmp_path: Path) -> None:
    recipe = load_recipe("mnist-mlp")
    with pytest.raises(DataError, match=r"MNIST"):
        train(recipe, tmp_path / "run", data_dir=tmp_path / "nowhere")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    synced = os.fsync
    calls = []

    def full(handle: int) -> None:
        calls.append(1)
        if len(calls) > 7:
            raise OSError(28, "No space left on device")
        synced(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left"):
        train(small(), out, seed=3)
    monkeypatch.undo()
    assert not [path for path in out.iterdir() if path.name.startswith(".")], "a temporary file was left behind"
    train(small(), out, seed=3, resume=True)


def test_held_out_samples_replace_the_test_part(tmp_path: Path) -> None:
    recipe = small("data.validation_samples=437", "controls.backprop=null")
    summary = train(recipe, tmp_path / "run")
    assert summary["measured_on"] == "437 held-out training samples"
    assert round(summary["metrics"]["test_accuracy"] * 437, 6) % 1 == 0


@pytest.mark.parametrize("rule", ["forward-forward", "forward-forward-supervised"])
def test_hintons_rules_learn_through_the_same_network(tmp_path: Path, rule: str) -> None:
    recipe = small(f"training.rule.name={rule}", "controls.backprop=null", "layers.*.learn.theta_neg=2")
    train(recipe, tmp_path / "run")
    batches = [line for line in records(tmp_path / "run") if line["kind"] == "batch" and line["layer"] == 1]
    assert batches[-1]["loss"] < 0.9 * batches[0]["loss"]


def test_an_unknown_rule_or_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Got 'theta' in training.rule.options instead; did you mean 'theta_"):
        train(small("training.rule.options={theta: 1}"), tmp_path / "run")
    with pytest.raises(RecipeError, match=r"options.penalty of rule 'scff' must be float. Got 'much' instead."):
        train(small("training.rule.options={penalty: much}"), tmp_path / "run")


def test_layers_learn_together_in_the_simultaneous_schedule(tmp_path: Path) -> None:
    train(small("training.schedule=simultaneous", "controls.backprop=null"), tmp_path / "run")
    lines = [line for line in records(tmp_path / "run") if line["kind"] == "batch"]
    assert [line["layer"] for line in lines[:4]] == [1, 2, 1, 2]
    assert lines[-1]["layer"] == 1 and lines[-1]["epoch"] == 3, "layer 2 stops after its two epochs"


def test_caching_a_frozen_prefix_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer 2 makes pairs, so layer 1's output is computed once; without memory for a cache, every batch."""
    from scff_hw.training import features

    overrides = ["layers.2.pairs=made", "augmentation.flip=true", "controls.backprop=null", "controls.untrained=false"]
    overrides += ["readout.solver=paper", "readout.epochs=3"]  # short: no weight is sensitive to rounding
    notes: list[str] = []

    class Noting(SilentProgress):
        def note(self, text: str) -> None:
            notes.append(text)

    train(small(*overrides), tmp_path / "cached")
    monkeypatch.setattr(features, "MEMORY_SHARE", 0.0)
    train(small(*overrides), tmp_path / "computed", progress=Noting())
    assert any("Too little free memory" in note for note in notes)
    cached, computed = (load_file(tmp_path / name / "weights.safetensors") for name in ("cached", "computed"))
    torch.testing.assert_close(cached["layers.2.weight"], computed["layers.2.weight"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cached["readout.weight"], computed["readout.weight"], rtol=1e-3, atol=1e-4)
