"""A rule of another installed package, named in a recipe only: from the command line to an exported file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from scff_hw.core import rules

RULE = '''
from dataclasses import dataclass
from typing import ClassVar

import torch
from scff_hw.core import Errors, Rule, Signals


@dataclass(frozen=True)
class Hinge(Rule):
    """Increases goodness below one threshold, decreases goodness above the other; otherwise no update."""

    name: ClassVar[str] = "hinge"
    theta_pos: float
    theta_neg: float
    strength: float = 1.0

    def errors(self, signals: Signals) -> Errors:
        positive, negative = torch.relu(signals.positive), torch.relu(signals.negative)
        g_positive, g_negative = (y.square().mean(1, keepdim=True) for y in (positive, negative))
        scale = 2 * self.strength / positive[:, :1].numel() / positive.shape[1]
        loss = torch.relu(self.theta_pos - g_positive).mean() + torch.relu(g_negative - self.theta_neg).mean()
        return Errors(
            -scale * positive * (g_positive < self.theta_pos),
            scale * negative * (g_negative > self.theta_neg),
            g_positive.mean(),
            g_negative.mean(),
            loss,
        )
'''
SMALL = [
    *("layers.*.units=12", "layers.*.learn.epochs=10", "readout.solver=ridge", "controls.backprop=null"),
    *("layers.*.learn.theta_pos=2", "layers.*.learn.theta_neg=1"),
    *("layers.*.learn.optimiser=sgd", "layers.*.learn.learning_rate=0.02", "layers.*.learn.weight_decay=0"),
    *("training.rule.name=hinge", "training.rule.options={strength: 2.0}"),
]
SET = [part for change in SMALL for part in ("--set", change)]


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package `hinges`, with the entry point of its rule."""
    site = tmp_path / "site"
    info = site / "hinges-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hinges\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[scff_hw.rules]\nhinge = hinges:Hinge\n")
    (site / "hinges.py").write_text(RULE)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(rules.RULES, "_items", dict(rules.RULES._items))
    monkeypatch.setattr("scff_hw.registry._PLUGINS", {})
    monkeypatch.delitem(sys.modules, "hinges", raising=False)


@pytest.mark.parametrize("hardware", [[], ["--backend", "analog", "--profile", "ideal"]], ids=["float", "analog"])
def test_it_learns_is_evaluated_and_exported(hardware: list[str], cli: Any) -> None:
    """Learning beats untrained layers over ten seeds by 15 points in float, 20 on devices (standard deviation 3.9)."""
    result = cli("train", "digits-mlp", *SET, *hardware, "--seed", 1, "--out", "run", "--json")
    assert result.code == 0, result.err
    metrics = json.loads(result.out)["metrics"]
    assert metrics["test_accuracy"] > metrics["untrained_test_accuracy"]
    batches = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in batches if line["kind"] == "batch" and line["layer"] == 1]
    assert losses[-1] < 0.8 * losses[0]
    initial, learned = (load_file(f"run/{name}.safetensors") for name in ("initial", "weights"))
    assert all((initial[f"layers.{n}.weight"] != learned[f"layers.{n}.weight"]).any() for n in (1, 2))
    evaluated = cli("evaluate", "run", "--json")
    assert evaluated.code == 0, evaluated.err
    if not hardware:
        assert json.loads(evaluated.out)["metrics"]["test_accuracy"] == metrics["test_accuracy"]
    exported = cli("export", "onnx", "run", "--samples", 20, "--out", "onnx")
    assert exported.code == 0 and Path("onnx/float.onnx").exists(), exported.err


def test_its_options_are_checked_and_integers_refuse_it(cli: Any) -> None:
    result = cli("train", "digits-mlp", *SET, "--set", "training.rule.options={strenght: 1.0}", "--out", "run")
    assert result.code == 2 and "did you mean 'strength'" in result.err
    result = cli("train", "digits-mlp", *SET, "--backend", "fixed", "--out", "run")
    assert result.code == 2 and "hinge" in result.err
    assert not Path("run").exists()
