"""Runs that are impossible are refused before any computation: too few samples, too little memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import pytest

from scff_hw.backends import make_backend
from scff_hw.errors import DataError, RecipeError, UsageError
from scff_hw.recipes import load_recipe
from scff_hw.studies import request_study
from scff_hw.training import evaluate, train
from scff_hw.training.build import untrained_weights
from scff_hw.training.run_context import recipe_dataset

LEARN = "{epochs: 1, learning_rate: 1, theta_pos: 1, theta_neg: 1}"
LARGE = f"{{kind: dense, units: 1000000, init: linear, pairs: made, learn: {LEARN}}}"
SHORT = ("layers.1.learn.epochs=1", "readout.solver=ridge", "controls.backprop.epochs=1")


def test_one_held_out_sample_is_measured_on(tmp_path: Path) -> None:
    recipe = load_recipe("iris-mlp", [*SHORT, "data.validation_samples=1"])
    summary = train(recipe, tmp_path / "run")
    assert summary["metrics"]["test_accuracy"] in (0.0, 1.0)
    assert evaluate(tmp_path / "run")["metrics"]["test_accuracy"] == summary["metrics"]["test_accuracy"]


@pytest.mark.parametrize("backend", ["float", "fixed"])
def test_two_samples_are_enough_to_learn_from(tmp_path: Path, backend: str) -> None:
    rest = len(recipe_dataset(load_recipe("iris-mlp"), 0).part("train")) - 2
    sgd = ("layers.*.learn.optimiser=sgd", "layers.*.learn.weight_decay=0", "layers.1.learn.learning_rate=0.01")
    recipe = load_recipe("iris-mlp", [*SHORT, *sgd, f"data.validation_samples={rest}"])
    assert train(recipe, tmp_path / "run", backend=backend)["measured_on"] == f"{rest} held-out training samples"


def test_fewer_samples_than_a_pair_are_refused() -> None:
    recipe = load_recipe("digits-100", ["data.validation_samples=1436"])
    sentence = r"at least 1438 samples, with data.validation_samples 1436 held out. Got 1437\.$"
    with pytest.raises(DataError, match=f"The train part of digits must hold {sentence}"):
        recipe_dataset(recipe, 0)


@pytest.mark.parametrize(
    ("takes", "sentence"),
    [
        (range(5), r"The train part of fsdd must hold at least 2 samples. Got 0\."),
        (range(5, 15), r"The test part of fsdd must hold at least 1 samples. Got 0\."),
    ],
)
def test_recordings_of_one_part_alone_are_refused(spoken: Path, tmp_path: Path, takes: range, sentence: str) -> None:
    folder = tmp_path / "free-spoken-digit-dataset" / "recordings"
    folder.mkdir(parents=True)
    for take in list(takes)[:1]:
        for path in spoken.glob(f"free-spoken-digit-dataset/recordings/[01]_*_{take}.wav"):
            shutil.copy(path, folder)
    with pytest.raises(DataError, match=sentence):
        recipe_dataset(load_recipe("fsdd-birnn"), 0, tmp_path)


@pytest.mark.parametrize(
    ("name", "override", "sentence"),
    [
        ("digits-100", "data.shrink=8", "data.shrink must leave digits more than 1 pixel to standardise over, got 8"),
        ("fsdd-birnn", "data.mfcc.coefficients=2", "data.mfcc.coefficients must be an integer >= 3 and <= 1024, got 2"),
        ("digits-100", "data.std=[1e-30]", "data.std must be a list of finite numbers >= 1e-06 and <= 10, got 1e-30"),
        ("digits-100", "training.update_positions=4", "training.update_positions must be null without a conv2d layer"),
    ],
)
def test_data_options_that_prevent_learning_are_refused(name: str, override: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        load_recipe(name, [override])


def test_the_smallest_std_learns_as_one_does(tmp_path: Path) -> None:
    accuracies = []
    for std in ("1", "1e-6"):
        recipe = load_recipe("iris-mlp", [*SHORT, f"data.std=[{std}]", "controls={}"])
        accuracies.append(train(recipe, tmp_path / std)["metrics"]["layers"][0]["goodness_pos"])
    assert accuracies[0] == pytest.approx(accuracies[1], rel=1e-4)


@pytest.mark.parametrize(("key", "value"), [("dtype", "bfloat16"), ("device", "cuda")])
@pytest.mark.parametrize("backend", ["fixed", "analog"])
def test_a_device_or_dtype_that_a_backend_lacks_is_refused(backend: str, key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{key}.*Got '{value}' instead; type: --set training.{key}="):
        make_backend(backend, dtype="float32" if key == "device" else value, device="cpu" if key == "dtype" else value)


@pytest.mark.parametrize(("key", "value"), [("dtype", "bfloat16"), ("device", "cuda")])
def test_a_device_or_dtype_that_a_study_would_ignore_is_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"A study computes in float32 .*Got '{value}' instead; type: --set "):
        request_study("controls", "iris-mlp", overrides=[f"training.{key}={value}"])


def test_weights_larger_than_the_memory_are_refused_before_they_are_made() -> None:
    recipe = load_recipe("digits-100", [f"layers=[{LARGE}, {LARGE}]"])
    before = psutil.Process().memory_info().rss
    with pytest.raises(RecipeError, match=r"Got 7451\.1 GiB instead, most of it for layers\.2 \(1000000 x 1000000\)"):
        untrained_weights(recipe, 0)
    assert psutil.Process().memory_info().rss - before < 2**27


def test_the_most_layers_are_named() -> None:
    with pytest.raises(RecipeError, match="layers must be a list of layers, at least one and at most 100, got "):
        load_recipe("digits-100", [f"layers=[{', '.join([LARGE] * 200)}]"])
