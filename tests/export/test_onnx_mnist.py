"""Integer graphs against the integer reference on real data: every feature and every logit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scff_hw.data import Dataset, Info, Split, load
from scff_hw.export.onnx.model import export_onnx
from scff_hw.export.onnx.runtimes import EVALUATOR
from scff_hw.recipes import load_recipe
from scff_hw.training import run_context, train

SHORT = ["readout.solver=ridge", "controls.backprop=null", "controls.untrained=false", "layers.*.learn.epochs=1"]
PLAIN_SGD = ["layers.*.learn.optimiser=sgd", "layers.*.learn.weight_decay=0"]
TRAIN, TEST = 2000, 400


@pytest.fixture
def part_of_mnist(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST's first images, so that a run takes seconds."""

    def first(split: Split, count: int) -> Split:
        assert split.labels is not None
        return replace(split, images=split.images[:count], labels=split.labels[:count])

    def short(entry: Info, directory: Path | None = None) -> Dataset:
        whole = load(entry.name, directory)
        return replace(whole, train=first(whole.train, TRAIN), test=first(whole.test, TEST))

    monkeypatch.setattr(run_context, "load_entry", short)


def mnist_run(folder: Path, real_data: Path, recipe: str, *sets: str) -> Path:
    train(load_recipe(recipe, [*SHORT, *sets]), folder, backend="fixed", data_dir=real_data)
    return folder


def assert_equal(run: Path, out: Path, real_data: Path, samples: int) -> None:
    summary = export_onnx(run, out, samples=samples, data_dir=real_data)
    assert summary["samples"] == samples
    readers = summary["files"]["integer.onnx"]["readers"]
    assert len(readers) == 3
    for name, figures in readers.items():
        assert figures["samples"] == samples or (name == EVALUATOR and figures["samples"] >= 10)
        assert figures["features_equal"] == figures["logits_equal"] == 1
    # a run's accuracy is that of its graph
    if samples == summary["test_samples"]:
        assert readers["onnxruntime"]["accuracy"] == pytest.approx(summary["test_accuracy"], abs=1e-12)


def test_mnist_dense(part_of_mnist: None, real_data: Path, tmp_path: Path) -> None:
    run = mnist_run(tmp_path / "run", real_data, "mnist-500")
    assert_equal(run, tmp_path / "out", real_data, TEST)


def test_mnist_conv(part_of_mnist: None, real_data: Path, tmp_path: Path) -> None:
    run = mnist_run(tmp_path / "run", real_data, "mnist-cnn", *PLAIN_SGD, "layers.1.channels=12")
    assert_equal(run, tmp_path / "out", real_data, 200)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["mnist-500", "mnist-cnn"])
def test_the_whole_test_set(recipe: str, real_data: Path, tmp_path: Path) -> None:
    sets = ["layers.1.channels=16"] if recipe == "mnist-cnn" else []
    run = mnist_run(tmp_path / "run", real_data, recipe, *PLAIN_SGD, *sets)
    assert_equal(run, tmp_path / "out", real_data, 10_000)
