"""The other commands, and properties of the whole command line."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scff_hw.bench import BENCHMARKS
from scff_hw.doctor import Check

SCFF_HW = [sys.executable, "-m", "scff_hw"]


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from scff_hw.cli import main; code = main(['--help']); "
        "heavy = {'torch', 'numpy', 'matplotlib', 'sklearn', 'pydantic'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "train", "evaluate", "recipes", "data", "profiles", "study", "bench", "doctor"):
        assert f" {command} " in done.stdout


@pytest.mark.parametrize(
    "command", ["demo", "train", "evaluate", "recipes list", "data fetch", "profiles fit", "study", "bench", "doctor"]
)
def test_every_command_has_help(cli: Any, command: str) -> None:
    result = cli(*command.split(), "--help")
    assert result.code == 0
    assert "--json" in result.out


def test_version(cli: Any) -> None:
    from importlib.metadata import version

    result = cli("--version")
    assert (result.code, result.out, result.err) == (0, f"scff-hw {version('scff-hw')}\n", "")


def test_no_command_is_wrong_use_and_shows_help(cli: Any) -> None:
    result = cli()
    assert result.code == 2
    assert "Usage: scff-hw" in result.out + result.err
    result = cli("export")
    assert result.code == 2 and result.err.endswith("Error: A subcommand is missing. Try: scff-hw export --help\n")


def test_recipes_list_and_show(cli: Any, tmp_path: Path) -> None:
    listed = cli("recipes", "list")
    assert (listed.code, listed.out) == (0, "")
    assert "mnist-mlp" in listed.err
    names = [entry["name"] for entry in json.loads(cli("recipes", "list", "--json").out)["recipes"]]
    assert {"digits-mlp", "mnist-mlp", "mnist-cnn", "cifar10-cnn", "stl10-cnn", "iris-mlp"} <= set(names)
    shown = cli("recipes", "show", "iris-mlp", "--set", "controls.backprop.epochs=7")
    assert shown.code == 0
    (tmp_path / "mine.yaml").write_text(shown.out)
    again = cli("recipes", "show", "mine.yaml")
    assert again.out == shown.out
    assert json.loads(cli("recipes", "show", "mine.yaml", "--json").out)["controls"]["backprop"]["epochs"] == 7


def test_data_list_says_what_is_here(cli: Any, tmp_path: Path) -> None:
    listed = cli("data", "list", "--data-dir", tmp_path)
    assert (listed.code, listed.out) == (0, "")
    assert "bundled" in listed.err
    assert f"Data directory: {tmp_path}" in listed.err
    rows = {row["name"]: row for row in json.loads(cli("data", "list", "--data-dir", tmp_path, "--json").out)["data"]}
    assert rows["digits"]["present"] is True
    assert rows["mnist"]["present"] is False
    assert rows["mnist"]["licence"]


def test_data_fetch_and_verify_of_what_is_bundled(cli: Any) -> None:
    assert "iris needs no download" in cli("data", "fetch", "iris").err
    assert "comes with scikit-learn" in cli("data", "verify", "iris").err


def test_data_fetch_shows_its_files(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, data_dir: Path | None, report: Any) -> Path:
        for file in ("images.gz", "labels.gz"):
            for done in (0, 40_000, 90_000):
                report(file, done, 90_000)
        return tmp_path

    monkeypatch.setattr("scff_hw.data.fetch", fetch)
    result = cli("data", "fetch", "mnist", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["data"] == [{"name": "mnist", "present": True}]
    assert "✓ images.gz" in result.err
    assert "✓ labels.gz" in result.err
    assert f"mnist is whole in {tmp_path}" in result.err


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_an_unknown_data_set_is_wrong_use(cli: Any, command: str) -> None:
    result = cli("data", command, "mnits")
    assert result.code == 2
    assert "did you mean 'mnist'" in result.err


def test_verify_of_missing_data_names_the_command_that_gets_it(cli: Any, tmp_path: Path) -> None:
    result = cli("data", "verify", "mnist", "--data-dir", tmp_path)
    assert result.code == 2
    assert "scff-hw data fetch mnist" in result.err


@pytest.fixture
def stand_in_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fast replacement: the real benchmark takes minutes and has its own tests."""

    def run(*, progress: Any, only: str, repeats: int, threads: int) -> dict[str, Any]:
        progress.start("case", 1)
        progress.advance()
        progress.finish()
        case = {"name": "layer 1", "ratio": 4.25, "ratio_range": [4.1, 4.5], "literal_ms": 31.0}
        return {"machine": {"threads": 2}, "cases": [case]}

    monkeypatch.setitem(BENCHMARKS._items, "core", run)


@pytest.mark.usefixtures("stand_in_bench")
def test_bench_prints_cases(cli: Any) -> None:
    result = cli("bench", "core", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["cases"][0]["ratio"] == 4.25
    shown = cli("bench", "core")
    assert shown.out == ""
    assert "4.25 x" in shown.err
    assert "literal ms" in shown.err
    assert "4.1 .. 4.5" in shown.err
    assert "threads 2" in shown.err


@pytest.mark.usefixtures("stand_in_bench")
def test_an_unknown_benchmark_is_wrong_use(cli: Any) -> None:
    result = cli("bench", "coer")
    assert result.code == 2
    assert "Got 'coer' instead; did you mean 'core'?" in result.err


def test_doctor_ends_with_1_where_something_must_be_mended(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("Python", "ok", "3.11"), Check("PyTorch", "fail", "does not import", "pip install torch")]
    monkeypatch.setattr("scff_hw.doctor.diagnose", lambda deep, data_dir: checks)
    result = cli("doctor")
    assert (result.code, result.out) == (1, "")
    assert "fix: pip install torch" in result.err
    found = json.loads(cli("doctor", "--json").out)
    assert found["ok"] is False
    assert found["checks"][1] == {
        "name": "PyTorch",
        "status": "fail",
        "found": "does not import",
        "advice": "pip install torch",
    }
    monkeypatch.setattr("scff_hw.doctor.diagnose", lambda deep, data_dir: checks[:1])
    result = cli("doctor", "--deep")
    assert result.code == 0
    assert "No problems." in result.err


def test_a_bug_is_one_line_and_its_traceback_is_kept(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("scff_hw.recipes.list_recipes", broken)
    result = cli("recipes", "list")
    assert result.code == 1
    assert result.err.startswith("Error: RuntimeError: two lines - this is a bug in scff-hw; the traceback is in ")
    assert result.err.count("\n") == 1
    (kept,) = tmp_path.glob("scff-hw-*.traceback")
    assert str(kept) in result.err
    assert "in broken" in kept.read_text()
    monkeypatch.setenv("SCFF_HW_DEBUG", "1")
    assert "in broken" in cli("recipes", "list").err


def test_a_file_the_system_refuses_is_no_bug(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr("scff_hw.recipes.list_recipes", refused)
    result = cli("recipes", "list")
    assert (result.code, result.err) == (1, "Error: Permission denied: /somewhere.\n")


def test_a_reader_that_goes_away_is_not_an_error_message() -> None:
    process = subprocess.Popen(
        [*SCFF_HW, "recipes", "show", "iris-mlp"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(timeout=120) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_an_error(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*SCFF_HW, "recipes", "show", "iris-mlp"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: No space left on the disk that holds ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_from_outside_stops_a_training_process(tmp_path: Path, number: signal.Signals) -> None:
    # A shell starts background jobs with SIGINT ignored, and that is inherited: take the default back.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from scff_hw.cli import main; sys.exit(main())"
    )
    arguments = ["train", "iris-mlp", "--set", "layers.1.learn.epochs=100000", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        until = time.monotonic() + 300
        while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    told = f"Interrupted; resume with: scff-hw {shlex.join(arguments[:4])} --resume --out run"
    assert err.splitlines()[-1] == told
