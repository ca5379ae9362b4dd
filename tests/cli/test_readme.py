"""The README's commands, run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[2] / "README.md"


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("scff-hw ")]


def test_every_command_of_the_readme_runs(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(commands()) >= 5
    for command in commands():
        result = cli(*shlex.split(command)[1:])
        assert result.code == 0, f"{command}: {result.err}"


def test_files_and_folders_the_readme_names_exist() -> None:
    text = README.read_text(encoding="utf-8")
    named = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"^\| `([a-z_/]+/)`", text, flags=re.MULTILINE)
    assert len(named) >= 8
    for name in named:
        assert (README.parent / name).exists(), f"README.md names {name}"
