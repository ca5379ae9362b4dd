"""One tile as a SPICE netlist with wire resistance, and its solution by ngspice.

Every row is a wire, driven by its input at the first column. Every output has two adjacent column wires, one for its
positive and one for its negative devices; both end in an ideal current sense at the first row. A segment of wire lies
between neighbouring cells, between a driver and its first cell, and between a sense and its first cell.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scff_hw.errors import ScffError, UsageError
from scff_hw.escaping import spice
from scff_hw.export.toolchain import required

LIMIT_S = 600.0
_CURRENT = re.compile(r"^i\(vs(\d+)\)\s*=\s*(\S+)\s*$", re.MULTILINE)

Floats = NDArray[np.float64]


def netlist(
    plus: Floats, minus: Floats, volts: Floats, row_ohm: float, column_ohm: float, title: str = "one crossbar tile"
) -> str:
    """A netlist that prints the current of each column wire in ampere; `i(vs0)` is the first output's positive wire.

    Args:
        plus, minus: `[rows, columns]`, siemens; a cell of 0 is left out.
        volts: `[rows]`.
        row_ohm, column_ohm: resistance per segment of a row's and of a column's wire; 0 omits those wires.
        title: any text.

    Raises:
        UsageError: shapes that do not match, or a resistance below 0.
    """
    if plus.shape != minus.shape or plus.ndim != 2 or volts.shape != plus.shape[:1]:
        raise UsageError(
            f"The conductances of a netlist must be two matrices [rows, columns] and its volts [rows]. Got "
            f"{list(plus.shape)}, {list(minus.shape)} and {list(volts.shape)} instead."
        )
    if not (row_ohm >= 0 and column_ohm >= 0):
        raise UsageError(
            f"The wire resistances of a netlist must be 0 ohm or more. Got {row_ohm:g} and {column_ohm:g} instead."
        )
    cells = np.stack([plus, minus], axis=2).reshape(len(plus), -1)
    rows, lines = cells.shape
    text = [
        f"scff-hw: {spice(title)}",
        f"* {rows} rows, {lines // 2} pairs of columns; {row_ohm:g} ohm per segment of rows, {column_ohm:g} of columns",
    ]
    text += [f"V{i} in{i} 0 DC {v:.17g}" for i, v in enumerate(volts.tolist())]
    text += [f"Vs{c} s{c} 0 DC 0" for c in range(lines)]
    for i in range(rows):
        for c in range(lines):
            row = f"r{i}_{c}" if row_ohm else f"in{i}"
            column = f"c{i}_{c}" if column_ohm else f"s{c}"
            if row_ohm:
                text.append(f"Rr{i}_{c} {f'r{i}_{c - 1}' if c else f'in{i}'} {row} {row_ohm:.17g}")
            if column_ohm:
                text.append(f"Rc{i}_{c} {column} {f'c{i - 1}_{c}' if i else f's{c}'} {column_ohm:.17g}")
            if cells[i, c]:
                text.append(f"Rg{i}_{c} {row} {column} {1 / cells[i, c]:.17g}")
    text += [".control", "set numdgt=16", "op"]
    text += [f"print i(vs{c})" for c in range(lines)]
    return "\n".join([*text, ".endc", ".end", ""])


def simulate(text: str, outputs: int) -> Floats:
    """Solve a netlist with ngspice; returns the output currents, positive minus negative column, `[outputs]`, ampere.

    Raises:
        MissingPartError: ngspice is not installed.
        ScffError: ngspice does not solve the netlist.
    """
    program = required("ngspice")
    with tempfile.TemporaryDirectory(prefix="scff-hw-spice-") as folder:
        path = Path(folder) / "tile.cir"
        path.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                [program, "-b", path.name], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired:
            raise ScffError(f"ngspice did not solve the netlist within {LIMIT_S:.0f} s.") from None
    printed = {int(number): float(value) for number, value in _CURRENT.findall(done.stdout)}
    if len(printed) != 2 * outputs or not np.isfinite(list(printed.values())).all():
        errors = [
            line.strip() for line in (done.stderr + done.stdout).splitlines() if "rror" in line or "ingular" in line
        ]
        raise ScffError(
            f"ngspice must print {2 * outputs} currents of the netlist, but printed {len(printed)} "
            f"({errors[0] if errors else f'exit code {done.returncode}'})."
        )
    currents = np.array([printed[number] for number in range(2 * outputs)])
    return currents[0::2] - currents[1::2]
