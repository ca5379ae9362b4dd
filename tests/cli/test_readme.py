"""Runs the commands and the Python of the README; those on sequences are shortened and use a small data set."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scff_hw.core import rules

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FOLDERS = ("scff_hw", "docs")
PAGES = [README, ROOT / "CONTRIBUTING.md", *(page for top in FOLDERS for page in (ROOT / top).rglob("*.md"))]


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of all code blocks."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


BLOCKS = blocks(README)
SHORT = {"train": ["layers.1.learn.epochs=1", "readout.solver=ridge", "controls.backprop=null", "layers.1.units=16"]}
SHORT["study"] = [*SHORT["train"][:2], "controls.backprop.epochs=1", "layers.1.units=16"]
SHORT["train"].append("controls.untrained=false")


def commands(language: str) -> list[str]:
    """Commands in all blocks of that language, without comments."""
    lines = [line.split("#")[0].strip() for kind, block in BLOCKS if kind == language for line in block.splitlines()]
    return [line for line in lines if line.startswith("scff-hw ")]


def code(language: str) -> str:
    """The only block in that language."""
    (block,) = (block for kind, block in BLOCKS if kind == language)
    return block


def test_every_block_is_run_or_is_the_picture_of_the_flow() -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh", "", "python", "toml"}
    pictures = [block for kind, block in BLOCKS if not kind and "scff-hw " not in block]
    assert len(pictures) == 1 and pictures[0].startswith("data ─► pairs ─► layer")
    assert len(commands("sh")) >= 25 and len(commands("")) >= 9


def test_every_command_of_the_readme_runs(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With studies in this process; those in worker processes have tests of their own."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    for command in commands("sh"):
        result = cli(*shlex.split(command)[1:])
        assert result.code == 0, f"{command}: {result.err}"


def test_every_command_on_sequences_runs(cli: Any, spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With three hundred short recordings, few units and epochs, and one seed."""
    monkeypatch.setenv("SCFF_HW_DATA", str(spoken))
    monkeypatch.setenv("SCFF_HW_COMPILE", "0")
    for number, command in enumerate(commands("")):
        arguments = shlex.split(command)[1:]
        short = [part for change in SHORT.get(arguments[0], []) for part in ("--set", change)]
        if arguments[0] in SHORT and "--out" not in arguments:
            short += ["--out", f"runs/{number}"]
        if arguments[0] == "study":
            short += ["--seeds", "1", "--jobs", "1"]
        result = cli(*arguments, *short)
        assert result.code == 0, f"{command}: {result.err}"


def test_the_python_of_the_readme_runs(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCFF_HW_DATA", str(spoken))
    names: dict[str, Any] = {}
    exec(code("python"), names)
    assert names["features"].shape == (10, 1000)


def test_the_entry_point_of_the_readme_names_the_group_of_rules() -> None:
    assert tomllib.loads(code("toml")) == {
        "project": {"entry-points": {"scff_hw.rules": {"mine": "my_package.rules:Mine"}}}
    }


PYTHON_PAGES = [*(f"scff_hw/{folder}/README.md" for folder in ("core", "training", "studies")), "docs/python.md"]


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rules.RULES, "_items", dict(rules.RULES._items))
    monkeypatch.setattr("scff_hw.registry._PLUGINS", {})
    found = [block for language, block in blocks(ROOT / page) if language == "python"]
    assert found
    for block in found:
        exec(compile(block, page, "exec", dont_inherit=True), {"__name__": "__main__"})


def test_files_and_folders_that_pages_name_exist() -> None:
    """Links of all pages, and files and folders in their tables."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / name).exists(), f"{page} links {name}"
        rows = "\n".join(line for line in text.splitlines() if line.startswith("| "))
        for name in re.findall(r"`((?:[\w.]+/)*[\w.]+(?:/|\.(?:py|md|toml|txt)))`", rows):
            assert (page.parent / name).exists() or (ROOT / name).exists(), f"{page} names {name}"


def test_the_page_on_own_data_is_true(cli: Any) -> None:
    """Its commands, on a table of six subjects in three states."""
    draw = np.random.default_rng(0)
    states = ("idle", "walk", "run")
    rows = [[*(4 * np.eye(3)[k % 3] + draw.normal(size=3)), f"s{k % 7}", states[k % 3]] for k in range(210)]
    pd.DataFrame(rows, columns=["ax", "ay", "az", "subject", "state"]).to_csv("sensors.csv", index=False)
    ((_, block),) = blocks(ROOT / "docs" / "own-data.md")
    lines = [line.split("#")[0].strip() for line in block.splitlines()]
    assert len(lines) == 5
    for line in lines:
        result = cli(*shlex.split(line)[1:])
        assert result.code == 0, f"{line}: {result.err}"
    assert json.loads(Path("runs/sensors/summary.json").read_text())["metrics"]["test_accuracy"] > 0.9
    assert list(Path("exported/c").glob("model_*.c")) and Path("exported/onnx/integer.onnx").exists()
