"""Inputs scaled over the training part: stored in the run, the same everywhere it is used, and exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from scff_hw.data import load_spoken
from scff_hw.errors import CheckpointError
from scff_hw.export.c.model import export_c
from scff_hw.export.onnx.model import export_onnx
from scff_hw.recipes import load_recipe
from scff_hw.training import evaluate, train
from scff_hw.training.finished import FinishedRun

SMALL = [
    *("layers.1.directions=1", "layers.1.units=21", "layers.1.learn.epochs=1", "layers.1.learn.learning_rate=0.03125"),
    *("training.batch_size=20", "readout.solver=ridge", "controls.backprop=null", "data.scale=per-feature"),
]


@pytest.fixture(scope="module")
def run(spoken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one direction on tones, in fixed point."""
    out = tmp_path_factory.mktemp("scaling") / "run"
    train(load_recipe("fsdd-birnn-best", SMALL), out, backend="fixed", data_dir=spoken)
    return out


def frames(spoken: Path, part: str) -> list[NDArray[np.float64]]:
    """The frames of each recording, in dB."""
    sequences = load_spoken(spoken).part(part)
    return [x[:length].double().numpy() for x, length in zip(sequences.features, sequences.lengths, strict=True)]


def accuracy(run: Path) -> float:
    return json.loads((run / "summary.json").read_text())["metrics"]["test_accuracy"]


def test_a_run_stores_the_moments_of_the_training_frames(run: Path, spoken: Path) -> None:
    scaling, train_frames = FinishedRun.open(run, spoken).scaling, np.concatenate(frames(spoken, "train"))
    assert np.allclose(scaling.mean, train_frames.mean(0)) and np.allclose(scaling.std, train_frames.std(0, ddof=1))
    assert np.ptp(scaling.mean) > 10  # dB: frames that are not scaled share this profile
    x = FinishedRun.open(run, spoken).samples("test").batch(torch.arange(4)).positive[2, :5].numpy()
    assert np.allclose(x, (frames(spoken, "test")[2][:5] - scaling.mean) / scaling.std, atol=1e-4)


def test_evaluation_uses_the_stored_scaling(run: Path, spoken: Path) -> None:
    assert evaluate(run, data_dir=spoken)["metrics"]["test_accuracy"] == pytest.approx(accuracy(run))


def test_another_scaling_than_the_runs_is_refused(run: Path, spoken: Path, tmp_path: Path) -> None:
    document = json.loads((run / "run.json").read_text())
    document["scaling"]["mean"][0] += 1
    original = (run / "run.json").read_text()
    (run / "run.json").write_text(json.dumps(document))
    try:
        with pytest.raises(CheckpointError, match=r"run\.json \(seed, backend, data, scaling\)"):
            evaluate(run, data_dir=spoken)
    finally:
        (run / "run.json").write_text(original)


@pytest.mark.parametrize("name", ["float.onnx", "integer.onnx"])
def test_raw_frames_are_recognised_by_the_constants_of_an_onnx_file(
    name: str, run: Path, spoken: Path, tmp_path: Path
) -> None:
    export_onnx(run, tmp_path / "out", data_dir=spoken)
    path = tmp_path / "out" / name
    about = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    mean, std = (np.array(json.loads(about[key])) for key in ("input_mean", "input_std"))
    session = onnxruntime.InferenceSession(path)
    labels, raw = load_spoken(spoken).part("test").labels.numpy(), frames(spoken, "test")
    inputs = [((x - mean) / std).astype(np.float32)[None] for x in raw]
    logits = [session.run(["logits"], {"x": x, "lengths": np.array([x.shape[1]])})[0] for x in inputs]
    found = [np.asarray(values).argmax() for values in logits]
    assert np.mean(found == labels) == pytest.approx(accuracy(run), abs=0.02)
    assert "`input_mean`" in (tmp_path / "out" / "README.md").read_text()


def test_the_header_in_c_has_the_constants(run: Path, spoken: Path, tmp_path: Path) -> None:
    export_c(run, tmp_path / "out", data_dir=spoken)
    (header,) = (tmp_path / "out").glob("model_*.h")
    scaling = FinishedRun.open(run, spoken).scaling
    for macro, values in (("_INPUT_MEAN", scaling.mean), ("_INPUT_STD", scaling.std)):
        text = header.read_text().partition(macro)[2].partition("}")[0].strip(" {")
        assert np.allclose([float(value.strip().removesuffix("f")) for value in text.split(",")], values, rtol=1e-6)


def test_a_run_from_before_it_was_stored_has_the_scaling_of_its_recipe(run: Path, spoken: Path) -> None:
    opened = FinishedRun.open(run, spoken)
    before = FinishedRun(opened.folder, opened.details.model_copy(update={"scaling": None}), opened.recipe, spoken)
    assert before.scaling == opened.scaling
