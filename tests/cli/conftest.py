"""Fixtures for tests of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scff_hw.cli import main

SHORT = {
    "layers.1.learn.epochs": 3,
    "readout.solver": "ridge",
    "controls.backprop.epochs": 2,
    "training.checkpoint_every_batches": 2,
}
TINY = [part for key, value in SHORT.items() for part in ("--set", f"{key}={value}")]


@dataclass(frozen=True)
class Result:
    """Result of a command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Standard output, which must be exactly one JSON object on one line."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCFF_HW_DEBUG", raising=False)

    def run(*arguments: str | Path) -> Result:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def tiny() -> list[str]:
    """Options with which iris-mlp runs in a second."""
    return list(TINY)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of iris-mlp."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "iris-mlp", *TINY, "--out", str(run)]) == 0
    return run
