"""A study that takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scff_hw.cli import main
from scff_hw.studies import Request, request_study

LAYER = (
    "{kind: dense, units: 24, init: linear, pairs: made, "
    "learn: {epochs: 2, optimiser: sgd, learning_rate: 0.5, theta_pos: 1, theta_neg: 2, penalty: 1.0e-4}}"
)
SMALL = [f"layers=[{LAYER}]", "readout.layers=[1]", "readout.epochs=8", "controls.backprop=null"]
SET = [part for change in SMALL for part in ("--set", change)]


@pytest.fixture(scope="session")
def make_request() -> Callable[..., Request]:
    """Return a function that requests a study of digits with 24 units on EcRAM."""

    def request(name: str = "noise", *changes: str, **options: Any) -> Request:
        arguments: dict[str, Any] = {"profile": "ecram", "overrides": [*SMALL, *changes], "seeds": 1} | options
        return request_study(name, "digits-mlp", **arguments)

    return request


@pytest.fixture(scope="session")
def small() -> list[str]:
    """The command-line options that set digits-mlp to that network."""
    return list(SET)


@pytest.fixture(scope="session")
def float_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished float run of the same network, seed 5."""
    run = tmp_path_factory.mktemp("runs") / "float"
    assert main(["train", "digits-mlp", *SET, "--seed", "5", "--out", str(run)]) == 0
    return run
