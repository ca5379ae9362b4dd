"""The C files of a crossbar program: the kernel, one constant per tile, golden vectors, a selftest."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scff_hw import paths
from scff_hw.core.xorshift import first_states
from scff_hw.errors import ScffError
from scff_hw.export.crossbar.pulses import CODE_TOP, EXPONENTS, PulseScheme, TilePulses
from scff_hw.export.toolchain import rendered, required

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SOURCES = ("scff_pulses.c", "scff_tiles.c", "selftest.c")
GOLDEN_UPDATES = 2
"""Consecutive updates per golden vector."""

GOLDEN_STEPS = (0.01, 0.4, 4.0)
"""Approximate steps of the largest input and error of each golden vector, as a share of the longest train."""

GOLDEN_X_EXPONENT = -12
LIMIT_S = 600.0


@dataclass(frozen=True)
class TileProgram:
    """The constants of one tile's pulses.

    Attributes:
        name: name of the tile, e.g. `layers.1.tile.0.0`.
        rows, columns: number of lines.
        gain, scale: see `TilePulses`.
        seed: seed of the generators of its lines, 32 bits.
    """

    name: str
    scheme: PulseScheme
    rows: int
    columns: int
    gain: float
    scale: float
    seed: int

    def pulses(self) -> TilePulses:
        """Return the tile's pulse trains, with the generators at their start."""
        return TilePulses(self.scheme, self.rows, self.columns, self.gain, self.seed, self.scale)

    @property
    def constant(self) -> str:
        """The tile's C name, e.g. `SCFF_LAYER_1_TILE_0_0`."""
        return "SCFF_" + self.name.replace("layers.", "layer.").replace(".", "_").upper()

    def golden(self) -> dict[str, Any]:
        """The selftest's golden vectors: CRC-32 of all trains and signs, and device pulses, over a few updates."""
        pulses, crc, total, slots, exponents = self.pulses(), 0, 0, [], []
        for number, share in enumerate(GOLDEN_STEPS):
            exponent = math.log2(share * self.scheme.max_pulses / self.gain) - 30 - GOLDEN_X_EXPONENT
            exponents.append(max(-EXPONENTS, min(EXPONENTS, round(exponent))))
            line = golden_codes(self.seed + 1 + number, self.rows + self.columns)
            for _ in range(GOLDEN_UPDATES):
                x, d = line[: self.rows], line[self.rows :]
                trains = pulses.update(x, GOLDEN_X_EXPONENT, d, exponents[-1])
                words = trains.packed(self.scheme.words).astype("<u4")
                for part in (np.array([trains.length], "<u4"), words, trains.signs):
                    crc = zlib.crc32(part.tobytes(), crc)
                total += int(np.abs(trains.counts).sum())
                slots.append(trains.length)
        return {"d_exponents": exponents, "slots": slots, "device_pulses": total, "crc32": crc}


def golden_codes(seed: int, lines: int) -> NDArray[np.int16]:
    """Return random codes of lines for golden vectors, a quarter of them 0; the C selftest draws the same codes."""
    h = first_states(seed, lines).astype(np.int64)
    signed = np.where(h & 0x8000, -(h & CODE_TOP), h & CODE_TOP)
    return np.where((h >> 16) & 3, signed, 0).astype(np.int16)


def write_c(folder: Path, tiles: list[TileProgram], goldens: list[dict[str, Any]], values: dict[str, Any]) -> None:
    """Write the kernel, the tiles' constants, a selftest and a Makefile into a folder."""
    source = paths.export() / "crossbar"
    for name in ("scff_pulses.h", "scff_pulses.c"):
        shutil.copyfile(source / name, folder / name)
    values = {
        **values,
        "tiles": list(zip(tiles, [tile.pulses() for tile in tiles], goldens, strict=True)),
        "lines": max(tile.rows + tile.columns for tile in tiles),
        "words": max(tile.scheme.words for tile in tiles),
        "updates": GOLDEN_UPDATES,
        "vectors": len(GOLDEN_STEPS),
        "x_exponent": GOLDEN_X_EXPONENT,
    }
    for name in ("scff_tiles.h", "scff_tiles.c", "selftest.c", "Makefile"):
        (folder / name).write_text(rendered("crossbar", name, values), encoding="utf-8")


def selftest(folder: Path) -> str:
    """Compile an exported folder's selftest without a warning, run it, and return its last line.

    Raises:
        MissingPartError: gcc is not installed.
        ScffError: the selftest does not compile, or fails.
    """
    compiler = required("gcc")
    with tempfile.TemporaryDirectory(prefix="scff-hw-selftest-") as build:
        image = Path(build) / "selftest"
        for command in (
            [compiler, *WARNINGS, "-O2", *(str(folder / name) for name in SOURCES), "-o", str(image)],
            [str(image)],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                raise ScffError(f"The selftest of the pulse kernel did not end within {LIMIT_S:.0f} s.") from None
            if done.returncode:
                lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
                raise ScffError(f"The selftest of the pulse kernel failed: {lines[0] if lines else done.returncode}")
    return done.stdout.splitlines()[-1]
