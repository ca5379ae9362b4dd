"""Worker processes and a local Ray give the results of this process, and their errors are raised here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scff_hw.errors import UsageError
from scff_hw.studies import Request, request_study, run_study


@pytest.fixture(scope="module")
def exact(make_request: Callable[..., Request]) -> Request:
    """A study on exact devices, which draw no random numbers."""
    return make_request(profile="exact", backprop_rate=None)


@pytest.fixture(scope="module")
def here(exact: Request, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of one process."""
    return run_study(exact, tmp_path_factory.mktemp("here") / "study")["results"]


def test_two_processes_give_the_results_of_one(exact: Request, here: Any, tmp_path: Path) -> None:
    assert run_study(exact, tmp_path / "two", jobs=2)["results"] == here


@pytest.mark.filterwarnings("ignore")  # Ray's own, at its start
def test_a_local_ray_gives_the_results_of_this_process(
    exact: Request, here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    assert run_study(exact, tmp_path / "there", engine="ray")["results"] == here


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_point_that_fails_is_named_and_the_others_are_kept(float_run: Path, tmp_path: Path, jobs: int) -> None:
    run = tmp_path / "run"
    shutil.copytree(float_run, run)
    request = request_study("noise", str(run), profile="exact", seeds=2, backprop_rate=None)
    (run / "weights.safetensors").unlink()
    sentence = r"The point \(method float, seed 5\) failed: The file .*weights.safetensors does not exist"
    with pytest.raises(UsageError, match=sentence):
        run_study(request, tmp_path / "study", jobs=jobs)
    shutil.copy(float_run / "weights.safetensors", run)
    assert run_study(request, tmp_path / "study")["results"][0]["seeds"] == 2
