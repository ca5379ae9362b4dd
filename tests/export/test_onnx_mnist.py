"""Integer graphs against the integer reference on real data: every feature and every logit."""

from __future__ import annotations

from pathlib import Path

import pytest

from scff_hw.export.onnx_export import export_onnx
from scff_hw.recipes import load_recipe
from scff_hw.training import train

SHORT = ["readout.epochs=2", "controls.backprop=null", "controls.untrained=false", "layers.*.learn.epochs=1"]
CNN = [
    *("layers.1.channels=16", "layers.1.kernel=5", "layers.1.learn.epochs=0", "data.validation_samples=55000"),
    *("layers.*.learn.optimiser=sgd", "layers.*.learn.weight_decay=0", "readout.augmented_copies=0"),
]


def mnist_run(folder: Path, data_dir: Path, recipe: str, *sets: str) -> Path:
    train(load_recipe(recipe, [*SHORT, *sets]), folder, backend="fixed", data_dir=data_dir)
    return folder


def assert_equal(run: Path, out: Path, data_dir: Path, samples: int) -> None:
    summary = export_onnx(run, out, samples=samples, data_dir=data_dir)
    assert summary["samples"] == samples
    readers = summary["files"]["integer.onnx"]["readers"]
    assert len(readers) == 3
    for figures in readers.values():
        assert figures["samples"] == samples
        assert figures["features_equal"] == figures["logits_equal"] == 1
    # a run's accuracy is that of its graph
    if samples == summary["test_samples"]:
        assert readers["onnxruntime"]["accuracy"] == pytest.approx(summary["test_accuracy"], abs=1e-12)


def test_mnist_dense(data_dir: Path, tmp_path: Path) -> None:
    sets = ("layers.1.units=64", "data.validation_samples=55000")
    run = mnist_run(tmp_path / "run", data_dir, "mnist-500", *sets)
    assert_equal(run, tmp_path / "out", data_dir, 300)


def test_mnist_conv(data_dir: Path, tmp_path: Path) -> None:
    run = mnist_run(tmp_path / "run", data_dir, "mnist-cnn", *CNN)
    assert_equal(run, tmp_path / "out", data_dir, 100)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["mnist-500", "mnist-cnn"])
def test_the_whole_test_set(recipe: str, data_dir: Path, tmp_path: Path) -> None:
    sets = ["layers.1.channels=16"] if recipe == "mnist-cnn" else []
    sets += ["layers.*.learn.optimiser=sgd", "layers.*.learn.weight_decay=0"]
    run = mnist_run(tmp_path / "run", data_dir, recipe, *sets)
    assert_equal(run, tmp_path / "out", data_dir, 10_000)
