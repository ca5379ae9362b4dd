"""The drift study from end to end; arrays that are not programmed must not drift."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from scff_hw.backends.analog import AnalogBackend
from scff_hw.backends.analog.programmed import ProgrammedBackend
from scff_hw.cli import main
from scff_hw.errors import UsageError
from scff_hw.hardware import load_profile
from scff_hw.recipes import dump_recipe
from scff_hw.studies import Request, request_study, run_study
from scff_hw.studies.drift import TIMES_S, drift
from scff_hw.studies.lab import Lab, weights_of

MakeRequest = Callable[..., Request]
Done = tuple[Path, dict[str, Any]]
DRIFTING = """
name: drifting
description: EcRAM that drifts as PCM does, for tests
preset: ecram
sources: {device: a test}
device: {g_max: 25 uS, g_min: 0 uS, drift: {kind: pcm, t_0: 20 s}, programming: {kind: pcm}}
"""


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("profiles") / "drifting.yaml"
    path.write_text(DRIFTING)
    return str(path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, make_request: MakeRequest, profile: str) -> Done:
    out = tmp_path_factory.mktemp("studies") / "drift"
    return out, run_study(make_request("drift", profile=profile, options={"batches": 3}), out)


def test_the_table_has_every_time_treatment_and_readout(done: Done) -> None:
    rows = list(csv.DictReader((done[0] / "results.csv").read_text().splitlines()))
    columns = ["method", "treatment", "batches", "rate", "profile", "seed", "time", "readout", "note"]
    columns += ["clipped_weights", "test_accuracy"]
    assert list(rows[0]) == columns
    seen = {(row["method"], row["treatment"], row["time"], row["readout"]) for row in rows}
    for time in TIMES_S:
        for readout in ("kept", "refitted"):
            for method in ("scff", "untrained", "backprop"):
                assert {(method, "none", time, readout), (method, "compensated", time, readout)} <= seen
            assert ("scff", "re-learned", time, readout) in seen
    assert {row["batches"] for row in rows if row["treatment"] == "re-learned"} == {"3"}
    assert len(seen) == len(rows)


def test_hidden_layers_are_learned_once_for_all_points(done: Done) -> None:
    assert len(list((done[0] / "weights").glob("*.safetensors"))) == 3  # in float, by SCFF and by backprop on chip
    page = (done[0] / "report.html").read_text()
    assert "Readout kept" in page and "re-learned" in page


def test_workers_that_need_the_same_weights_share_them(make_request: MakeRequest, tmp_path: Path) -> None:
    """Two processes with the same lab: one computes the weights, the other waits and reads them."""
    text = dump_recipe(make_request().recipe)
    script = (
        "import os, sys, time, torch\nfrom pathlib import Path\nfrom scff_hw.studies.lab import Lab\n"
        "lab = Lab({'recipe': sys.stdin.read(), 'seed': 0}, Path(sys.argv[1]))\n"
        "def make():\n    time.sleep(1)\n    return {'w': torch.tensor([os.getpid()])}\n"
        "print(int(lab.cached('a test', make)['w']))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with ExitStack() as running:
        workers = [
            running.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(2)
        ]
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(text)
            worker.stdin.close()
        outputs = {worker.stdout.read() for worker in workers if worker.stdout is not None}
    assert all(worker.returncode == 0 for worker in workers) and len(outputs) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_drift_moves_programmed_weights_and_is_refused_elsewhere(make_request: MakeRequest, tmp_path: Path) -> None:
    recipe, pcm = make_request(profile="pcm").recipe, load_profile("pcm")
    lab = Lab({"recipe": dump_recipe(recipe), "seed": 0}, tmp_path)
    with torch.no_grad():
        programmed = lab.untrained(ProgrammedBackend(pcm, 0))
        before = weights_of(programmed)["layers.1.weight"].abs().mean()
        drift(programmed, TIMES_S["1 year"])
        after = weights_of(programmed)["layers.1.weight"].abs().mean()
        assert 0.3 < float(after / before) < 0.6  # small conductances drift faster than large ones, which retain .498
        with pytest.raises(UsageError, match=r"Only programmed arrays drift\. Got AnalogArray in layers.1 instead"):
            drift(lab.untrained(AnalogBackend(pcm, 0)), 1.0)


def test_relearning_changes_weights_by_its_rate(make_request: MakeRequest, tmp_path: Path) -> None:
    lab = Lab({"recipe": dump_recipe(make_request().recipe), "seed": 0}, tmp_path)
    changes = []
    with torch.no_grad():
        weights = weights_of(lab.untrained(AnalogBackend(load_profile("exact"), 0)))
        for share in (0.1, 0.2):
            network = lab.resumed(AnalogBackend(load_profile("exact"), 0), weights)
            lab.relearn(network, 1, share, "a test")
            changes.append(weights_of(network)["layers.1.weight"] - weights["layers.1.weight"])
    torch.testing.assert_close(2 * changes[0], changes[1], rtol=1e-3, atol=1e-6)
    assert float(changes[0].abs().max()) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "ecram"}, "'ecram' must have device.drift for weights to drift.*Got null instead; profiles that"),
        ({"vary": ["periphery.dac_bits=4 bit"]}, "takes no --vary.* Got --vary periphery.dac_bits instead"),
        ({"options": {"speed": 3}}, "must be --batches, --rate. Got --speed instead"),
        ({"name": "noise", "options": {"batches": 3}}, "study noise must be none of its own. Got --batches instead"),
    ],
)
def test_a_request_that_cannot_be_measured_is_refused(
    options: dict[str, Any], message: str, make_request: MakeRequest
) -> None:
    with pytest.raises(UsageError, match=message):
        make_request(**({"name": "drift", "profile": "pcm"} | options))


def test_a_finished_run_is_drifted_as_it_is(float_run: Path, tmp_path: Path, profile: str) -> None:
    out = tmp_path / "study"
    arguments = ["--profile", profile, "--seeds", "1", "--backprop", "none", "--batches", "2", "--rate", "0.5"]
    assert main(["study", "drift", str(float_run), *arguments, "--jobs", "1", "--out", str(out)]) == 0
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert {row["seed"] for row in rows} == {"5"} and "backprop" not in {row["method"] for row in rows}
    assert not (out / "weights").exists()  # no learning: the run's weights are used


def test_a_run_with_an_optimiser_that_devices_lack_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "adamw"
    options = ["--set", "layers.1.learn.epochs=1", "--set", "readout.solver=ridge", "--set", "controls.backprop=null"]
    assert main(["train", "iris-mlp", *options, "--out", str(run)]) == 0
    with pytest.raises(UsageError, match=r"must be one of plain SGD, which devices can do\. Got 'adamw' in"):
        request_study("drift", str(run), profile="pcm")
    with pytest.raises(UsageError, match=r"A finished run cannot be changed\. Got --set readout.epochs=2 for"):
        request_study("drift", str(run), profile="pcm", overrides=["readout.epochs=2"])
