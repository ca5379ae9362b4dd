"""Rules that inherit from SCFF and override a part of it: every layer obeys the override, or refuses the rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from scff_hw.backends import Dense, FloatBackend, Optimisation
from scff_hw.backends.fixed import FixedPoint, calibrate
from scff_hw.cli import main
from scff_hw.core import (
    SCFF,
    Errors,
    Gains,
    Network,
    PairLayer,
    Partners,
    Rule,
    Signals,
    Stream,
    compiling,
    passes,
    register,
)
from scff_hw.errors import UsageError
from scff_hw.export.crossbar.program import layer_entry
from scff_hw.recipes import load_recipe


@dataclass(frozen=True)
class Opposite(SCFF):
    """Pushes where SCFF pulls."""

    name: ClassVar[str] = "opposite-for-this-test"

    def errors(self, signals: Signals) -> Errors:
        found = super().errors(signals)
        return replace(found, positive=-found.positive, negative=-found.negative)


@dataclass(frozen=True)
class OppositeGains(SCFF):
    """The same, by the gains."""

    name: ClassVar[str] = "opposite-gains-for-this-test"

    def gains(self, *goodness: Any, **units: Any) -> Gains:
        found = super().gains(*goodness, **units)
        return replace(found, positive=-found.positive, negative=-found.negative)


for _rule in (Opposite, OppositeGains):
    register(_rule)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No torch.compile, which takes seconds for every shape."""
    monkeypatch.setenv("SCFF_HW_COMPILE", "0")
    compiling.compiler_missing.cache_clear()
    yield
    compiling.compiler_missing.cache_clear()


def changes(rule: Rule, units: int, samples: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """What one update by `rule` changes of the same weights and biases."""
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(samples, 4, generator=draw), torch.randn(units, 4, generator=draw)
    array = FloatBackend().array(weight, torch.zeros(units), Dense(4, units), Optimisation("sgd", 1.0))
    PairLayer(array, rule, True).learn(Stream(x), Partners.cyclic(samples, 3))
    return array.weight - weight, array.bias.clone()


@pytest.mark.parametrize("units", [24, 33_000], ids=["small", "large"])
@pytest.mark.parametrize("rule", [Opposite, OppositeGains])
def test_a_float_layer_of_any_size_learns_by_the_override(rule: type[SCFF], units: int, uncompiled: None) -> None:
    assert (32 * units > passes.CHUNK_ELEMENTS) == (units > 24)
    for found, plain in zip(changes(rule(0.5, 1.0), units), changes(SCFF(0.5, 1.0), units), strict=True):
        assert plain.any()
        torch.testing.assert_close(found, -plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("rule", "what"), [(Opposite, "errors"), (OppositeGains, "gains")])
def test_fixed_point_refuses_it_before_a_run_begins(
    rule: type[SCFF], what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rate = ("--set", "layers.*.learn.optimiser=sgd", "--set", "layers.*.learn.weight_decay=0")
    command = ["train", "iris-mlp", *rate, "--set", f"training.rule.name={rule.name}", "--backend", "fixed"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert f"Got '{rule.name}' instead, which overrides {what}() of SCFF." in said
    assert not (tmp_path / "run").exists()


def test_fixed_point_takes_a_rule_that_overrides_neither() -> None:
    class Renamed(SCFF):
        name: ClassVar[str] = "renamed-for-this-test"

    array = FloatBackend().array(torch.ones(3, 4), torch.zeros(3), Dense(4, 3), Optimisation("sgd", 1.0))
    x = Stream(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    calibrate(Network([PairLayer(array, Renamed(0.5, 1.0), True)]), x, FixedPoint())
    with pytest.raises(UsageError, match=r"overrides errors\(\) of SCFF"):
        calibrate(Network([PairLayer(array, Opposite(0.5, 1.0), True)]), x, FixedPoint())


@pytest.mark.parametrize(("name", "as_scff"), [("scff", True), (Opposite.name, False), (OppositeGains.name, False)])
def test_a_crossbar_program_says_whose_errors_a_layer_learns_by(name: str, as_scff: bool) -> None:
    recipe = load_recipe("iris-mlp", [f"training.rule.name={name}"])
    errors = layer_entry(1, Dense(4, 10), recipe, 0.1)["rule"]["errors"]
    assert errors == "scff" if as_scff else "own code, which is not part" in errors
