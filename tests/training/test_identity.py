"""Other data, changed tensors, damaged documents and a folder in use are refused."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scff_hw.errors import BusyError, CheckpointError, DataError, ScffError
from scff_hw.files import LOCK, exclusive
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.report import read_run
from scff_hw.studies import request_study, run_study
from scff_hw.tensor_file import write_tensors
from scff_hw.training import FinishedRun, evaluate, train
from scff_hw.training.calibration import load_formats
from scff_hw.training.run_folder import RunFolder

TINY = ["layers.*.learn.epochs=1", "readout.solver=ridge", "controls.backprop=null"]


def iris(*overrides: str) -> Recipe:
    return load_recipe("iris-mlp", [*TINY, *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, written under a umask of 077."""
    out = tmp_path_factory.mktemp("runs") / "run"
    before = os.umask(0o077)
    try:
        train(iris(), out)
    finally:
        os.umask(before)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def write_mnist(root: Path, seed: int) -> Path:
    """Random images and labels in the files of MNIST."""
    draw = np.random.default_rng(seed)
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = draw.integers(0, 10, count, dtype=np.uint8)
        for name, magic, array in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            header = np.array([magic, *array.shape], dtype=">i4").tobytes()
            (folder / f"{part}-{name}-ubyte").write_bytes(header + array.tobytes())
    return root


def test_a_run_refuses_other_data(tmp_path: Path) -> None:
    here, there = write_mnist(tmp_path / "here", 0), write_mnist(tmp_path / "there", 1)
    layers = "[{kind: dense, units: 4, init: linear, pairs: made, learn: {epochs: 1, optimiser: sgd, "
    layers += "learning_rate: 0.1, theta_pos: 1, theta_neg: 1, penalty: 0}}]"
    recipe = load_recipe("mnist-mlp", [*TINY[1:], f"layers={layers}", "readout.layers=[1]", "training.batch_size=20"])
    train(recipe, tmp_path / "run", data_dir=here)
    details = RunFolder(tmp_path / "run").details()
    assert details.data is not None and details.data.folder == str(here)
    digest = "[0-9a-f]{12}"
    message = rf"The data in {there} are not those of .*: their digest must be {digest}, as it was in {here}\. Got"
    with pytest.raises(DataError, match=message):
        train(recipe, tmp_path / "run", data_dir=there, resume=True)
    with pytest.raises(DataError, match=message):
        evaluate(tmp_path / "run", data_dir=there)
    moved = here.rename(tmp_path / "moved")
    assert 0 <= evaluate(tmp_path / "run", data_dir=moved)["metrics"]["test_accuracy"] <= 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_flipped_bit_of_a_tensor_file_is_noticed(run: Path, data: st.DataObject) -> None:
    path = run / data.draw(st.sampled_from(["weights.safetensors", "initial.safetensors", "checkpoint.safetensors"]))
    content = bytearray(whole := path.read_bytes())
    bit = data.draw(st.one_of(st.integers(0, 8 * len(content) - 1), st.integers(0, 8 * 700)))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        with pytest.raises(CheckpointError, match=path.name):
            RunFolder(run).tensors(path.name)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(run: Path, value: float) -> None:
    folder = RunFolder(run)
    weights = folder.tensors("weights.safetensors")
    weights["layers.1.weight"][0, 1] = value
    folder.write_tensors("weights.safetensors", weights)
    with pytest.raises(CheckpointError, match=rf"'layers.1.weight' in .* must be finite. Got {value} in 1 of its 40"):
        evaluate(run)


def test_weights_of_another_run_or_under_another_recipe_are_refused(run: Path, tmp_path: Path) -> None:
    train(iris(), tmp_path / "other", seed=1)
    message = "weights.safetensors does not belong to the files beside it"
    whole = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(whole.replace("mean: [0.0]", "mean: [0.5]"))
    with pytest.raises(CheckpointError, match=message):
        evaluate(run)
    (run / "recipe.yaml").write_text(whole)
    shutil.copy(tmp_path / "other" / "weights.safetensors", run)
    with pytest.raises(CheckpointError, match=message):
        evaluate(run)


@pytest.mark.parametrize("source", ["weights.safetensors", "checkpoint.safetensors"])
def test_a_tensor_file_under_another_name_is_refused(run: Path, source: str) -> None:
    shutil.copy(run / source, run / "initial.safetensors")
    message = rf"initial\.safetensors must be written as initial\.safetensors\. Got a copy of {source} instead\.$"
    with pytest.raises(CheckpointError, match=message):
        evaluate(run)


def test_tensor_files_without_their_name_are_still_read(run: Path) -> None:
    accuracy, folder = evaluate(run)["metrics"], RunFolder(run)
    for name in ("weights.safetensors", "initial.safetensors"):
        write_tensors(run / name, folder.tensors(name), {"run": folder.identity})
    assert evaluate(run)["metrics"] == accuracy


def test_without_the_schema_of_run_json_the_identity_is_checked(run: Path) -> None:
    document = json.loads((run / "run.json").read_text())
    del document["schema"]
    (run / "run.json").write_text(json.dumps(document | {"seed": 5}))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors does not belong to the files beside it"):
        evaluate(run)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("recipe", "digits-100", "iris-mlp"), ("seed", 1, 0), ("backend", "fixed", "float"), ("profile", "ecram", None)],
)
def test_the_summary_of_another_run_is_refused(run: Path, key: str, value: Any, expected: Any) -> None:
    path = run / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    message = (
        f"The key '{key}' in the file {path} must be {json.dumps(expected)}, as in {run / 'run.json'}. "
        f"Got {json.dumps(value)} instead."
    )
    for read in (read_run, lambda run: FinishedRun.open(run).accuracy, lambda run: train(iris(), run, resume=True)):
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            read(run)


def test_the_summary_of_a_run_of_another_recipe_is_refused(run: Path, tmp_path: Path) -> None:
    train(iris("readout.solver=logistic"), tmp_path / "other")
    path = run / "summary.json"
    for name in ("summary.json", "weights.safetensors"):
        shutil.copy(tmp_path / "other" / name, run / name)
    message = f"^The file {re.escape(str(path))} does not belong to the files beside it: run.json"
    for read in (read_run, lambda run: FinishedRun.open(run).accuracy, lambda run: train(iris(), run, resume=True)):
        with pytest.raises(CheckpointError, match=message):
            read(run)
    document = json.loads(path.read_text())
    del document["identity"]
    path.write_text(json.dumps(document))
    assert FinishedRun.open(run).summary.identity is None  # an older run


def test_a_refused_resume_of_a_finished_run_leaves_it_finished(run: Path) -> None:
    before = (run / "run.json").read_bytes()
    (run / "summary.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"summary\.json is not JSON"):
        train(iris(), run, resume=True)
    assert (run / "run.json").read_bytes() == before


def test_a_run_of_before_schemas_is_still_read(run: Path) -> None:
    from safetensors.torch import save_file

    accuracy = evaluate(run)["metrics"]
    folder = RunFolder(run)
    for name in ("weights.safetensors", "initial.safetensors"):
        save_file(folder.tensors(name), run / name)
    for name in ("run.json", "summary.json"):
        document = json.loads((run / name).read_text())
        later = ("schema", "data", "identity")
        (run / name).write_text(json.dumps({k: v for k, v in document.items() if k not in later}))
    assert evaluate(run)["metrics"] == accuracy
    assert read_run(run).weight().shape == (10, 4)


def test_a_folder_in_use_is_refused(run: Path, tmp_path: Path) -> None:
    with exclusive(run / LOCK, run), pytest.raises(BusyError, match=r"is in use by process \d+"):
        train(iris(), run, resume=True)
    with exclusive(tmp_path / "new" / LOCK, tmp_path), pytest.raises(BusyError, match=r"is in use by process \d+"):
        train(iris(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_partial_files_are_removed_and_a_run_that_never_began_is_replaced(run: Path, tmp_path: Path) -> None:
    left = run / ".weights.safetensors.0123abcd.partial"
    left.write_bytes(b"half")
    (run / "plots").mkdir()
    (run / "plots" / ".filters.png.0123abcd.partial").write_bytes(b"half")
    (run / LOCK).write_text("process 1 (killed)")
    train(iris(), run, resume=True)
    assert list(run.rglob(".*")) == []
    for resume in (False, True):
        never = tmp_path / f"never-{resume}"
        never.mkdir()
        for name in ("run.json", "recipe.yaml"):
            shutil.copy(run / name, never)
        (never / "formats.json").write_text("{")
        train(iris(), never, resume=resume)
        assert (never / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
        assert not (never / "formats.json").exists()


def test_a_users_recipe_is_not_treated_as_a_runs(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("# mine")
    with pytest.raises(CheckpointError, match="is not empty"):
        train(iris(), tmp_path)
    assert (tmp_path / "recipe.yaml").read_text() == "# mine"


def test_the_umask_decides_for_a_run_folder(finished: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in finished.rglob("*") if path.is_file()} == {0o600}
    assert finished.stat().st_mode & 0o777 == 0o700


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(1e21) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def damaged(document: Any, data: st.DataObject) -> Any:
    """The document with one value replaced, removed or added somewhere."""
    if not isinstance(document, dict | list) or not document or data.draw(st.integers(0, 3)) == 0:
        return data.draw(VALUES)
    if isinstance(document, list):
        index = data.draw(st.integers(0, len(document) - 1))
        return [*document[:index], damaged(document[index], data), *document[index + 1 :]]
    key = data.draw(st.sampled_from(sorted(document)))
    match data.draw(st.integers(0, 3)):
        case 0:
            return {name: value for name, value in document.items() if name != key}
        case 1:
            return document | {data.draw(st.text(max_size=4)): data.draw(VALUES)}
        case _:
            return document | {key: damaged(document[key], data)}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_document_is_one_sentence(run: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["run.json", "summary.json", "metrics.jsonl", "recipe.yaml"]))
    path = run / name
    whole = path.read_bytes()
    if name.endswith(".json") and data.draw(st.booleans()):
        content = json.dumps(damaged(json.loads(whole), data)).encode()
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        content = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + data.draw(st.integers(0, 3)) :]
    path.write_bytes(content)
    for read in (read_run, lambda path: read_run(path).weight(), lambda path: RunFolder(path).finished("read")):
        try:
            read(run)
        except ScffError as error:
            assert "\n" not in str(error) or name == "recipe.yaml"
    path.write_bytes(whole)


@settings(max_examples=40)
@given(st.data())
def test_damaged_formats_are_one_sentence(data: st.DataObject) -> None:
    document = {"schema": 1, "layers": {"layers.1": {"input": {"bits": 8, "frac": 4}, "shadow": None}}, "ranges": []}
    with pytest.raises(CheckpointError):
        load_formats(json.dumps(damaged(document, data)), iris(), 0, "formats.json")


def test_a_study_checks_its_data_and_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scff_hw.data import DATASETS, info

    study = request_study("controls", "iris-mlp", overrides=TINY, seeds=1)
    first = run_study(study, tmp_path / "study")["results"]
    assert run_study(study, tmp_path / "study")["results"] == first
    point = next((tmp_path / "study" / "points").iterdir())
    whole = json.loads(point.read_text())
    for rows in ([], [whole["rows"][0] | {"test_accuracy": 1e21}], [whole["rows"][0] | {"test_accuracy": 0.123}]):
        point.write_text(json.dumps(whole | {"rows": rows}))
        with pytest.raises(CheckpointError, match=rf"{point.name}.* remove the file to measure its point again"):
            run_study(study, tmp_path / "study")
    point.write_text(json.dumps(whole))
    document = tmp_path / "study" / "study.json"
    described = document.read_text()
    document.write_text("[]")
    with pytest.raises(CheckpointError, match=r"study.json must be one JSON object. Got a list"):
        run_study(study, tmp_path / "study")
    document.write_text(described)
    iris = info("iris")
    load = iris.load
    assert load is not None

    def other(root: Path) -> Any:
        dataset = load(root)
        dataset.train.images[0, 0] += torch.tensor(0.5)
        return dataset

    monkeypatch.setitem(DATASETS._items, "iris", replace(iris, load=other))
    with pytest.raises(DataError, match=r"are not those of .*study: their digest must be"):
        run_study(study, tmp_path / "study")
