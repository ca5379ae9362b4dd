"""The reader of finished runs: its checks, and that each file is read once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scff_hw.errors import CheckpointError
from scff_hw.recipes import load_recipe
from scff_hw.training import FinishedRun, train
from scff_hw.training.run_folder import CHECKPOINT, INITIAL, WEIGHTS, RunFolder

TINY = [
    *("layers.*.units=6", "layers.*.learn.epochs=1", "layers.*.learn.optimiser=sgd", "layers.*.learn.momentum=0"),
    *("layers.*.learn.weight_decay=0", "readout.solver=ridge", "controls.backprop=null"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that trains a run on a backend once, and returns its path."""
    runs: dict[str, Path] = {}

    def make(backend: str) -> Path:
        if backend not in runs:
            runs[backend] = tmp_path_factory.mktemp(backend) / "run"
            train(load_recipe("iris-mlp", TINY), runs[backend], backend=backend)
        return runs[backend]

    return make


@pytest.fixture
def path(trained: Callable[[str], Path], tmp_path: Path) -> Path:
    """A float run to damage."""
    return Path(shutil.copytree(trained("float"), tmp_path / "run"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_gives_its_seed_backend_recipe_and_accuracy(trained: Callable[[str], Path]) -> None:
    run = FinishedRun.open(trained("float"))
    assert (run.seed, run.backend, run.recipe.name, run.profile, run.fixed, run.formats) == (
        *(0, "float", "iris-mlp"),
        *(None, None, None),
    )
    assert run.accuracy == run.summary.metrics.test_accuracy
    x = run.samples("test").batch(torch.arange(len(run.samples("test"))))
    weight, bias = run.readout
    with torch.no_grad():
        logits = torch.addmm(bias, run.network.features(x, run.read_layers), weight.T)
    right = (logits.argmax(dim=1) == run.samples("test").labels).double().mean()
    assert float(right) == pytest.approx(run.accuracy)


def test_a_fixed_run_has_its_integers(trained: Callable[[str], Path]) -> None:
    run = FinishedRun.open(trained("fixed"))
    assert run.fixed is not None and run.formats is not None
    assert run.formats.layers.keys() == run.fixed.backend.formats.keys() == {"layers.1"}
    for name, array in run.fixed.network.arrays.items():
        assert torch.equal(array.state()["held"], run.tensors(CHECKPOINT)[f"{name}.held"])
    steps = run.readout[0].double() * 2.0**run.fixed.readout_frac
    assert torch.equal(steps, steps.round()) and not torch.equal(run.readout[0], run.trained_readout[0])


def test_a_file_is_read_once(trained: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    tensors = RunFolder.tensors

    def counted(self: RunFolder, name: str) -> dict[str, torch.Tensor]:
        read.append(name)
        return tensors(self, name)

    monkeypatch.setattr(RunFolder, "tensors", counted)
    run = FinishedRun.open(trained("fixed"))
    assert read == []
    for _ in range(2):
        assert run.network and run.readout and run.fixed and run.tensors(INITIAL)
    assert sorted(read) == sorted([WEIGHTS, CHECKPOINT, INITIAL])


def test_an_unfinished_run_is_refused_with_the_purpose(path: Path) -> None:
    change(path / "run.json", status="interrupted")
    with pytest.raises(CheckpointError, match=r"must be finished to be exported, but it is interrupted\."):
        FinishedRun.open(path, purpose="exported")
    with pytest.raises(CheckpointError, match=r"holds no run\.json, so it is not a run of scff-hw"):
        FinishedRun.open(path / "nowhere")


def test_damage_is_noticed_where_it_is_read(path: Path) -> None:
    (path / "summary.json").write_text("{}")
    content = bytearray((path / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "weights.safetensors").write_bytes(content)
    run = FinishedRun.open(path)
    with pytest.raises(CheckpointError, match=r"summary\.json must hold 'run', which is missing"):
        _ = run.summary
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        _ = run.network


def test_weights_of_another_shape_are_refused(path: Path) -> None:
    folder = RunFolder(path)
    weights = folder.tensors(WEIGHTS)
    folder.write_tensors(WEIGHTS, weights | {"layers.1.weight": weights["layers.1.weight"][:3]})
    with pytest.raises(CheckpointError, match=r"weights\.safetensors are not those of the recipe beside them \("):
        _ = FinishedRun.open(path).network
    folder.write_tensors(WEIGHTS, {name: value for name, value in weights.items() if name != "readout.bias"})
    with pytest.raises(CheckpointError, match=r"are not those of the recipe beside them \('readout.bias'\)"):
        _ = FinishedRun.open(path).readout
