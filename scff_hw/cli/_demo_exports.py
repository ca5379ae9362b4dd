"""Exports of the integer run of `scff-hw demo`, each checked on its target, its emulator or ngspice."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from scff_hw.cli._progress import CommandProgress
from scff_hw.errors import MissingPartError, ScffError
from scff_hw.export.toolchain import PACKAGES

if TYPE_CHECKING:
    from scff_hw.training.finished import FinishedRun

FOLDER = "exports"
TOOLS: dict[str, tuple[str, ...]] = {
    "host": ("make", "gcc"),
    "cortex-m4": ("make", "arm-none-eabi-gcc", "qemu-system-arm"),
}
CROSSBAR = "pcm"
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Checked:
    """Result of one check of an exported folder."""

    folder: str
    reader: str
    found: str


def export_and_check(path: Path, out: Path, progress: CommandProgress) -> list[Checked]:
    """Export a run of the fixed backend into folders of `out` and check each; reports omitted exports with the reason.

    Exports ONNX, C for this machine and for a Cortex-M4, and a program for crossbars of phase-change memory.

    Args:
        path: run folder.

    Raises:
        ScffError: a check failed.
    """
    from scff_hw.training.finished import FinishedRun

    run, checked = FinishedRun.open(path, purpose="exported"), []
    try:
        checked += _onnx(run, out / "onnx", progress)
    except MissingPartError as error:
        progress.note(f"ONNX is left out: {error}")
    for target, tools in TOOLS.items():
        if missing := [tool for tool in tools if shutil.which(tool) is None]:
            packages = " ".join(PACKAGES.get(tool, tool) for tool in missing)
            progress.note(
                f"C for {target} is left out: {', '.join(missing)} is missing; type: sudo apt-get install {packages}"
            )
        else:
            checked += _c(run, out / f"c-{target}", target, progress)
    try:
        checked += _crossbar(run, out / f"crossbar-{CROSSBAR}", progress)
    except MissingPartError as error:
        progress.note(f"The crossbar program is left out: {error}")
    return checked


def as_json(checked: list[Checked]) -> list[dict[str, str]]:
    """Return the results as JSON values."""
    return [asdict(check) for check in checked]


def exports_table(checked: list[Checked]) -> Table:
    """Return the table with one row per check."""
    table = Table("export", "read by", "found", box=box.SIMPLE_HEAD, pad_edge=False)
    for check in checked:
        table.add_row(check.folder, check.reader, check.found)
    return table


def _onnx(run: FinishedRun, out: Path, progress: CommandProgress) -> list[Checked]:
    from scff_hw.export.onnx.model import OnnxExporter

    manifest = OnnxExporter().export(run, out, progress=progress)
    return [
        Checked(f"{out.name}/integer.onnx", name, f"{result.logits_equal:.2%} of logits equal".replace("%", " %"))
        for name, result in manifest.files["integer.onnx"].readers.items()
    ]


def _c(run: FinishedRun, out: Path, target: str, progress: CommandProgress) -> list[Checked]:
    from scff_hw.export.c.model import CExporter, COptions
    from scff_hw.export.c.stream import Lesson

    lesson = Lesson(samples=1400, labels=1400, tests=300)
    CExporter().export(run, out, COptions(target, lesson=lesson), progress)
    try:
        done = subprocess.run(
            ["make", "-C", str(out), "run", "learn"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise ScffError(f"The exported C in {out} was not done within {TIMEOUT_S:g} s.") from None
    if done.returncode:
        raise ScffError(f"The exported C in {out} failed its check: {done.stdout.strip()[-500:]}")
    where = "this machine" if target == "host" else f"{target} in QEMU"
    passed = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("PASS")]
    return [Checked(out.name, where, line) for line in passed]


def _crossbar(run: FinishedRun, out: Path, progress: CommandProgress) -> list[Checked]:
    from scff_hw.export.crossbar.model import CrossbarExporter, CrossbarOptions
    from scff_hw.hardware import load_profile

    options = CrossbarOptions(load_profile(CROSSBAR), check=True)
    checks = CrossbarExporter().export(run, out, options, progress).checks
    assert checks is not None, "a program that was checked says nothing of it"
    off = f"{checks.netlist_without_wires:.0e} of the largest current beside the digital product"
    return [Checked(out.name, "this machine", checks.selftest), Checked(out.name, "ngspice", off)]
