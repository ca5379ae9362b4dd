"""The exported folder: builds without a warning, repeats itself, and is refused where it was changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scff_hw.errors import CheckpointError, ScffError
from scff_hw.export.crossbar import model as crossbar
from scff_hw.export.crossbar.c_driver import selftest
from scff_hw.export.crossbar.model import export_crossbar
from scff_hw.export.crossbar.read import load_crossbar
from scff_hw.hardware import load_profile, parse_profile

from .onnx_runs import CONV, DENSE, tiny_run

SANITIZED = "CFLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all -g"
SPLIT = ("array.rows=30 lines", "array.columns=7 lines")
COUNTED = ("learning.pulses=mean-count", "learning.max_pulses=100 pulses")
UNMANAGED = ("learning.update_management=false", "learning.pulse_management=false")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "run", CONV)


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    export_crossbar(run, load_profile("pcm"), tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("overrides", [(), SPLIT, COUNTED, UNMANAGED], ids=["plain", "split", "counted", "unmanaged"])
def test_the_folder_proves_itself(overrides: tuple[str, ...], run: Path, tmp_path: Path, call: Any, tool: Any) -> None:
    out = tmp_path / "out"
    manifest = export_crossbar(run, load_profile("pcm", overrides), out)
    assert (manifest["tiles"] > 3) == (overrides == SPLIT)
    for flags in ("CFLAGS=", SANITIZED):
        said = call(tool("make"), "-B", "run", f"CC={tool('gcc')}", flags, cwd=out)
        assert f"PASS: {manifest['tiles']} tiles, 6 updates each, every pulse as in Python" in said


def test_a_wrong_golden_vector_fails(folder: Path, tool: Any) -> None:
    tool("gcc")
    text = (folder / "scff_tiles.c").read_text()
    (folder / "scff_tiles.c").write_text(text.replace(".max_pulses = 31u", ".max_pulses = 30u"))
    with pytest.raises(ScffError, match="selftest of the pulse kernel failed: FAIL tile 0"):
        selftest(folder)
    (folder / "scff_pulses.c").write_text("int nonsense\n")
    with pytest.raises(ScffError, match=r"selftest of the pulse kernel failed: .*scff_pulses\.c"):
        selftest(folder)


def test_exports_of_one_run_are_the_same_bytes(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_crossbar(run, load_profile("pcm"), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_what_the_folder_says_of_itself(folder: Path) -> None:
    program = load_crossbar(folder)
    assert parse_profile((folder / "profile.yaml").read_text(), "profile.yaml") == load_profile("pcm")
    layers = program.program["layers"]
    assert [layer["kind"] for layer in layers] == ["conv2d", "conv2d", "dense"]
    assert [layer["fan_in"] for layer in layers] == [9, 54, 45]
    # the profile pulses at a tenth of the recipe's rate
    assert [layer["learning_rate"] for layer in layers] == pytest.approx([0.01] * 3)
    text = (folder / "README.md").read_text()
    assert "SCFF_LAYER_1_TILE_0_0" in text and "one on the minus device" in text
    for name, told in program.manifest.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == told
    assert {path.name for path in folder.iterdir()} == {*program.manifest.files, "manifest.json"}
    for layer in layers:
        for tile in layer["tiles"]:
            assert program.pulses(tile["name"]).gain.mantissa > 0
            assert tile["gain"] == pytest.approx(0.01 / tile["scale"] / program.program["pulses"]["step_w"], rel=2**-16)


def test_a_rate_of_ones_own(run: Path, tmp_path: Path) -> None:
    export_crossbar(run, load_profile("pcm"), tmp_path / "out", learning_rate=0.25, read_volt=0.1)
    program = load_crossbar(tmp_path / "out").program
    assert {layer["learning_rate"] for layer in program["layers"]} == {0.25}
    assert program["converters"]["read_volt"] == 0.1 and max(map(abs, program["netlist"]["volts"])) <= 0.1


def change_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: append(f / "tiles.npz"), r"tiles.npz is not the one that was exported: its SHA-256 must be "),
        (lambda f: append(f / "scff_tiles.c"), r"scff_tiles.c is not the one that was exported"),
        (lambda f: (f / "tile.cir").unlink(), r"is incomplete: tile.cir is missing"),
        (lambda f: change_manifest(f, version=0), r"must be of version 1. Got 0 instead; export its run again: "),
        (lambda f: change_manifest(f, version=2), r"must be of version 1. Got 2 instead"),
        (lambda f: change_manifest(f, format="scff-hw run"), r"holds no crossbar program: its manifest.json"),
        (lambda f: change_manifest(f, files={}), r"manifest.json must list program.json and tiles.npz under files"),
        (lambda f: change_manifest(f, schema=2), r"The key 'schema' in the file .*manifest.json must be 0 or 1. Got 2"),
        (lambda f: change_manifest(f, tiles="3"), r"The key 'tiles' in the file .*manifest.json must be "),
        (lambda f: (f / "manifest.json").write_text("{"), r"manifest.json is not JSON"),
        (lambda f: (f / "manifest.json").write_text("[]"), r"manifest.json must hold a JSON object"),
        (lambda f: shutil.rmtree(f), r"manifest.json of a crossbar program cannot be read \(No such file"),
    ],
)
def test_a_changed_folder_is_refused(damage: Any, said: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=said) as refused:
        load_crossbar(folder)
    assert refused.value.exit_code == 2


def test_a_manifest_of_before_schemas_is_still_read(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.pop("schema") == 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = load_crossbar(folder).manifest
    assert found.schema_version == 0 and found.as_json() == manifest


def test_arrays_of_python_objects_are_not_read(folder: Path) -> None:
    np.savez(folder / "tiles.npz", allow_pickle=True, evil=np.array([{"a": 1}], dtype=object))
    files = json.loads((folder / "manifest.json").read_text())["files"]
    files["tiles.npz"] = hashlib.sha256((folder / "tiles.npz").read_bytes()).hexdigest()
    change_manifest(folder, files=files)
    with pytest.raises(CheckpointError, match=r"tiles.npz cannot be read \(Object arrays"):
        load_crossbar(folder)


def test_a_failed_check_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Any) -> None:
    for name in ("gcc", "ngspice"):
        tool(name)
    monkeypatch.setattr(crossbar, "simulate", lambda text, outputs: np.ones(outputs))
    with pytest.raises(ScffError, match=r"must give the product of the digital reference, but is .* of it off"):
        export_crossbar(run, load_profile("pcm"), tmp_path / "out", check=True)
    assert not list(tmp_path.iterdir())


def test_a_run_in_fixed_point_and_one_on_devices(tmp_path: Path) -> None:
    for backend, profile in (("fixed", None), ("analog", "ideal")):
        made = tiny_run(tmp_path / backend, DENSE, backend=backend, profile=profile)
        manifest = export_crossbar(made, load_profile("pcm"), tmp_path / f"{backend}-out")
        read = load_crossbar(tmp_path / f"{backend}-out").manifest
        assert manifest["backend"] == backend and read.as_json() == manifest
