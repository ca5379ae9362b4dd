"""A backend of another package works like a built-in one: it is prepared, stored, resumed and evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from scff_hw.backends import BACKENDS, Backend, Geometry, Optimisation, Trial
from scff_hw.backends.contract import BackendContract
from scff_hw.backends.state import check_state
from scff_hw.errors import CheckpointError, UsageError
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training import SilentProgress, evaluate, train
from scff_hw.training.run_folder import RunFolder

STEPS = 100
NOISE = 0.05


class GridArray:
    """Weights on a grid, and the unrounded sum of updates, which only the state contains; reads may be noisy."""

    def __init__(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, step: float, noise: float
    ) -> None:
        self.geometry, self.learning_rate = geometry, optimisation.learning_rate
        self._step, self._noise = step, noise
        self._sums, self.bias = weight.clone(), bias.clone()

    @property
    def weight(self) -> Tensor:
        return torch.round(self._sums / self._step) * self._step

    def mvm(self, x: Tensor) -> Tensor:
        self.geometry.check_input(x)
        u = self.geometry.mvm(x, self.weight)
        return u + self._noise * torch.randn(u.shape)

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        self._sums -= self.learning_rate * self.geometry.weight_gradient(x, error)
        self.bias -= self.learning_rate * bias_error

    def weight_range(self) -> tuple[float, float]:
        return float(self.weight.min()), float(self.weight.max())

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "sums": self._sums.clone(), "bias": self.bias.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        check_state(self.state(), state)
        self._sums, self.bias = state["sums"].clone(), state["bias"].clone()


@dataclass(frozen=True)
class GridBackend(Backend):
    """Weights on a grid with a step chosen from the initial weights of the run."""

    name: ClassVar[str] = "grid"
    state_is_truth: ClassVar[bool] = True

    dtype: str = "float32"
    device: str = "cpu"
    step: float = 1e-7

    def prepare(self, trial: Trial) -> GridBackend:
        assert len(trial.samples(5).positive) == 5
        largest = max(float(array.weight.abs().max()) for array in trial.network().arrays.values())
        return replace(self, step=largest / STEPS)

    def documents(self) -> dict[str, str]:
        return {"backend.grid.json": json.dumps({"step": self.step})}

    def restore(self, read: Callable[[str], str], geometries: Mapping[str, Geometry], where: str) -> GridBackend:
        assert list(geometries) == ["layers.1", "layers.2"] or where == "a run"
        return replace(self, step=json.loads(read("backend.grid.json"))["step"])

    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> GridArray:
        return GridArray(weight, bias, geometry, optimisation, self.step, NOISE if self.noisy_reads else 0.0)


class NoisyGridBackend(GridBackend):
    name: ClassVar[str] = "noisy-grid"
    noisy_reads: ClassVar[bool] = True


class TestGrid(BackendContract):
    relative_error = 1e-4  # a step of 1e-7 on changes of 1e-2

    def backend(self) -> Backend:
        return GridBackend()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKENDS, "_items", dict(BACKENDS._items))
    monkeypatch.setattr("scff_hw.registry._PLUGINS", {})
    for backend in (GridBackend, NoisyGridBackend):
        BACKENDS.register(backend)


def small() -> Recipe:
    sgd = ("optimiser=sgd", "weight_decay=0", "learning_rate=0.5", "epochs=2")
    changes = [f"layers.*.learn.{option}" for option in sgd]
    changes += ["layers.*.units=40", "readout.solver=ridge", "controls.backprop=null"]
    return load_recipe("digits-mlp", changes)


class Stopping(SilentProgress):
    """Stops the run at a batch."""

    def __init__(self, batch: int) -> None:
        self.left = batch

    def advance(self, n: int = 1, **fields: Any) -> None:
        self.left -= n
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_run_is_trained_resumed_and_evaluated(tmp_path: Path) -> None:
    recipe = small()
    whole = train(recipe, tmp_path / "whole", seed=3, backend="grid")
    assert whole["backend"] == "grid" and 0.5 < whole["metrics"]["test_accuracy"] <= 1
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "stopped", seed=3, backend="grid", progress=Stopping(20))
    resumed = train(recipe, tmp_path / "stopped", seed=3, backend="grid", resume=True)
    assert resumed["metrics"]["test_accuracy"] == whole["metrics"]["test_accuracy"]
    ends = [RunFolder(tmp_path / name).tensors("checkpoint.safetensors") for name in ("whole", "stopped")]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    assert "layers.1.sums" in ends[0]
    result = evaluate(tmp_path / "stopped")
    assert result["metrics"]["test_accuracy"] == whole["metrics"]["test_accuracy"] and "repeats" not in result


def test_noisy_reads_are_evaluated_repeatedly(tmp_path: Path) -> None:
    train(small(), tmp_path / "run", backend="noisy-grid")
    result = evaluate(tmp_path / "run", repeats=4)
    assert (result["backend"], result["repeated"], result["repeats"]) == ("noisy-grid", "reading", 4)
    assert len(result["values"]["test_accuracy"]) == 4


def test_a_backends_documents_belong_to_the_run(tmp_path: Path) -> None:
    train(small(), tmp_path / "run", backend="grid")
    (tmp_path / "run" / "backend.grid.json").write_text('{"step": 0.01}')
    with pytest.raises(CheckpointError, match=r"does not belong to the files beside it|was changed"):
        evaluate(tmp_path / "run")


def test_a_document_of_another_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GridBackend, "documents", lambda self: {"weights.safetensors": ""})
    with pytest.raises(UsageError, match=r"must start with 'backend\.'\. Got 'weights\.safetensors' instead\."):
        train(small(), tmp_path / "run", backend="grid")


def test_an_object_that_is_no_backend_is_refused() -> None:
    with pytest.raises(UsageError, match=r"A backend must be a subclass of scff_hw\.core\.backend\.Backend\. Got 3"):
        BACKENDS.register(3)  # type: ignore[arg-type]
