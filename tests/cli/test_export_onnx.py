"""`scff-hw export onnx`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scff_hw.errors import ExportError
from scff_hw.export.onnx import model as onnx_export


def test_one_object_with_the_figures(cli: Any, trained: Path) -> None:
    result = cli("export", "onnx", trained, "--out", "out", "--samples", "20", "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["recipe"] == "iris-mlp" and found["samples"] == 20
    assert 0 <= found["test_accuracy"] <= 1
    for figures in found["files"]["float.onnx"]["readers"].values():
        assert figures["largest_logit_difference"] <= 1e-5
    assert {path.name for path in Path("out").iterdir()} == {"float.onnx", "README.md", "manifest.json"}
    assert "checking float.onnx" in result.err


def test_a_table_for_people(cli: Any, trained: Path) -> None:
    Path("out").mkdir()
    result = cli("export", "onnx", trained, "--out", "out")
    assert (result.code, result.out) == (0, "")
    assert "onnxruntime, optimisations off" in result.err and "Left out: integer.onnx, qdq.onnx" in result.err


def test_a_folder_that_is_not_empty(cli: Any, trained: Path) -> None:
    Path("out").mkdir()
    Path("out/note").write_text("kept")
    result = cli("export", "onnx", trained, "--out", "out")
    assert result.code == 2
    assert result.err.strip() == "Error: The folder out is not empty; choose another --out."
    assert cli("export", "onnx", trained, "--out", "out/note").code == 2


def test_a_folder_that_is_no_run(cli: Any) -> None:
    result = cli("export", "onnx", "nowhere", "--out", "out")
    assert result.code == 2 and "holds no run.json" in result.err


def test_a_run_that_is_not_finished(cli: Any, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "unfinished"
    run.mkdir()
    details = json.loads((trained / "run.json").read_text()) | {"status": "interrupted"}
    (run / "run.json").write_text(json.dumps(details))
    result = cli("export", "onnx", run, "--out", "out")
    assert result.code == 2
    assert f"The run in {run} must be finished to be exported, but it is interrupted." in result.err


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_part(cli: Any, trained: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.startswith("scff_hw.export.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    result = cli("export", "onnx", trained, "--out", "out")
    assert result.code == 2
    assert "pip install 'scff-hw[export]'" in result.err and missing in result.err
    assert not Path("out").exists()


def test_a_failed_check_leaves_nothing(cli: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ExportError("A check failed.")

    monkeypatch.setattr(onnx_export, "check_file", refuse)
    before = list(Path.cwd().iterdir())
    result = cli("export", "onnx", trained, "--out", "out")
    assert result.code == 1 and result.err.strip() == "Error: A check failed."
    assert list(Path.cwd().iterdir()) == before


def test_samples_must_be_positive(cli: Any, trained: Path) -> None:
    result = cli("export", "onnx", trained, "--out", "out", "--samples", "0")
    assert result.code == 2 and "0 is less than 1" in result.err
