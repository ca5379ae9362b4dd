"""Methods and controls are read by the same solver, strengths, held-out samples and scaling of columns."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from scff_hw.documents import parse_metrics
from scff_hw.errors import RecipeError
from scff_hw.recipes import load_recipe
from scff_hw.studies import request_study, run_study
from scff_hw.training import readout as readouts
from scff_hw.training import train
from scff_hw.training.readout import ConvexSolver

TINY = [
    *("layers.*.units=12", "layers.*.learn.epochs=1", "controls.backprop.epochs=1"),
    *("layers.*.learn.optimiser=sgd", "layers.*.learn.weight_decay=0"),
]
FEATURES = {"scff", "untrained", "patches", "backprop"}


@pytest.fixture
def solvers(monkeypatch: pytest.MonkeyPatch) -> list[ConvexSolver]:
    """Every solver made in the test."""
    made: list[ConvexSolver] = []
    for name, kind in list(readouts.CONVEX.items()):

        def make(*args: Any, _kind: Any = kind, **options: Any) -> ConvexSolver:
            made.append(_kind(*args, **options))
            return made[-1]

        monkeypatch.setitem(readouts.CONVEX, name, make)
    return made


def assert_the_same(solvers: list[ConvexSolver], kind: str) -> None:
    first, *others = solvers
    assert {solver.name for solver in solvers} == {kind}
    for solver in others:
        assert solver.strengths == first.strengths
        assert all(torch.equal(a, b) for a, b in zip(solver._folds, first._folds, strict=True))
        columns = solver.columns
        versions = torch.cat([block.x.double() for block in columns.blocks()])
        scaled = (versions - versions.mean(dim=0)) / versions.std(dim=0, unbiased=False).clamp(min=1e-30)
        used = columns.inverse > 0
        assert torch.allclose(((versions - columns.mean) * columns.inverse)[:, used], scaled[:, used], atol=1e-3)


@pytest.mark.parametrize("backend", ["float", "fixed"])
@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_in_a_run(tmp_path: Path, solvers: list[ConvexSolver], kind: str, backend: str) -> None:
    recipe = load_recipe("digits-mlp", [*TINY, f"readout.solver={kind}"])
    train(recipe, tmp_path / "run", backend=backend)
    assert len(solvers) == len(FEATURES)
    assert_the_same(solvers, kind)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    reports = summary["metrics"]["readouts"]
    assert set(reports) == FEATURES and {report["solver"] for report in reports.values()} == {kind}
    fits = defaultdict(list)
    for line in parse_metrics(tmp_path / "run" / "metrics.jsonl"):
        if line["kind"] == "readout fit":
            fits[line["features"]].append(line)
    for features, lines in fits.items():
        assert [line["strength"] for line in lines[:-1]] == list(solvers[0].strengths)
        assert lines[-1]["samples"] == "all" and lines[-1]["strength"] == reports[features]["strength"]
        best = max(lines[:-1], key=lambda line: (line["held_out_accuracy"], -line["held_out_loss"]))
        assert best["strength"] == lines[-1]["strength"]  # and so not chosen by the test part, which only the last has
        assert [line.get("test_accuracy") is not None for line in lines] == [False] * (len(lines) - 1) + [True]
    assert set(fits) == FEATURES


def test_in_a_study_of_every_method(tmp_path: Path, solvers: list[ConvexSolver]) -> None:
    request = request_study("controls", "digits-mlp", overrides=[*TINY, "readout.solver=ridge"], seeds=1)
    run_study(request, tmp_path / "out")
    assert len(solvers) == 5
    assert_the_same(solvers, "ridge")


def test_the_papers_readout_is_a_second_column(tmp_path: Path) -> None:
    changes = [*TINY, "readout.solver=ridge", "controls.paper_readout=true", "readout.epochs=2"]
    metrics = train(load_recipe("digits-mlp", changes), tmp_path / "both")["metrics"]
    assert set(metrics["paper_readouts"]) == set(metrics["readouts"]) == FEATURES
    alone = train(load_recipe("digits-mlp", [*TINY, "readout.solver=paper", "readout.epochs=2"]), tmp_path / "paper")
    assert alone["metrics"]["test_accuracy"] == metrics["paper_readouts"]["scff"]
    assert alone["metrics"]["untrained_test_accuracy"] == metrics["paper_readouts"]["untrained"]
    assert alone["metrics"]["readouts"]["scff"]["solver"] == "paper"


def test_features_that_do_not_fit_memory_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [*TINY, "readout.solver=ridge", "readout.augmentation.translate_px=1", "readout.augmented_copies=2"]
    recipe = load_recipe("digits-mlp", [*changes, "controls.backprop=null"])
    cached = train(recipe, tmp_path / "cached")["metrics"]
    monkeypatch.setattr("scff_hw.training.features.MEMORY_SHARE", 0.0)
    streamed = train(recipe, tmp_path / "streamed")["metrics"]
    for features, report in cached["readouts"].items():
        other = streamed["readouts"][features]
        assert report["strength"] == other["strength"]
        assert report["held_out_accuracy"] == pytest.approx(other["held_out_accuracy"], abs=2e-3)
    assert cached["test_accuracy"] == pytest.approx(streamed["test_accuracy"], abs=0.01)


def test_an_augmentation_without_copies_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe("digits-mlp", ["readout.augmentation.translate_px=1"])
    with pytest.raises(RecipeError, match=r"readout\.augmented_copies must be at least 1, since .* Got 0"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", ["readout.epochs=5", "readout.dropout=0.1", "readout.batch_size=8"])
def test_a_key_of_the_papers_readout_alone_is_refused(change: str) -> None:
    key = change.partition("=")[0]
    with pytest.raises(RecipeError, match=rf"{key} must come with readout\.solver paper.* Got logistic"):
        load_recipe("digits-mlp", [change])
    assert load_recipe("digits-mlp", [change, "readout.solver=paper"]).readout.solver == "paper"
    assert load_recipe("digits-mlp", [change, "controls.paper_readout=true"]).readout.solver == "logistic"
