"""`scff-hw export c`: the folder builds without a warning, proves itself, and is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scff_hw.cli import main
from scff_hw.data import load
from scff_hw.errors import CheckpointError, UsageError
from scff_hw.export.c.model import export_c
from scff_hw.export.c.targets import TARGETS
from scff_hw.export.fixed_run import IntegerRun
from scff_hw.training.finished import FinishedRun

SANITIZED = "CFLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all -g"
RANDOM = ("fixed_point.shadow_bits=0", "fixed_point.weight_bits=4", "fixed_point.rounding=half_up")
CHANNELS = ("fixed_point.weight_scales=channel", "fixed_point.shadow_bits=32")

CNN = """
name: digits.cnn-1
description: two convolutions on digits
source: this test
data: {name: digits}
layers:
  - {kind: conv2d, channels: 6, kernel: 3, padding: 1, init: linear, pairs: made, transmit: triangle,
     pool: {kind: max, size: 2, stride: 2}, readout_pool: {kind: avg, size: 2, stride: 2},
     learn: {epochs: 1, optimiser: sgd, learning_rate: 1.0, theta_pos: 0.5, theta_neg: 0.5, penalty: 0.01}}
  - {kind: conv2d, channels: 5, kernel: 2, padding: 0, init: linear, pairs: passed, transmit: relu,
     pool: {kind: avg, size: 2, stride: 1, padding: 1},
     learn: {epochs: 1, optimiser: sgd, learning_rate: 0.125, theta_pos: 1.0, theta_neg: 1.0}}
readout: {layers: [1, 2], epochs: 2}
controls: {untrained: false}
"""


@pytest.fixture(scope="session")
def cnn(tmp_path_factory: pytest.TempPathFactory, finished: Any) -> Path:
    """A finished run of two convolutions."""
    path = tmp_path_factory.mktemp("cnn") / "cnn.yaml"
    path.write_text(CNN, encoding="utf-8")
    return finished(str(path))


def check(folder: Path, call: Any, tool: Any) -> None:
    """Build as it is and under sanitizers; both selftests must pass."""
    for flags in ("CFLAGS=", SANITIZED):
        call(tool("make"), "clean", cwd=folder)
        said = call(tool("make"), "run", f"CC={tool('gcc')}", flags, cwd=folder)
        assert "PASS" in said and "3 updates as in the integer reference" in said
    call(tool("make"), "clean", cwd=folder)


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("digits-100", ()),
        ("digits-100", RANDOM),
        ("digits-mlp", CHANNELS),
        ("digits-mlp", ("layers.2.pairs=made", "readout.layers=[2]", "fixed_point.shadow_bits=8")),
        ("iris-mlp", ("layers.*.learn.optimiser=sgd", "layers.*.learn.epochs=1", "layers.*.learn.weight_decay=0",
                      "layers.*.learn.learning_rate=0.3", "readout.solver=ridge", "controls.backprop=null")),
    ],
    ids=["dense", "at random", "two layers", "pairs made twice", "iris"],
)  # fmt: skip
def test_an_exported_run_proves_itself_on_the_host(
    recipe: str, overrides: tuple[str, ...], finished: Any, tmp_path: Path, call: Any, tool: Any
) -> None:
    export_c(finished(recipe, *overrides), tmp_path / "out")
    check(tmp_path / "out", call, tool)


def test_an_exported_convolution_proves_itself_on_the_host(cnn: Path, tmp_path: Path, call: Any, tool: Any) -> None:
    export_c(cnn, tmp_path / "out")
    assert (tmp_path / "out" / "model_digits_cnn_1.c").exists()
    check(tmp_path / "out", call, tool)


def test_integers_of_a_run_classify_as_the_run_did(finished: Any, cnn: Path) -> None:
    for run in (finished("digits-mlp", *CHANNELS), cnn):
        network = IntegerRun.of(FinishedRun.open(run))
        labels = load("digits").test.labels
        assert labels is not None
        found = network.logits(network.samples("test", len(labels))).argmax(axis=1)
        accuracy = json.loads((run / "summary.json").read_text())["metrics"]["test_accuracy"]
        assert np.mean(found == labels.numpy()) == pytest.approx(accuracy, abs=1e-12)


def test_a_wrong_golden_vector_fails_the_selftest(finished: Any, tmp_path: Path, call: Any, tool: Any) -> None:
    export_c(finished("digits-100"), tmp_path / "out")
    source = tmp_path / "out" / "model_digits_100.c"
    text = source.read_text()
    at = text.index("l1_shadow[")
    number = text[text.index("{", at) + 1 :].split(",")[0].strip()
    source.write_text(text[:at] + text[at:].replace(f" {number},", f" {int(number) + 1},", 1))
    with pytest.raises(AssertionError, match="FAIL model_digits_100: learned weights"):
        call(tool("make"), "run", cwd=tmp_path / "out")


def test_cmake_builds_and_tests_it(finished: Any, tmp_path: Path, call: Any, tool: Any) -> None:
    export_c(finished("digits-100"), tmp_path / "out")
    call(tool("cmake"), "-S", tmp_path / "out", "-B", tmp_path / "build")
    call(tool("cmake"), "--build", tmp_path / "build")
    call(tool("ctest"), cwd=tmp_path / "build")


def test_the_manifest_tells_files_formats_and_bytes(finished: Any, tmp_path: Path, call: Any, tool: Any) -> None:
    out = tmp_path / "out"
    run = finished("digits-100")
    assert main(["export", "c", str(run), "--target", "host", "--out", str(out), "--json"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {*manifest["files"], "manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert manifest["rounding"] == "half_even"
    assert manifest["layers"][0]["formats"]["weight"]["bits"] == 8
    sizes = {row["buffer"]: row["bytes"] for row in manifest["memory"]}
    assert sizes["layer 1, weight, learning"] == 24 * 64
    assert sizes["layer 1, shadow, learning"] == 2 * 24 * 64
    each, rest = manifest["learn_scratch_bytes"].values()
    assert sizes["scratch to classify, and to learn from 8 samples"] == 8 * each + rest
    assert manifest["ram_bytes"] == sum(row["bytes"] for row in manifest["memory"] if row["where"] == "RAM")
    # model, readout and scratch for 4 samples are what the selftest has in RAM, beside a buffer to save into
    call(tool("make"), cwd=out)
    bss = int(call(tool("size"), out / "selftest").splitlines()[1].split()[2])
    needed = sum(size for buffer, size in sizes.items() if "learning" in buffer) + 4 * each + rest + 2 * 24 * 64 + 116
    assert needed <= bss <= needed + 128


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_the_manifest_counts_code_and_stack_of_functions(
    target: str, finished: Any, tmp_path: Path, call: Any, tool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = "" if target == "host" else "arm-none-eabi-"
    tool(f"{prefix}gcc")
    code = export_c(finished("digits-100"), tmp_path / "out", target)["code"]
    assert "gcc" in code["compiler"] and code["flags"].startswith("-std=c99 -O2")
    learn = code["functions"]["scff_learn"]
    assert 500 < learn["flash_bytes"] < 10_000 and 50 < learn["stack_bytes"] < 1000
    # the same compiler's sum for the files, which has their constants too: a table of 1024 bytes
    sources = sorted((tmp_path / "out" / "scff" / "src").glob("*.c"))
    call(f"{prefix}gcc", *code["flags"].split(), "-I", tmp_path / "out/scff/include", "-c", *sources, cwd=tmp_path)
    sizes = call(f"{prefix}size", "-A", *tmp_path.glob("*.o"))
    text = sum(int(line.split()[1]) for line in sizes.splitlines() if line.startswith(".text"))
    assert sum(each["flash_bytes"] for each in code["functions"].values()) == pytest.approx(text, rel=0.05)
    monkeypatch.setenv("PATH", str(tmp_path))
    without = export_c(finished("digits-100"), tmp_path / "without", target)["code"]
    assert without == {"left_out": f"{prefix}gcc or {prefix}nm is not installed"}
    for name, line in (("gcc", "echo no such option >&2; exit 1"), ("nm", "exit 0")):
        (tmp_path / f"{prefix}{name}").write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / f"{prefix}{name}").chmod(0o755)
    failing = export_c(finished("digits-100"), tmp_path / "failing", target)["code"]
    assert failing == {"left_out": f"{prefix}gcc failed: no such option"}


def test_a_missing_compiler_or_emulator_is_named(finished: Any, tmp_path: Path, tool: Any) -> None:
    tool("arm-none-eabi-gcc")
    export_c(finished("digits-100"), tmp_path / "out", "cortex-m4")
    for setting, said in (
        ("CROSS=no-such-", "no-such-gcc is not installed; on Debian and Ubuntu: apt-get install gcc-arm-none-eabi"),
        ("QEMU=no-such", "no-such is not installed; on Debian and Ubuntu: apt-get install qemu-system-arm"),
    ):
        done = subprocess.run(
            [tool("make"), "run", setting], cwd=tmp_path / "out", capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 2 and said in done.stderr


def test_the_same_run_exports_the_same_files(finished: Any, tmp_path: Path) -> None:
    run = finished("digits-100")
    assert export_c(run, tmp_path / "a")["files"] == export_c(run, tmp_path / "b")["files"]


def test_no_text_of_it_needs_floating_point_or_malloc(finished: Any, tmp_path: Path, call: Any, tool: Any) -> None:
    export_c(finished("digits-100"), tmp_path / "out")
    call(tool("make"), cwd=tmp_path / "out")
    objects = [*(tmp_path / "out" / "build" / "scff").rglob("*.o"), tmp_path / "out" / "build" / "model_digits_100.o"]
    wanted = {line.split()[-1] for line in call(tool("nm"), "-u", *objects).splitlines() if " U " in line}
    assert {name for name in wanted if not name.startswith(("scff_", "_GLOBAL", "__stack_chk"))} <= {"memcpy", "memset"}
    for path in (tmp_path / "out" / "scff").rglob("*.[ch]"):
        words = path.read_text().split("*/")[-1]
        assert "float" not in words and "double" not in words


@pytest.mark.parametrize("backend", ["float"])
def test_a_run_on_another_backend_is_refused(backend: str, finished: Any, tmp_path: Path, capsys: Any) -> None:
    run = finished("digits-100", backend=backend)
    assert main(["export", "c", str(run), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "must be on the fixed backend" in said and "'float'" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(
    finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished("digits-100")
    with pytest.raises(UsageError, match=r"The target must be one of host, .* Got 'cortex-m44' .*'cortex-m4'\?"):
        export_c(run, tmp_path / "out", "cortex-m44")
    with pytest.raises(CheckpointError, match=r"holds no run\.json"):
        export_c(tmp_path, tmp_path / "out")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty; choose another --out"):
        export_c(run, full)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    monkeypatch.setattr("scff_hw.export.folder.hashlib.sha256", _full_disk)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        export_c(run, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_link_to_an_empty_folder_is_filled_where_it_leads(finished: Any, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to("place")
    export_c(finished("digits-100"), tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "place" / "manifest.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "place"]
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="is a link that leads nowhere"):
        export_c(finished("digits-100"), tmp_path / "loop")


def test_of_two_exports_to_one_folder_one_is_told_who_has_it(
    finished: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins while the first writes golden vectors."""
    run, out, codes = finished("digits-100"), tmp_path / "out", []

    def second(*_: Any) -> Any:
        monkeypatch.undo()
        codes.append(main(["export", "c", str(run), "--out", str(out)]))
        raise KeyboardInterrupt

    monkeypatch.setattr("scff_hw.export.c.feed_forward.golden", second)
    with pytest.raises(KeyboardInterrupt):
        export_c(run, out)
    said = capsys.readouterr().err
    assert codes == [1] and f"{out} is in use by process {os.getpid()}" in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())
    export_c(run, out)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--profile-set", "memory.ram=1KiB"], "host has none. Got --profile-set memory.ram=1KiB instead"),
        (["--labels", "5"], "--labels belongs to --learn. Got --labels 5 without it."),
        (["--epochs", "3"], "--epochs belongs to --learn. Got --epochs 3 without it."),
        (["--tests", "10"], "--tests belongs to --learn. Got --tests 10 without it."),
    ],
)
def test_options_without_effect_are_refused(
    options: list[str], sentence: str, finished: Any, tmp_path: Path, capsys: Any
) -> None:
    command = ["export", "c", str(finished("digits-100")), "--out", str(tmp_path / "out"), *options]
    assert main(command) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_printed_command_is_one_a_shell_takes(finished: Any, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "c $(touch x) *"
    assert main(["export", "c", str(finished("digits-100")), "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"make -C '{out}' run" in said


def test_the_command_lists_every_target(capsys: Any) -> None:
    main(["export", "c", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for target in TARGETS:
        assert target in said


def _full_disk(data: bytes) -> Any:
    raise OSError(28, "No space left on device")
