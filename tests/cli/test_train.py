"""`scff-hw train`, `evaluate` and `demo`."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import statistics
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

from scff_hw.cli import _demo, _demo_exports, _train
from scff_hw.cli._progress import LineProgress
from scff_hw.errors import MissingPartError, ScffError
from scff_hw.files import LOCK, exclusive


def one_object(text: str) -> dict[str, Any]:
    """Standard output, which must be exactly one JSON object on one line."""
    assert text.count("\n") == 1
    return json.loads(text)


def test_train_prints_one_json_object_and_fills_the_run_folder(cli: Any, tiny: list[str], tmp_path: Path) -> None:
    result = cli("train", "iris-mlp", *tiny, "--seed", 3, "--out", "run", "--json")
    assert result.code == 0, result.err
    summary = one_object(result.out)
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
    found = one_object(result.out)
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
        (signal.SIGTERM, ("readout on scff features", 1)),
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


def test_evaluate_repeats_the_accuracy_of_the_run(cli: Any, trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    result = cli("evaluate", trained, "--json")
    assert result.code == 0, result.err
    found = one_object(result.out)["metrics"]
    for key in ("test_accuracy", "untrained_test_accuracy"):
        assert found[key] == summary["metrics"][key]
    shown = cli("evaluate", trained)
    assert shown.out == ""
    assert f"{100 * summary['metrics']['test_accuracy']:.2f} %" in shown.err


def test_evaluate_on_devices_has_a_table_of_chips_and_refuses_repeats_without_any(cli: Any, trained: Path) -> None:
    half = "name: half\ndescription: one sign\npreset: ideal\nsources: {device: a test}\n"
    Path("half.yaml").write_text(half + "device: {response: {w_min: 0 w}}\n")
    result = cli("evaluate", trained, "--profile", "half.yaml", "--repeats", 2, "--json")
    found = one_object(result.out)
    assert len(found["values"]["test_accuracy"]) == found["repeats"] == 2
    assert re.search(r"Warning: \d\d % of the weights lie beyond the bounds of their devices on half, and", result.err)
    shown = cli("evaluate", trained, "--profile", "exact").err
    assert "chip 3" in shown and "chip 4" not in shown and "±" in shown and "Warning" not in shown
    for options, got in (((), "no --profile"), (("--profile", "cortex-m4"), "--profile cortex-m4, a digital target,")):
        refused = cli("evaluate", trained, "--repeats", 2, *options)
        assert refused.code == 2 and f"so it needs the --profile of analog devices. Got {got} instead." in refused.err


def test_evaluate_on_a_digital_target_says_what_the_run_costs_there(
    cli: Any, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(*_: Any) -> None:
        raise AssertionError("costs need no data set")

    monkeypatch.setattr("scff_hw.training.run_context.load", no_data)
    result = cli("evaluate", trained, "--profile", "cortex-m4", "--json")
    assert result.code == 0, result.err
    found = one_object(result.out)
    assert (found["run"], found["recipe"], found["profile"]) == (str(trained), "iris-mlp", "cortex-m4")
    costs = found["costs"]
    # 4 inputs, 10 units, 3 classes, batches of 30
    assert costs["inference"] == {
        "fits": True,
        "flash_bytes": (40 + 40) + (30 + 12),
        "ram_bytes": (4 + 20 + 10) + 10 + 12,
        "flash_missing_bytes": 0,
        "ram_missing_bytes": 0,
        "time_s": pytest.approx(70 * 2.65 / 80e6),
        "energy_joule": pytest.approx(70 * 2.65 * 330e-12),
        "macs": 70,
    }
    learning, pair = costs["learning"]
    assert (learning["batch_size"], learning["ram_bytes"]) == (30, 3 * 40 + 40 + 30 * (4 + 30) + 16)
    assert (pair["batch_size"], pair["ram_bytes"]) == (2, 3 * 40 + 40 + 2 * (4 + 30) + 16)
    assert learning["time_s"] == pytest.approx((40 * 2.65 + 40 * 6 + 40 * 14 / 30) / 80e6)
    assert costs["backpropagation"][0]["ram_bytes"] > learning["ram_bytes"]
    assert costs["formats"]["weight_bits"] == 8


def test_evaluate_on_a_digital_target_has_a_table(cli: Any, trained: Path, tmp_path: Path) -> None:
    shown = cli("evaluate", trained, "--profile", "cortex-m4")
    assert (shown.code, shown.out) == (0, "")
    assert re.search(r"learning, batch 30 +122 B +1\.2 KiB +fits +80 +4\.56 µs +120 nJ", shown.err)
    assert "STM32L476RG" in shown.err and "nothing is measured" in " ".join(shown.err.split())
    small = cli("profiles", "show", "cortex-m4", "--set", "memory.ram=1 KiB", "--set", "memory.ram_reserved=0 B")
    (tmp_path / "small.yaml").write_text(small.out)
    shown = cli("evaluate", trained, "--profile", "small.yaml")
    assert shown.code == 0
    assert re.search(r"learning, batch 30 +122 B +1\.2 KiB +172 B RAM +80", shown.err)
    assert re.search(r"inference +122 B +56 B +fits", shown.err)


def test_evaluate_on_a_digital_target_refuses_what_is_no_finished_run(cli: Any, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "stopped")
    details = json.loads((trained / "run.json").read_text())
    (tmp_path / "stopped" / "run.json").write_text(json.dumps(details | {"status": "interrupted"}))
    for run, sentence in (
        ("stopped", "The run in stopped must be finished to be evaluated, but it is interrupted."),
        ("nowhere", "The folder nowhere holds no run.json, so it is not a run of scff-hw."),
    ):
        result = cli("evaluate", run, "--profile", "cortex-m4")
        assert (result.code, result.out, result.err) == (2, "", f"Error: {sentence}\n")


@pytest.fixture
def small_demo(cli: Any, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo with Iris instead of digits, in a second instead of a minute; `make demo` uses digits."""
    sgd = [f"--set=layers.*.learn.{pair}" for pair in ("optimiser=sgd", "weight_decay=0")]
    for name, options in (("small", tiny), ("sgd", [*tiny, *sgd])):
        (tmp_path / f"{name}.yaml").write_text(cli("recipes", "show", "iris-mlp", *options).out)
    small, plain = str(tmp_path / "small.yaml"), str(tmp_path / "sgd.yaml")
    rows = (_demo.Row("float", small, "float"), _demo.Row("analog-ecram", plain, "analog", "ecram"))
    monkeypatch.setattr(_demo, "SEEDS", (0, 1))
    monkeypatch.setattr(_demo, "ROWS", rows)


@pytest.mark.usefixtures("small_demo")
def test_demo_replaces_an_earlier_one_prints_a_table_and_writes_plots_and_a_report(cli: Any, tmp_path: Path) -> None:
    demo = tmp_path / "runs" / "demo"
    (demo / "float" / "seed-7").mkdir(parents=True)
    (demo / LOCK).touch()  # as a killed demo leaves it
    result = cli("demo")
    assert result.code == 0, result.err
    assert result.out == ""
    for name in ("float", "analog-ecram"):
        assert re.search(rf"{name} +iris-mlp +" + r" +".join([r"[\d.]+ ± [\d.]+ %"] * 3), result.err)
    assert sorted(path.name for path in demo.iterdir()) == ["analog-ecram", "float"]
    for folder in demo.iterdir():
        assert sorted(path.name for path in folder.iterdir()) == ["plots", "report.html", "seed-0", "seed-1"]
        assert (folder / "plots" / "accuracies.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("small_demo")
def test_a_second_demo_leaves_the_first_one_alone(cli: Any, tmp_path: Path) -> None:
    """While the first demo is in its first run."""
    demo = tmp_path / "here"
    run = demo / "float" / "seed-0" / "run.json"
    run.parent.mkdir(parents=True)
    run.write_text("{}")
    with exclusive(demo / LOCK, demo):
        second = cli("demo", "--out", "here")
    assert second.code == 1
    assert f"Error: here is in use by process {os.getpid()} (" in second.err
    assert run.read_text() == "{}"


@pytest.mark.usefixtures("small_demo")
def test_demo_without_the_simulator_exports_its_run_in_integers_and_checks_the_files(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingPartError("The analog backend needs aihwkit, which is not installed; type: pip install it")

    row = _demo.Row("fixed-int8", str(tmp_path / "sgd.yaml"), "fixed")
    monkeypatch.setattr(_demo, "ROWS", (row, _demo.ROWS[1]))
    monkeypatch.setattr("scff_hw.backends.analog.require_aihwkit", missing)
    monkeypatch.setitem(_demo_exports.TOOLS, "cortex-m4", ("make", "no-such-compiler"))
    result = cli("demo", "--out", "here", "--json")
    assert result.code == 0, result.err
    assert "The analog backend is left out: The analog backend needs aihwkit" in result.err
    assert "C for cortex-m4 is left out: no-such-compiler is missing; type: sudo apt-get install" in result.err
    found = one_object(result.out)
    assert found["run"] == "here"
    assert {name: row["seeds"] for name, row in found["backends"].items()} == {"fixed-int8": [0, 1]}
    exports = found["exports"]
    assert {each["found"] for each in exports if each["folder"] == "onnx/integer.onnx"} == {"100.00 % of logits equal"}
    said = [each["found"] for each in exports if each["folder"] == "c-host"]
    assert said[0] == "8 answers and 3 updates as in the integer reference"
    assert re.fullmatch(r"(\d+) of 30 correct, the reference \1; weights are the same", said[1])
    (tmp_path / "make").write_text("#!/bin/sh\necho FAIL; exit 1\n")
    (tmp_path / "make").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(_demo_exports, "_onnx", lambda *_: [])
    run, out = Path("here/fixed-int8/seed-0"), tmp_path / "failed"
    with pytest.raises(ScffError, match=rf"The exported C in {out}/c-host failed its check: FAIL"):
        _demo_exports.export_and_check(run, out, LineProgress(Console(stderr=True)))


def test_demo_leaves_other_files_alone(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    result = cli("demo", "--out", tmp_path)
    assert result.code == 2
    assert f"The folder {tmp_path} holds letter.txt, which is not of a demo; choose another --out." in result.err
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_the_demo_recipes_are_packaged_and_need_no_download() -> None:
    from scff_hw.data import info
    from scff_hw.recipes import load_recipe

    assert all(info(load_recipe(row.recipe).data.name).bundled for row in _demo.ROWS)
    assert len(_demo.SEEDS) == 3
    assert {row.backend for row in _demo.ROWS} == {"float", "fixed", "analog"}
