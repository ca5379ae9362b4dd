"""Where points are measured: a local Ray finds what this process does, and errors cross from there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scff_hw.errors import UsageError
from scff_hw.studies import Request, request_study, run_study


@pytest.mark.filterwarnings("ignore")  # Ray's own, at its start
def test_a_local_ray_finds_what_this_process_does(
    ask: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    wanted = ask(profile="exact", backprop_rate=None)
    here = run_study(wanted, tmp_path / "here")
    there = run_study(wanted, tmp_path / "there", engine="ray")
    assert here["results"] == there["results"]  # exact devices draw nothing


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_point_that_fails_is_named_and_the_others_are_kept(float_run: Path, tmp_path: Path, jobs: int) -> None:
    run = tmp_path / "run"
    shutil.copytree(float_run, run)
    wanted = request_study("noise", str(run), profile="exact", seeds=2, backprop_rate=None)
    (run / "weights.safetensors").unlink()
    sentence = r"The point \(method float, seed 5\) failed: The file .*weights.safetensors does not exist"
    with pytest.raises(UsageError, match=sentence):
        run_study(wanted, tmp_path / "study", jobs=jobs)
    shutil.copy(float_run / "weights.safetensors", run)
    assert run_study(wanted, tmp_path / "study")["results"][0]["seeds"] == 2
