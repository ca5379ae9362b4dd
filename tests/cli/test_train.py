"""`scff-hw train`."""

from __future__ import annotations

import json
import re
import shlex
import signal
import statistics
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

from scff_hw.cli import _train
from scff_hw.cli._progress import LineProgress


def test_train_prints_one_json_object_and_fills_the_run_folder(cli: Any, tiny: list[str], tmp_path: Path) -> None:
    result = cli("train", "iris-mlp", *tiny, "--seed", 3, "--out", "run", "--json")
    assert result.code == 0, result.err
    summary = result.json()
    assert summary["run"] == "run"
    assert summary["seed"] == 3
    for key in ("test_accuracy", "untrained_test_accuracy", "backprop_test_accuracy"):
        assert 0 <= summary["metrics"][key] <= 1
    run = tmp_path / "run"
    for name in (
        "run.json",
        "recipe.yaml",
        "metrics.jsonl",
        "summary.json",
        "weights.safetensors",
        "report.html",
    ):
        assert (run / name).stat().st_size > 0
    for name in ("learning_curves.png", "filters.png"):
        assert (run / "plots" / name).read_bytes().startswith(b"\x89PNG")
    info = json.loads((run / "run.json").read_text())
    assert info["status"] == "done"
    assert shlex.split(info["command"]) == [
        "scff-hw",
        "train",
        "iris-mlp",
        *tiny,
        "--seed",
        "3",
        "--out",
        "run",
    ]
    assert "✓ layer 1" in result.err


def test_train_prints_its_table_to_standard_error_only(cli: Any, tiny: list[str]) -> None:
    result = cli("train", "iris-mlp", *tiny)
    assert result.code == 0, result.err
    assert result.out == ""
    for part in ("untrained hidden layers", "SCFF", "backpropagation", "goodness +", "dead units"):
        assert part in result.err
    folder = re.search(r"Run folder: (\S+)", result.err)
    assert folder is not None
    assert re.fullmatch(r"runs/iris-mlp-seed0-\d{8}-\d{6}", folder[1])


def test_several_seeds_run_side_by_side_with_mean_and_spread(cli: Any, tiny: list[str], tmp_path: Path) -> None:
    result = cli("train", "iris-mlp", *tiny, "--seed", 5, "--seeds", 2, "--out", "both", "--json")
    assert result.code == 0, result.err
    found = result.json()
    assert found["seeds"] == [5, 6]
    each = [run["metrics"]["test_accuracy"] for run in found["runs"]]
    assert found["metrics"]["test_accuracy"] == pytest.approx(statistics.mean(each))
    assert found["std"]["test_accuracy"] == pytest.approx(statistics.stdev(each))
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["report.html", "seed-5", "seed-6"]
    again = cli("train", "iris-mlp", *tiny, "--seed", 5, "--seeds", 2, "--out", "both", "--resume")
    assert again.code == 0, again.err
    assert "2 seeds" in again.err
    assert "±" in again.err


class StopsItself(LineProgress):
    """Sends this process a signal at a step of a stage."""

    number = signal.SIGINT
    at = ("layer 1", 3)
    stages: ClassVar[list[str]] = []
    steps = 0

    def start(self, stage: str, total: int, done: int = 0) -> None:
        super().start(stage, total, done)
        self.stages.append(stage)
        self.steps = 0

    def advance(self, n: int = 1, **fields: float) -> None:
        super().advance(n, **fields)
        self.steps += 1
        if (self.stages[-1], self.steps) == self.at:
            signal.raise_signal(self.number)


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (signal.SIGINT, ("layer 1", 3)),
        (signal.SIGTERM, ("layer 1", 3)),
        (signal.SIGINT, ("scff features", 1)),
        (signal.SIGTERM, ("ridge readout of scff features", 1)),
    ],
)
def test_a_stopped_run_tells_how_to_go_on_and_ends_in_the_same_weights(
    cli: Any,
    tiny: list[str],
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    at: tuple[str, int],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(StopsItself, "number", number)
        patch.setattr(StopsItself, "at", at)
        patch.setattr(_train, "command_progress", lambda: StopsItself(Console(stderr=True)))
        stopped = cli("train", "iris-mlp", *tiny, "--out", "run")
    assert stopped.code == 1
    assert StopsItself.stages[-1] == at[0]
    told = re.search(r"^Interrupted; resume with: scff-hw (train .*)$", stopped.err, flags=re.MULTILINE)
    assert told is not None, stopped.err
    assert stopped.out == ""
    assert "Traceback" not in stopped.err
    assert not (tmp_path / "run" / "summary.json").exists()
    resumed = cli(*shlex.split(told[1]), "--json")
    assert resumed.code == 0, resumed.err
    name = "weights.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes()


def test_resume_without_out_finds_the_newest_unfinished_run(
    cli: Any, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_train, "command_progress", lambda: StopsItself(Console(stderr=True)))
        assert cli("train", "iris-mlp", *tiny).code == 1
    assert cli("train", "iris-mlp", *tiny, "--resume").code == 0
    assert len(list((tmp_path / "runs").iterdir())) == 1
    nothing = cli("train", "iris-mlp", *tiny, "--resume")
    assert nothing.code == 2
    assert "There is no unfinished run of iris-mlp, seed 0, under" in nothing.err


def test_a_full_disk_is_one_sentence_and_the_run_can_go_on(
    cli: Any, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        result = cli("train", "iris-mlp", *tiny, "--out", "run")
    assert result.code == 1
    last = result.err.splitlines()[-1]
    assert last.startswith(
        "Error: No space left on the disk that holds run: free some and continue with: scff-hw train"
    )
    assert "Traceback" not in result.err
    assert cli("train", "iris-mlp", *tiny, "--out", "run", "--resume").code == 0


def test_resume_of_nothing(cli: Any, tiny: list[str], tmp_path: Path) -> None:
    result = cli("train", "iris-mlp", *tiny, "--resume", "--out", "nowhere")
    assert result.code == 2
    assert result.err == "Error: There is no run to resume in nowhere; leave --resume out to start one.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_recipe_is_refused(cli: Any, trained: Path) -> None:
    for more in ([], ["--resume"]):
        result = cli("train", "digits-mlp", "--out", trained, *more)
        assert result.code == 2
        assert f"The folder {trained} holds a run of iris-mlp, not of digits-mlp; choose another --out." in result.err


def test_a_folder_in_use_is_refused(cli: Any, trained: Path, tmp_path: Path) -> None:
    before = sorted(trained.rglob("*"))
    result = cli("train", "iris-mlp", "--out", trained)
    assert result.code == 2
    assert f"The folder {trained} holds a run of iris-mlp already; choose another --out" in result.err
    assert sorted(trained.rglob("*")) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    result = cli("train", "iris-mlp", "--out", "mine")
    assert result.code == 2
    assert "The folder mine is not empty and holds no run; choose another --out." in result.err
    result = cli("train", "iris-mlp", "--out", "mine/letter.txt")
    assert result.code == 2
    assert "The run folder must be a folder; mine/letter.txt is a file." in result.err


def test_a_changed_recipe_does_not_resume(cli: Any, trained: Path) -> None:
    result = cli("train", "iris-mlp", "--out", trained, "--resume")
    assert result.code == 2
    assert str(trained) in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "iris-mpl"], "unknown recipe 'iris-mpl'.*did you mean 'iris-mlp'"),
        (
            ["train", "iris-mlp", "--set", "readout.epoch=3"],
            "unknown key 'readout.epoch'.*did you mean 'epochs'",
        ),
        (["train", "iris-mlp", "--set", "readout.epochs=many"], "readout.epochs"),
        (["train", "iris-mlp", "--set", "readout"], "readout"),
        (["train", "iris-mlp", "--backend", "flaot"], "Got 'flaot' instead; did you mean 'float'"),
        (["train", "iris-mlp", "--seed", "-1"], "Invalid value for '--seed'.*-1"),
        (["train", "iris-mlp", "--seeds", "0"], "Invalid value for '--seeds'.*0"),
        (["train", "iris-mlp", "--sed", "1"], "No such option: --sed.*--seed.*Try: scff-hw train --help"),
        (["train"], "Missing argument.*Try: scff-hw train --help"),
        (["evaluate", "nowhere"], "nowhere"),
        (["trian", "iris-mlp"], "No such command 'trian'.*'train'"),
        (["recipes", "shwo"], "No such command 'shwo'.*'show'"),
    ],
)
def test_wrong_use_is_one_sentence_and_code_2(cli: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    assert re.search(message, result.err)
    assert list(tmp_path.iterdir()) == []


def test_missing_data_names_the_command_that_gets_it(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = cli("train", "mnist-mlp", "--data-dir", "data", "--out", "run")
    assert result.code == 2
    assert "scff-hw data fetch mnist" in result.err
    assert not (tmp_path / "run").exists()
