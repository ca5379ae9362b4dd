"""`scff-hw export crossbar`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scff_hw.export import exporter
from scff_hw.export.crossbar.read import load_crossbar

PCM = ("--profile", "pcm", "--out", "out", "--learning-rate", "0.1")


def test_one_object_with_the_manifest(cli: Any, trained: Path) -> None:
    result = cli("export", "crossbar", trained, *PCM, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["folder"] == "out" and found["recipe"] == "iris-mlp" and found["profile"] == "pcm"
    assert found["devices_to_program"] > 0 and set(found["files"]) == {
        *("Makefile", "README.md", "profile.yaml", "program.json", "recipe.yaml", "scff_pulses.c", "scff_pulses.h"),
        *("scff_tiles.c", "scff_tiles.h", "selftest.c", "tile.cir", "tiles.npz"),
    }
    assert "mapping layers" in result.err
    assert load_crossbar(Path("out")).manifest.as_json() == {k: v for k, v in found.items() if k != "folder"}


def test_lines_for_people(cli: Any, trained: Path) -> None:
    result = cli("export", "crossbar", trained, *PCM)
    assert (result.code, result.out) == (0, "")
    assert "Devices to program: " in result.err and "make -C out run" in result.err


def test_conductances_can_be_given(cli: Any, trained: Path) -> None:
    given = ("--profile-set", "device.g_min=1 uS", "--profile-set", "device.g_max=40 uS")
    result = cli("export", "crossbar", trained, "--profile", "ecram", "--learning-rate", "0.1", *given, "--out", "out")
    assert result.code == 0, result.err
    assert load_crossbar(Path("out")).program["conductance"]["g_max_siemens"] == pytest.approx(40e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--profile", "ecram", "--learning-rate", "1"), "must give device.g_min and device.g_max"),
        (("--profile", "ecram", "--learning-rate", "1"), "--profile-set 'device.g_max=25 uS'"),
        (("--profile", "exact"), "device.model of a profile to export for must be one that pulses change. Got 'exact'"),
        (("--profile", "cortex-m4"), "digital target"),
        (("--profile", "pmc"), "did you mean 'pcm'?"),
        (("--profile", "pcm"), "The optimiser of layers.1"),
        (("--profile", "pcm"), "--learning-rate 0.1"),
        (("--profile", "pcm", "--learning-rate", "0"), "learning rate of a crossbar program must be"),
        (("--profile", "pcm", "--read-voltage", "nan"), "must be 0.001 V to 10 V. Got nan instead"),
        (("--profile", "pcm", "--read-voltage", "1e-320"), "must be 0.001 V to 10 V"),
        (("--profile", "ecram", "--profile-set", "array.cell=random-pair"), "Got 'random-pair'"),
        (("--profile", "pcm", "--profile-set", "device.g_mox=1 uS"), "did you mean"),
        ((), "Missing option '--profile'"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_sentence(cli: Any, trained: Path, options: tuple[str, ...], said: str) -> None:
    result = cli("export", "crossbar", trained, *options, "--out", "out")
    assert result.code == 2 and said in result.err and "bug" not in result.err
    assert not list(Path.cwd().iterdir())


def test_a_folder_that_is_no_run(cli: Any) -> None:
    result = cli("export", "crossbar", "nowhere", *PCM)
    assert result.code == 2 and "holds no run.json" in result.err


def test_a_run_that_is_not_finished(cli: Any, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "unfinished"
    run.mkdir()
    details = json.loads((trained / "run.json").read_text()) | {"status": "interrupted"}
    (run / "run.json").write_text(json.dumps(details))
    result = cli("export", "crossbar", run, *PCM)
    assert result.code == 2
    assert f"The run in {run} must be finished to be exported, but it is interrupted." in result.err


def test_a_folder_that_is_not_empty(cli: Any, trained: Path) -> None:
    Path("out").mkdir()
    Path("out/note").write_text("kept")
    result = cli("export", "crossbar", trained, *PCM)
    assert result.code == 2
    assert result.err.strip() == "Error: The folder out is not empty; choose another --out."


@pytest.mark.parametrize(("program", "package"), [("gcc", "gcc libc6-dev"), ("ngspice", "ngspice")])
def test_a_missing_tool(
    cli: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, package: str
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    if program != "gcc":
        (tools / "gcc").write_text("#!/bin/sh\n")
        (tools / "gcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    result = cli("export", "crossbar", trained, *PCM, "--check")
    assert result.code == 2 and f"{program} is not installed; type: sudo apt-get install" in result.err
    assert f"sudo apt-get install {package}" in result.err
    assert not Path("out").exists()


def test_what_fails_leaves_nothing(cli: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> dict[str, str]:
        raise OSError(28, "No space left on device", "tile.cir")

    monkeypatch.setattr(exporter, "digests", refuse)
    before = list(Path.cwd().iterdir())
    result = cli("export", "crossbar", trained, *PCM)
    assert result.code == 1 and "No space left" in result.err
    assert list(Path.cwd().iterdir()) == before
