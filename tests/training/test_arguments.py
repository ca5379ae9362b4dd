"""Wrong arguments of the Python interface are refused in one sentence; paths may be text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scff_hw.errors import UsageError
from scff_hw.hardware import load_hardware, load_profile, load_target
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.report import html, read_run, write_plots
from scff_hw.training import FinishedRun, evaluate, run_costs, train


def tiny() -> Recipe:
    return load_recipe("iris-mlp", ["layers.*.learn.epochs=1", "readout.solver=ridge", "controls.backprop=null"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(tiny(), out)
    return out


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, 2**70, 10**40, None])
def test_a_seed_that_is_not_an_integer_of_64_bits_is_refused(tmp_path: Path, seed: Any) -> None:
    message = r"^The seed of a run must be an integer from 0 to 18446744073709551615\. Got "
    with pytest.raises(UsageError, match=message):
        train(tiny(), tmp_path / "run", seed=seed)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("repeats", [0, -1, 1.0, True])
def test_repeats_must_be_positive(run: Path, repeats: Any) -> None:
    message = rf"^The number of repeats must be an integer of at least 1\. Got {repeats} instead\.$"
    with pytest.raises(UsageError, match=message):
        evaluate(run, profile=load_profile("ecram"), repeats=repeats)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (load_hardware("cortex-m4"), "Got 'cortex-m4' instead: a digital target has no devices; use {function}."),
        ("ecram", "The profile must be a loaded profile: load_profile('ecram'). Got 'ecram' instead."),
        (3, "The profile must be a Profile or None. Got 3 instead."),
    ],
)
def test_a_profile_must_be_one_of_devices(run: Path, tmp_path: Path, profile: Any, message: str) -> None:
    with pytest.raises(UsageError) as evaluated:
        evaluate(run, profile=profile)
    with pytest.raises(UsageError) as trained:
        train(tiny(), tmp_path / "run", backend="analog", profile=profile)
    assert str(evaluated.value).endswith(message.format(function="run_costs"))
    assert str(trained.value).endswith(message.format(function="recipe_costs"))


def test_paths_may_be_text(run: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "text")
    summary = train(tiny(), out, data_dir=str(tmp_path))
    assert summary["run"] == out and train(tiny(), out, resume=True) == summary
    assert evaluate(out, data_dir=str(tmp_path))["metrics"] == evaluate(run)["metrics"]
    assert run_costs(out, load_target("cortex-m4"))["run"] == out
    assert FinishedRun.open(out, str(tmp_path)).samples("test")
    assert read_run(out).path == Path(out)
    assert html(out) == Path(out) / "report.html" and html([out, str(run)], str(tmp_path / "both.html")).is_file()
    assert all(plot.is_file() for plot in write_plots(out))
