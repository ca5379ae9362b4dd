"""The backpropagation control: its learning rate schedule and its gradient clipping."""

from __future__ import annotations

from pathlib import Path

import pytest

from scff_hw.recipes import load_recipe
from scff_hw.training import train
from scff_hw.training.readout import learning_rate_at
from scff_hw.training.run_folder import RunFolder


def losses(folder: Path, *sets: str) -> list[float]:
    """The control's loss per epoch in a short run."""
    short = ["layers.1.learn.epochs=0", "readout.solver=ridge", "controls.untrained=false"]
    train(load_recipe("iris-mlp", [*short, "controls.backprop.epochs=4", *sets]), folder)
    return [record["loss"] for record in RunFolder(folder).records() if record["kind"] == "backprop"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return losses(tmp_path_factory.mktemp("plain") / "run")


def test_a_gradient_is_clipped_where_it_is_longer(plain: list[float], tmp_path: Path) -> None:
    assert losses(tmp_path / "never", "controls.backprop.clip_norm=1000") == plain
    # so short that Adam's epsilon, 1e-8, outweighs it
    still = losses(tmp_path / "always", "controls.backprop.clip_norm=1e-12")
    assert min(still) > plain[0] and max(still) - min(still) < 0.01


def test_the_rate_is_halved_after_its_share_of_the_epochs(plain: list[float], tmp_path: Path) -> None:
    halved = losses(tmp_path / "run", "controls.backprop.halve_at_percent=[50, 75]")
    assert halved[:2] == plain[:2] and halved[2] != plain[2]
    control = load_recipe("iris-mlp", ["controls.backprop.epochs=4", "controls.backprop.halve_at_percent=[50, 75]"])
    assert control.controls.backprop is not None
    rates = [learning_rate_at(control.controls.backprop, epoch) for epoch in range(4)]
    assert rates == [1e-2, 1e-2, 5e-3, 2.5e-3]
