"""Runs and studies in Python: the names of the package, and what an opened run gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import scff_hw
from scff_hw.cli import main

SHORT = ["layers.1.learn.epochs=1", "readout.solver=ridge", "controls.backprop=null"]


@pytest.fixture(scope="module", params=["float", "fixed"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> scff_hw.Run:
    """A finished run of digits-20."""
    out = tmp_path_factory.mktemp("notebook") / "run"
    return scff_hw.train("digits-20", out, overrides=SHORT, backend=request.param, seed=3)


def test_importing_the_package_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, scff_hw; scff_hw.__version__; print({'torch', 'numpy', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert set(scff_hw.__all__) == set(dir(scff_hw))
    for name in scff_hw.__all__:
        assert getattr(scff_hw, name) is not None


def test_a_run_has_the_bits_of_the_command(run: scff_hw.Run, tmp_path: Path) -> None:
    changes = [part for change in SHORT for part in ("--set", change)]
    backend = run.finished.backend
    chosen = ["--backend", backend, "--seed", "3", "--out", str(tmp_path / "run")]
    assert main(["train", "digits-20", *changes, *chosen]) == 0
    other = scff_hw.open_run(tmp_path / "run")
    assert other.accuracy == run.accuracy
    assert all(torch.equal(value, run.finished.weights[name]) for name, value in other.finished.weights.items())


def test_features_and_predictions_give_the_accuracy_of_the_run(run: scff_hw.Run) -> None:
    assert run.features("test").shape == (360, 20) and run.features("train").dtype == np.float32
    assert np.mean(run.predictions() == run.labels()) == pytest.approx(run.accuracy)
    assert f"test accuracy {run.accuracy:.2%}" in repr(run)


def test_metrics_are_a_table(run: scff_hw.Run) -> None:
    table: Any = run.metrics
    batches = table[table["kind"] == "batch"]
    assert len(batches) == 14 and batches["goodness_pos"].notna().all()


def test_plots_are_figures(run: scff_hw.Run) -> None:
    assert run.learning_curves().axes and run.filters().axes


def test_evaluation_and_export(run: scff_hw.Run, tmp_path: Path) -> None:
    result = run.evaluate(profile="ideal", repeats=1)
    assert result["metrics"]["test_accuracy"] == pytest.approx(run.accuracy, abs=0.1)
    manifest = run.export("onnx", tmp_path / "onnx", samples=20)
    assert "float.onnx" in manifest["files"] and (tmp_path / "onnx" / "float.onnx").exists()


def test_a_study_is_a_table(tmp_path: Path) -> None:
    options: dict[str, Any] = {"overrides": [*SHORT, "controls.patches=null"]}
    frame = scff_hw.study("controls", "digits-20", tmp_path / "study", seeds=1, **options)
    assert set(frame["method"]) == {"untrained", "shuffled", "scff"} and frame["test_accuracy"].between(0, 1).all()
