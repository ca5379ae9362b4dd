"""`scff-hw export nir`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest


def test_one_object_with_nodes_and_steps(cli: Any, trained: Path) -> None:
    result = cli("export", "nir", trained, "--out", "iris.nir", "--samples", "20", "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["samples"] == 20 and found["largest_logit_difference"] <= 1e-5
    assert found["nodes"]["readout"] == "Affine" and found["steps"][-1]["to"] == "logits"
    assert Path("iris.nir").is_file()


def test_what_is_left_to_the_reader_is_said(cli: Any, trained: Path) -> None:
    result = cli("export", "nir", trained, "--out", "iris.nir")
    assert (result.code, result.out) == (0, "")
    said = " ".join(result.err.split())
    assert "Left to the reader, as steps in the metadata: standardise, relu, flatten, concatenate." in said
    again = cli("export", "nir", trained, "--out", "iris.nir")
    assert again.code == 2
    assert again.err.strip() == "Error: The file to export to must not exist yet. Got iris.nir instead."


def test_a_missing_part(cli: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("scff_hw.export.nir")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nir", None)
    result = cli("export", "nir", trained, "--out", "iris.nir")
    assert result.code == 2
    assert "pip install 'scff-hw[nir]'" in result.err
    assert not Path("iris.nir").exists()


def test_a_folder_that_is_no_run(cli: Any) -> None:
    result = cli("export", "nir", "nowhere", "--out", "iris.nir")
    assert result.code == 2 and "holds no run.json" in result.err
