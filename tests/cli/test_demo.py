"""`scff-hw demo`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scff_hw.cli import _demo, _demo_exports
from scff_hw.cli._progress import LineProgress
from scff_hw.errors import MissingPartError, ScffError
from scff_hw.files import LOCK, exclusive


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
    found = result.json()
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
