"""Exported runs on emulated microcontrollers: cross-compiled without a warning, the selftest's verdict as exit code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scff_hw.export.c.model import export_c
from scff_hw.export.c.targets import TARGETS

CORES = [target for target in TARGETS if target != "host"]
SIMD = {"cortex-m4": "smlad", "cortex-m7": "smlad", "cortex-m33": "smlad", "cortex-m55": "vmladava"}
RANDOM = ("fixed_point.shadow_bits=0", "fixed_point.weight_bits=4", "fixed_point.rounding=half_up")

CNN = """
name: digits-cnn
description: a convolution on digits
source: this test
data: {name: digits}
layers:
  - {kind: conv2d, channels: 5, kernel: 3, padding: 1, init: linear, pairs: made, transmit: triangle,
     pool: {kind: avg, size: 2, stride: 2},
     learn: {epochs: 1, optimiser: sgd, learning_rate: 1.0, theta_pos: 0.5, theta_neg: 0.5, penalty: 0.01}}
readout: {layers: [1], epochs: 2}
controls: {untrained: false}
"""


@pytest.fixture(scope="session")
def cnn(tmp_path_factory: pytest.TempPathFactory, finished: Any) -> Path:
    """A finished run of a convolution."""
    path = tmp_path_factory.mktemp("cnn") / "cnn.yaml"
    path.write_text(CNN, encoding="utf-8")
    return finished(str(path))


def emulate(folder: Path, call: Any, tool: Any, *settings: str) -> str:
    """What the selftest said on an emulated board."""
    tool("arm-none-eabi-gcc")
    tool("qemu-system-arm")
    return call(tool("make"), "run", *settings, cwd=folder, timeout=120)


@pytest.mark.parametrize("target", CORES)
def test_two_layers_learn_on_every_core(target: str, finished: Any, tmp_path: Path, call: Any, tool: Any) -> None:
    """The second layer reads an odd number of inputs, which vectors leave a rest of."""
    export_c(finished("digits-mlp"), tmp_path / "out", target)
    assert "PASS model_digits_mlp" in emulate(tmp_path / "out", call, tool)
    kernels = call(
        tool("arm-none-eabi-gcc"),
        *("-std=c99", "-O2", "-ffreestanding", "-S", "-o", "-", *TARGETS[target].flags.split()),
        *("-I", tmp_path / "out" / "scff" / "include", tmp_path / "out" / "scff" / "src" / "scff_dot.c"),
    )
    found = re.findall(r"\b(smlad|vmladava)", kernels)
    assert set(found) == ({SIMD[target]} if target in SIMD else set())


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("kind", ["convolution", "at random"])
def test_other_layers_learn_there_too(
    target: str, kind: str, finished: Any, cnn: Path, tmp_path: Path, call: Any, tool: Any
) -> None:
    run = cnn if kind == "convolution" else finished("digits-100", *RANDOM)
    export_c(run, tmp_path / "out", target)
    assert "PASS" in emulate(tmp_path / "out", call, tool)


def test_the_portable_path_gives_the_same(finished: Any, tmp_path: Path, call: Any, tool: Any) -> None:
    export_c(finished("digits-mlp"), tmp_path / "out", "cortex-m4")
    assert "PASS" in emulate(tmp_path / "out", call, tool, "CFLAGS=-DSCFF_SCALAR", "OPTIMISE=-Os")


def test_boards_trap_unaligned_words_unless_a_build_asks_for_them(
    finished: Any, tmp_path: Path, call: Any, tool: Any
) -> None:
    """So every image that passes here never reads one, its layer of an odd number of inputs included."""
    out = tmp_path / "out"
    export_c(finished("digits-mlp"), out, "cortex-m4")
    assert "PASS" in emulate(out, call, tool)
    call(tool("make"), "clean", cwd=out)
    assert "PASS" in emulate(out, call, tool, "CFLAGS=-DSCFF_UNALIGNED -munaligned-access")
    (out / "main.c").write_text(
        "#include <stdint.h>\nint main(void)\n{\n    static uint32_t words[2];\n"
        "    volatile uintptr_t address = (uintptr_t)words + 1u;\n    return (int)*(volatile uint32_t *)address;\n}\n"
    )
    for flags, said, code in (("", "FAIL: a fault", 2), ("-DSCFF_UNALIGNED", "", 0)):
        call(tool("make"), "clean", cwd=out)
        done = subprocess.run(
            [tool("make"), "run", f"CFLAGS={flags}"], cwd=out, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code and said in done.stderr


def test_a_failing_selftest_fails_the_emulation(finished: Any, tmp_path: Path, call: Any, tool: Any) -> None:
    out = tmp_path / "out"
    export_c(finished("digits-100"), out, "cortex-m3")
    text = (out / "selftest.c").read_text()
    at = text.index("logits[SAMPLES]")
    number = text[text.index("{", text.index("{", at) + 1) + 1 :].split(",")[0].strip()
    (out / "selftest.c").write_text(text[:at] + text[at:].replace(f" {number},", f" {int(number) + 1},", 1))
    call(tool("make"), cwd=out)
    done = subprocess.run([tool("make"), "run"], cwd=out, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "FAIL model_digits_100: answers from flash" in done.stdout + done.stderr


def test_the_image_has_no_floating_point_and_no_malloc(finished: Any, tmp_path: Path, call: Any, tool: Any) -> None:
    export_c(finished("digits-100"), tmp_path / "out", "cortex-m0")
    call(tool("make"), cwd=tmp_path / "out")
    symbols = call(tool("arm-none-eabi-nm"), tmp_path / "out" / "selftest.elf")
    assert "scff_learn" in symbols
    assert not re.search(r"malloc|printf|__aeabi_[fd](add|mul|sub|div|cmp)|__aeabi_[iul]+2[fd]", symbols)
