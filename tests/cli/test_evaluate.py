"""`scff-hw evaluate`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest


def test_evaluate_repeats_the_accuracy_of_the_run(cli: Any, trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    result = cli("evaluate", trained, "--json")
    assert result.code == 0, result.err
    found = result.json()["metrics"]
    for key in ("test_accuracy", "untrained_test_accuracy"):
        assert found[key] == summary["metrics"][key]
    shown = cli("evaluate", trained)
    assert shown.out == ""
    assert f"{100 * summary['metrics']['test_accuracy']:.2f} %" in shown.err


def test_evaluate_on_devices_has_a_table_of_chips_and_refuses_repeats_without_any(cli: Any, trained: Path) -> None:
    half = "name: half\ndescription: one sign\npreset: ideal\nsources: {device: a test}\n"
    Path("half.yaml").write_text(half + "device: {response: {w_min: 0 w}}\n")
    result = cli("evaluate", trained, "--profile", "half.yaml", "--repeats", 2, "--json")
    found = result.json()
    assert len(found["values"]["test_accuracy"]) == found["repeats"] == 2
    assert re.search(r"Warning: \d\d % of the weights lie beyond the bounds of their devices on half, and", result.err)
    shown = cli("evaluate", trained, "--profile", "exact").err
    assert "chip 3" in shown and "chip 4" not in shown and "±" in shown and "Warning" not in shown
    for options, got in (((), "no --profile"), (("--profile", "cortex-m4"), "--profile cortex-m4, a digital target,")):
        refused = cli("evaluate", trained, "--repeats", 2, *options)
        assert refused.code == 2 and f"so it needs the --profile of analog devices. Got {got} instead." in refused.err


def test_evaluate_on_a_digital_target_says_what_the_run_costs_there(
    cli: Any, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(*_: Any) -> None:
        raise AssertionError("costs need no data set")

    monkeypatch.setattr("scff_hw.training.run_context.load_entry", no_data)
    result = cli("evaluate", trained, "--profile", "cortex-m4", "--json")
    assert result.code == 0, result.err
    found = result.json()
    assert (found["run"], found["recipe"], found["profile"]) == (str(trained), "iris-mlp", "cortex-m4")
    costs = found["costs"]
    # 4 inputs, 10 units, 3 classes, batches of 30
    assert costs["inference"] == {
        "fits": True,
        "flash_bytes": (40 + 40) + (30 + 12),
        "ram_bytes": (4 + 20 + 10) + 10 + 12,
        "flash_missing_bytes": 0,
        "ram_missing_bytes": 0,
        "time_s": pytest.approx(70 * 2.65 / 80e6),
        "energy_joule": pytest.approx(70 * 2.65 * 330e-12),
        "macs": 70,
    }
    learning, pair = costs["learning"]
    assert (learning["batch_size"], learning["ram_bytes"]) == (30, 3 * 40 + 40 + 30 * (4 + 30) + 16)
    assert (pair["batch_size"], pair["ram_bytes"]) == (2, 3 * 40 + 40 + 2 * (4 + 30) + 16)
    assert learning["time_s"] == pytest.approx((40 * 2.65 + 40 * 6 + 40 * 14 / 30) / 80e6)
    assert costs["backpropagation"][0]["ram_bytes"] > learning["ram_bytes"]
    assert costs["formats"]["weight_bits"] == 8


def test_evaluate_on_a_digital_target_has_a_table(cli: Any, trained: Path, tmp_path: Path) -> None:
    shown = cli("evaluate", trained, "--profile", "cortex-m4")
    assert (shown.code, shown.out) == (0, "")
    assert re.search(r"learning, batch 30 +122 B +1\.2 KiB +fits +80 +4\.56 µs +120 nJ", shown.err)
    assert "STM32L476RG" in shown.err and "nothing is measured" in " ".join(shown.err.split())
    small = cli("profiles", "show", "cortex-m4", "--set", "memory.ram=1 KiB", "--set", "memory.ram_reserved=0 B")
    (tmp_path / "small.yaml").write_text(small.out)
    shown = cli("evaluate", trained, "--profile", "small.yaml")
    assert shown.code == 0
    assert re.search(r"learning, batch 30 +122 B +1\.2 KiB +172 B RAM +80", shown.err)
    assert re.search(r"inference +122 B +56 B +fits", shown.err)


def test_evaluate_on_a_digital_target_refuses_what_is_no_finished_run(cli: Any, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "stopped")
    details = json.loads((trained / "run.json").read_text())
    (tmp_path / "stopped" / "run.json").write_text(json.dumps(details | {"status": "interrupted"}))
    for run, sentence in (
        ("stopped", "The run in stopped must be finished to be evaluated, but it is interrupted."),
        ("nowhere", "The folder nowhere holds no run.json, so it is not a run of scff-hw."),
    ):
        result = cli("evaluate", run, "--profile", "cortex-m4")
        assert (result.code, result.out, result.err) == (2, "", f"Error: {sentence}\n")
