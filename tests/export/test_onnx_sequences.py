"""The ONNX files of recurrent networks: equal to the library for sequences of all lengths, whole and frame by frame."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from scff_hw.cli import main
from scff_hw.core import Stream, Streaming
from scff_hw.errors import ExportError
from scff_hw.export.onnx import model as onnx_export
from scff_hw.export.onnx.check import arrays
from scff_hw.export.onnx.float_recurrent import recurrent_first
from scff_hw.export.onnx.model import export_onnx, plan
from scff_hw.export.onnx.run import float_answers, rounding_of_float32
from scff_hw.export.onnx.runtimes import EVALUATOR, OPTIMISED, PLAIN
from scff_hw.recipes import load_recipe
from scff_hw.training import train
from scff_hw.training.finished import FinishedRun

from .onnx_runs import BEHIND, every_initialiser, noise, recordings, sequence_answers, spoken_run

NETWORKS: dict[str, dict[str, Any]] = {
    "both": {"directions": 2, "output": "final"},
    "both-means": {"directions": 2, "output": "final-and-mean"},
    "one": {"directions": 1, "output": "final"},
    "one-means": {"directions": 1, "output": "final-and-mean"},
    "both-behind": {"directions": 2, "output": "final-and-mean", "more": BEHIND, "read": "[1, 2]"},
    "one-behind": {"directions": 1, "output": "final-and-mean", "more": BEHIND, "read": "[2]"},
}
FEATURES = {"both": 24, "both-means": 48, "one": 12, "one-means": 24, "both-behind": 57, "one-behind": 9}
LEFT_OUT = {"integer.onnx", "integer-step.onnx", "qdq.onnx", "qoperator.onnx", "qonnx.onnx"}

Exported = dict[str, tuple[FinishedRun, Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: spoken_run(folder / name, data, **parts) for name, parts in NETWORKS.items()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, Path], data: Path) -> Exported:
    """Each network's run, its exported folder, and the summary."""
    folder = tmp_path_factory.mktemp("onnx")
    return {
        name: (FinishedRun.open(run, data), folder / name, export_onnx(run, folder / name, samples=30, data_dir=data))
        for name, run in runs.items()
    }


def library(run: FinishedRun, x: NDArray[Any], lengths: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    features, logits = float_answers(run, Stream(torch.from_numpy(x), lengths=torch.from_numpy(lengths)))
    return features.numpy(), logits.numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_each_file_gives_the_librarys_logits(name: str, exported: Exported) -> None:
    run, folder, summary = exported[name]
    files = {"float.onnx"} if name.startswith("both") else {"float.onnx", "step.onnx"}
    assert {path.name for path in folder.iterdir()} == {*files, "README.md", "manifest.json"}
    assert set(summary["files"]) == files and set(summary["left_out"]) == LEFT_OUT | ({"step.onnx"} - files)
    for file in files:
        assert set(summary["files"][file]["readers"]) == {EVALUATOR, OPTIMISED, PLAIN}
        tolerance = summary["files"][file]["tolerance"]
        assert 1e-5 <= tolerance < 1e-4
        for figures in summary["files"][file]["readers"].values():
            assert figures["samples"] == 30 and figures["classes_equal"] == 1
            assert figures["largest_logit_difference"] <= tolerance
    x, lengths = arrays(run.samples("test").batch(torch.arange(40)))
    assert len(set(lengths.tolist())) > 10
    expected = library(run, x, lengths)
    for file in files:
        for found in sequence_answers(folder / file, x, lengths).values():
            assert found[0].shape == (40, FEATURES[name])
            for mine, wanted in zip(found, expected, strict=True):
                np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@settings(max_examples=15)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    seed=st.integers(0, 100),
)
def test_sequences_of_any_lengths(name: str, lengths: list[int], seed: int, exported: Exported) -> None:
    """A batch of one, and lengths of 1, among them."""
    run, folder, _ = exported[name]
    x, counted = noise(lengths, seed=seed)
    expected = library(run, x, counted)
    for file in folder.glob("*.onnx"):
        for found in sequence_answers(file, x, counted).values():
            for mine, wanted in zip(found, expected, strict=True):
                np.testing.assert_allclose(mine, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_lies_behind_the_end_changes_no_answer(name: str, garbage: float, exported: Exported) -> None:
    _, folder, _ = exported[name]
    x, lengths = noise([3, 1, 5, 2])
    dirty = np.concatenate([x, np.zeros_like(x[:, :2])], axis=1)
    for sequence, length in zip(dirty, lengths, strict=True):
        sequence[length:] = garbage
    clean, found = (sequence_answers(folder / "float.onnx", each, lengths) for each in (x, dirty))
    for reader in clean:
        for mine, wanted in zip(found[reader], clean[reader], strict=True):
            np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_length_beyond_the_frames_counts_as_all_of_them(name: str, exported: Exported) -> None:
    _, folder, _ = exported[name]
    x, lengths = noise([3, 3, 2])
    beyond = np.array([4, 2**40, 2], dtype=np.int64)
    within, found = (sequence_answers(folder / "float.onnx", x, each) for each in (lengths, beyond))
    for reader in within:
        for mine, wanted in zip(found[reader], within[reader], strict=True):
            np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("name", ["both", "both-means", "one", "one-means"])
def test_a_sequence_of_nothing_has_the_states_before_a_first_frame(name: str, exported: Exported) -> None:
    run, folder, _ = exported[name]
    x, _ = noise([4, 4, 4])
    for features, logits in sequence_answers(folder / "float.onnx", x, np.array([0, -5, 4], dtype=np.int64)).values():
        assert not features[:2].any() and features[2].any()
        np.testing.assert_array_equal(logits[:2], np.tile(run.readout[1].numpy(), (2, 1)))


@pytest.mark.parametrize("name", ["one", "one-means", "one-behind"])
def test_at_every_frame_a_step_gives_what_a_whole_sequence_does_that_ends_there(name: str, exported: Exported) -> None:
    _, folder, _ = exported[name]
    x, _ = noise([9, 9])
    for length in range(1, 10):
        lengths = np.array([length, length], dtype=np.int64)
        whole, steps = (sequence_answers(folder / file, x, lengths) for file in ("float.onnx", "step.onnx"))
        for reader in whole:
            for mine, wanted in zip(steps[reader], whole[reader], strict=True):
                np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


def test_a_layer_heard_frame_by_frame_is_in_the_state_of_the_step(exported: Exported) -> None:
    run, folder, _ = exported["one-means"]
    streaming = Streaming(recurrent_first(run.network))
    x, lengths = noise([11])
    for frame in torch.from_numpy(x[0]):
        streaming.step(frame)
    left = streaming.end().numpy()
    for features, _ in sequence_answers(folder / "step.onnx", x, lengths).values():
        np.testing.assert_allclose(features[0], left, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_examples_of_the_model_card_run(
    name: str, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder, _ = exported[name]
    monkeypatch.chdir(folder)
    text = Path("README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == (1 if name.startswith("both") else 2)
    x, lengths = noise([7])
    expected = library(run, x, lengths)[1]
    for example in examples:
        names: dict[str, Any] = {"x": x, "lengths": lengths, "frames": x[0]}
        exec(example, names)
        np.testing.assert_allclose(names["logits"], expected, rtol=0, atol=1e-4)
    assert f"N x T x {x.shape[2]}" in text and "change no result" in text
    assert max(map(len, text.splitlines())) < 1000


def test_every_file_says_what_it_is(exported: Exported) -> None:
    run, folder, _ = exported["one-means"]
    for name, kind in (("float.onnx", "float"), ("step.onnx", "step")):
        model = onnx.load(str(folder / name))
        known = {each.key: each.value for each in model.metadata_props}
        assert (known["kind"], known["recipe"], known["data"], known["seed"]) == (kind, "tiny-spoken", "fsdd", "0")
        assert [(each.domain, each.version) for each in model.opset_import] == [("", 13)] and model.ir_version == 8
        held = {name: numpy_helper.to_array(each) for name, each in every_initialiser(model.graph).items()}
        for part in ("inputs", "hidden"):
            weight = run.network.arrays[f"layers.1.forwards.{part}"].weight.numpy()
            np.testing.assert_array_equal(held[f"layers.1.forwards.{part}.weight"], weight)
    scans = [node for node in onnx.load(str(folder / "float.onnx")).graph.node if node.op_type == "Scan"]
    assert len(scans) == 1
    sizes = {each.name: shape(each) for each in onnx.load(str(folder / "float.onnx")).graph.input}
    assert sizes == {"x": ["N", "T", 7], "lengths": ["N"]}
    sizes = {each.name: shape(each) for each in onnx.load(str(folder / "step.onnx")).graph.input}
    assert sizes == {"x": ["N", 7], "state": ["N", 12], "sum": ["N", 12], "count": ["N"]}


def test_the_same_run_gives_the_same_bytes(exported: Exported, data: Path, tmp_path: Path) -> None:
    run, folder, _ = exported["one-means"]
    export_onnx(run.path, tmp_path / "again", samples=2, data_dir=data)
    for name in ("float.onnx", "step.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_an_analog_run_is_exported_with_the_weights_that_were_read_back(data: Path, tmp_path: Path) -> None:
    run = spoken_run(tmp_path / "run", data, directions=1, backend="analog", profile="ecram")
    summary = export_onnx(run, tmp_path / "out", samples=20, data_dir=data)
    assert set(summary["files"]) == {"float.onnx", "step.onnx"} and summary["profile"] == "ecram"
    assert "noise" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("name", ["float.onnx", "step.onnx"])
@pytest.mark.parametrize("part", ["inputs", "hidden"])
def test_one_changed_weight_fails_the_export(
    name: str, part: str, runs: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perturbed(run: FinishedRun) -> Any:
        planned, left_out = plan(run)
        held = every_initialiser(planned[name].model.graph)[f"layers.1.forwards.{part}.weight"]
        values = numpy_helper.to_array(held).copy()
        values[0, 0] += 0.05
        held.CopyFrom(numpy_helper.from_array(values, held.name))
        return planned, left_out

    monkeypatch.setattr(onnx_export, "plan", perturbed)
    with pytest.raises(ExportError, match=rf"{name} than the library: logits differ by .* more than"):
        export_onnx(runs["one"], tmp_path / "out", samples=40, data_dir=data)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_amplifies_roundings_is_allowed_as_much_and_no_more(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _ = exported["both"]
    assert 0 < rounding_of_float32(run, run.samples("test").batch(torch.arange(40))) < 5e-6
    for own, allowed in ((1e-7, 1e-5), (2e-5, 2e-4), (0.1, 1e-3)):
        monkeypatch.setattr(onnx_export, "rounding_of_float32", lambda run, x, own=own: own)
        assert plan(run)[0]["float.onnx"].tolerance == pytest.approx(allowed)


@pytest.mark.parametrize(
    ("kind", "backend", "sentence"),
    [
        ("nir", "float", "The layers to export as NIR must be feed-forward. Got the recurrent layer of {run} instead."),
        ("nir", "fixed", "The layers to export as NIR must be feed-forward. Got the recurrent layer of {run} instead."),
        ("c", "fixed", "The layers to export as C must be feed-forward. Got the recurrent layer of {run} instead."),
        ("crossbar", "float", "The layers of a crossbar program must be feed-forward. Got the recurrent layer of"),
    ],
)
def test_what_is_of_feed_forward_layers_is_refused(
    kind: str,
    backend: str,
    sentence: str,
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Before any data is read: there is none here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCFF_HW_DATA", raising=False)
    run = on_fixed(runs["both"], tmp_path / "run") if backend == "fixed" else runs["both"]
    options = ["--profile", "pcm", "--learning-rate", "0.1"] if kind == "crossbar" else []
    assert main(["export", kind, str(run), "--out", "out", *options]) == 2
    said = capfd.readouterr().err
    assert f"Error: {sentence.format(run=run)}" in said and str(run) in said
    assert not (tmp_path / "out").exists()


def test_the_command_shows_each_file_and_what_is_left_out(
    runs: dict[str, Path],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    assert main(["export", "onnx", str(runs["one"]), "--out", "one", "--data-dir", str(data), "--json"]) == 0
    printed = capfd.readouterr()
    found = json.loads(printed.out)
    assert set(found["files"]) == {"float.onnx", "step.onnx"} and found["samples"] == found["test_samples"] == 40
    assert "checking step.onnx" in printed.err
    assert main(["export", "onnx", str(runs["both"]), "--out", "both", "--data-dir", str(data)]) == 0
    said = " ".join(capfd.readouterr().err.split())
    assert "Left out: step.onnx. The second direction starts at a sequence's end" in said
    assert "Left out: integer.onnx, integer-step.onnx. The run is on the float backend" in said


def test_recordings_of_people(real_data: Path, tmp_path: Path) -> None:
    short = ["layers.1.units=16", "layers.1.directions=1", "layers.1.learn.epochs=1", "readout.solver=ridge"]
    recipe = load_recipe("fsdd-birnn-best", [*short, "controls.backprop=null", "controls.untrained=false"])
    train(recipe, tmp_path / "run", data_dir=real_data)
    summary = export_onnx(tmp_path / "run", tmp_path / "out", samples=300, data_dir=real_data)
    for file in summary["files"].values():
        assert file["readers"][OPTIMISED]["accuracy"] == pytest.approx(summary["test_accuracy"], abs=1e-12)


def on_fixed(run: Path, folder: Path) -> Path:
    """A copy of a run that says it is in fixed point."""
    folder.mkdir()
    for path in run.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    details = json.loads((run / "run.json").read_text()) | {"backend": "fixed"}
    (folder / "run.json").write_text(json.dumps(details))
    return folder


def shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]
