"""The controls study from end to end: its table, its curves, and refused requests."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from scff_hw.cli import main
from scff_hw.errors import RecipeError, UsageError
from scff_hw.report import Panel
from scff_hw.studies import Request, find_study, request_study, run_study

SMALL = ["layers.*.units=40", "layers.*.learn.epochs=3", "readout.solver=ridge", "controls.backprop.epochs=3"]
FEATURES = {
    "scff": "test_accuracy",
    "untrained": "untrained_test_accuracy",
    "patches": "patches_test_accuracy",
    "backprop": "backprop_features_test_accuracy",
}


def make_request(*vary: str, **options: Any) -> Request:
    arguments: dict[str, Any] = {"seeds": 2} | options
    return request_study("controls", "digits-mlp", vary=vary, overrides=SMALL, **arguments)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("studies") / "controls"
    return out, run_study(make_request(), out)


def test_the_table_has_one_row_per_seed_method_and_readout(done: tuple[Path, dict[str, Any]]) -> None:
    rows = list(csv.DictReader((done[0] / "results.csv").read_text().splitlines()))
    assert list(rows[0]) == ["method", "seed", "readout", "note", "test_accuracy"]
    seen = {(row["method"], int(row["seed"]), row["readout"]) for row in rows}
    fitted = {(method, seed, "fitted") for method in (*FEATURES, "shuffled") for seed in (0, 1)}
    assert seen == fitted | {("backprop", seed, "own output") for seed in (0, 1)} and len(rows) == len(seen)


def test_accuracies_are_those_that_a_run_reports(done: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    rows = list(csv.DictReader((done[0] / "results.csv").read_text().splitlines()))
    last = {(row["method"], row["readout"]): float(row["test_accuracy"]) for row in rows if row["seed"] == "1"}
    sets = [part for change in SMALL for part in ("--set", change)]
    assert main(["train", "digits-mlp", *sets, "--seed", "1", "--out", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    for method, key in FEATURES.items():
        assert last[method, "fitted"] == metrics[key]
    assert last["backprop", "own output"] == metrics["backprop_test_accuracy"]


def test_every_method_has_a_curve(done: tuple[Path, dict[str, Any]]) -> None:
    panel: Panel
    (panel,) = done[1]["panels"]
    values = {curve.name: [len(accuracies) for accuracies in curve.values] for curve in panel.curves}
    names = ("backpropagation, own output", "backpropagation, features", "SCFF", "SCFF, roles shuffled")
    assert values == {name: [2] for name in (*names, "whitened patches", "untrained")}


def test_any_key_of_the_recipe_varies(tmp_path: Path) -> None:
    request = make_request("layers.1.units=10,40", seeds=1)
    assert [variant.recipe.layers[0].units for variant in request.variants if variant.recipe] == [10, 40]  # type: ignore[union-attr]
    result = run_study(make_request("layers.1.learn.epochs=1,2", seeds=1), tmp_path / "out")
    (panel,) = result["panels"]
    assert (panel.x, panel.ticks) == ("layers.1.learn.epochs", ("1", "2"))


def test_a_request_that_cannot_be_measured_is_refused(done: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"controls takes no --profile: it is in float\. Got --profile ecram"):
        make_request(profile="ecram")
    with pytest.raises(UsageError, match=r"options of the study controls must be none of its own\. Got --rate"):
        make_request(options={"rate": 0.1})
    with pytest.raises(RecipeError, match=r"layers\.1\.unit"):
        make_request("layers.1.unit=10")
    with pytest.raises(UsageError, match=r"must be given a recipe of the rule scff\. Got 'forward-forward'"):
        request_study("controls", "digits-mlp", overrides=["training.rule.name=forward-forward"])


def test_sequences_show_a_pair_of_each_kind(spoken: Path, tmp_path: Path) -> None:
    small = ["layers.1.units=8", "layers.1.learn.epochs=1", "readout.solver=ridge", "controls.backprop.epochs=1"]
    request = request_study("controls", "fsdd-birnn", overrides=small, seeds=1, data_dir=spoken)
    run_study(request, tmp_path / "out")
    first, second = find_study("controls").pairs(request)
    assert first.names == ("3", "3") and first.halves[0] is first.halves[1]
    assert second.names == ("3", "8") and second.halves[0].shape[1] == 39
    assert (tmp_path / "out" / "pairs.png").read_bytes()[:4] == b"\x89PNG"
    assert "positive and of a negative pair" in (tmp_path / "out" / "report.html").read_text()
