"""Executed instructions of the C kernels on emulated Cortex-M cores: the build for the core against plain C.

QEMU advances virtual time equally for every instruction, and the core's SysTick counts it. The counts are exact, and
equal on every machine with the same compiler; they are not times: the emulator models neither stalls nor caches.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scff_hw import paths
from scff_hw.bench.timing import select_cases
from scff_hw.errors import ScffError
from scff_hw.export.c.targets import TARGETS
from scff_hw.export.toolchain import rendered, required
from scff_hw.training.progress import Progress

TARGET = 2.0
"""Smallest allowed ratio of instructions of the plain MVM to those of the vectorised one."""

INPUTS, UNITS, BATCH = 784, 500, 8
BUILD = ("-std=c99", "-O2", "-ffreestanding", "-ffunction-sections", "-fdata-sections")
CLOCK_SHIFT = 2
"""QEMU's clock advances by 2^2 ns per instruction: the 24 bits of SysTick count over 80 million instructions."""

TURNS = 1_000_000
"""Iterations of the reference loops in `counts.c`, which have two and five instructions per iteration."""

LIMIT_S = 120


@dataclass(frozen=True)
class Case:
    """One processor core and one kernel (an item of `WORK`); `has_simd`: the core has vector instructions."""

    target: str
    work: str
    has_simd: bool

    @property
    def name(self) -> str:
        return f"{self.target} {self.work}"


WORK = ("mvm", "forward", "update")
CASES = tuple(
    Case(target, work, target not in ("cortex-m0", "cortex-m3"))
    for target in TARGETS
    if target != "host"
    for work in WORK
)


def bench_kernels(*, progress: Progress, only: str = "", inputs: int = INPUTS, units: int = UNITS) -> dict[str, Any]:
    """Count the instructions of one dense layer in the cases whose name contains `only`.

    Returns:
        `machine` and `cases`; `ratio` is instructions of plain C (`-DSCFF_SCALAR`, one row at a time) over those of the
        build for the core, per sample: of one `scff_dots`, one `scff_forward`, and an eighth of one `scff_learn` from 8
        samples.

    Raises:
        UsageError: no case matches `only`.
        MissingPartError: no cross-compiler or no emulator.
        ScffError: the emulator's clock is not proportional to instructions, or the results of the two builds differ.
    """
    cases = select_cases(CASES, only)
    targets = list(dict.fromkeys(case.target for case in cases))
    progress.start("bench kernels", len(targets))
    counts: dict[str, tuple[dict[str, int], dict[str, int]]] = {}
    for target in targets:
        counts[target] = _both(target, inputs, units)
        progress.advance(1)
    progress.finish()
    results = [_case(case, counts[case.target], inputs * units) for case in cases]
    return {"machine": _machine(inputs, units), "cases": results}


def count(target: str, *, scalar: bool, inputs: int, units: int, unaligned: bool = False) -> dict[str, int]:
    """Return the instructions of `mvm`, `forward` and `update` per sample, and `crc`, a checksum of their results.

    Args:
        target: one of `TARGETS` except the host.
        scalar: build plain C.
        unaligned: read words from any address (`-DSCFF_UNALIGNED`).

    Raises:
        MissingPartError: no cross-compiler or no emulator.
        ScffError: the build or run failed, or the emulator's clock is not proportional to instructions.
    """
    board = TARGETS[target]
    source = paths.export() / "c"
    with tempfile.TemporaryDirectory(prefix="scff-hw-kernels-") as folder:
        link, image = Path(folder) / "link.ld", Path(folder) / "counts.elf"
        chip = {"name": target, "board": board.board, "flash": board.flash, "ram": board.ram}
        text = rendered("c", "link.ld", {"target": chip | {"limits": {"ram_reserved": 0}}})
        link.write_text(text, encoding="utf-8")
        _run(
            *(required("arm-none-eabi-gcc"), *board.flags.split(), *BUILD, *(["-DSCFF_SCALAR"] if scalar else [])),
            *(["-DSCFF_UNALIGNED", "-munaligned-access"] if unaligned else []),
            *(f"-DINPUTS={inputs}u", f"-DUNITS={units}u"),
            *(f"-I{source / name}" for name in ("include", "src", "board")),
            *map(str, sorted((source / "src").glob("*.c"))),
            *(str(source / "counts" / "counts.c"), str(source / "board" / "startup.c")),
            *("-nostartfiles", "-Wl,--gc-sections", "-T", str(link), "-o", str(image)),
        )
        output = _run(
            *(required("qemu-system-arm"), "-M", board.board, "-nographic", "-monitor", "none", "-serial", "none"),
            *("-semihosting-config", "enable=on,target=native"),
            *("-icount", f"shift={CLOCK_SHIFT},sleep=off", "-kernel", str(image)),
        )
    ticks = {name: int(value) for name, value in re.findall(r"(\w+) (\d+)\n", output)}
    ticks_per_instruction = ticks["two"] / (2 * TURNS)
    if abs(ticks["five"] / ticks_per_instruction / (5 * TURNS) - 1) > 1e-4:
        raise ScffError(
            f"The emulator's clock must advance by the same time per instruction, but a loop of five took "
            f"{ticks['five'] / ticks_per_instruction / TURNS:.3f} times one of two on {target}."
        )
    samples = {"mvm": 1, "forward": 1, "update": BATCH}
    return {name: round(ticks[name] / ticks_per_instruction / n) for name, n in samples.items()} | {"crc": ticks["crc"]}


def _both(target: str, inputs: int, units: int) -> tuple[dict[str, int], dict[str, int]]:
    plain, own = (count(target, scalar=scalar, inputs=inputs, units=units) for scalar in (True, False))
    if plain["crc"] != own["crc"]:
        raise ScffError(f"The plain and the core's own kernels must compute the same, but they differ on {target}.")
    return plain, own


def _case(case: Case, counts: tuple[dict[str, int], dict[str, int]], macs: int) -> dict[str, Any]:
    plain, own = (instructions[case.work] for instructions in counts)
    return {
        "name": case.name,
        "ratio": round(plain / own, 2),
        "at_least": TARGET if case.work == "mvm" and case.has_simd else None,
        "plain_instructions": plain,
        "instructions": own,
        "per_mac": round(own / macs, 2) if case.work == "mvm" else None,
    }


def _machine(inputs: int, units: int) -> dict[str, Any]:
    compiler = _run(required("arm-none-eabi-gcc"), "-dumpfullversion").strip()
    emulator = _run(required("qemu-system-arm"), "--version").split("version ")[-1].split()[0]
    return {"layer": f"{inputs}x{units}", "batch": BATCH, "gcc": compiler, "flags": "-O2", "qemu": emulator}


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ScffError(f"{Path(command[0]).name} must end within {LIMIT_S} s, but it did not.") from None
    if done.returncode != 0:
        raise ScffError(f"{Path(command[0]).name} must succeed, but it ended with {done.returncode}: {done.stdout}")
    return done.stdout
