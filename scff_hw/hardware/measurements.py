"""Pulse-against-conductance measurements from a CSV file, checked.

    device,pulse,direction,conductance_uS
    1,0,up,2.1
    1,1,up,2.4

One row a measurement: `direction` is that of the pulse just before it, `pulse` counts up by one from row to row. The
first row of a device is where it starts. `device` may be left out where there is one.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scff_hw.errors import ProfileError, nearest
from scff_hw.hardware.quantities import UNITS

COLUMNS = ("pulse", "direction", "conductance_<unit>")
LEAST_PULSES = 8
"""Pulses in each direction that a fit needs at least."""
MAX_ROWS = 1_000_000


@dataclass(frozen=True)
class Branch:
    """Consecutive pulses of one direction on one device.

    Attributes:
        device: its name in the file.
        up: direction of the pulses.
        conductance: float64 `[n + 1]` in siemens, before the first pulse and after each.
    """

    device: str
    up: bool
    conductance: NDArray[np.float64]


def read_measurements(path: Path) -> list[Branch]:
    """Read and check a CSV file of measurements.

    Raises:
        ProfileError: names the line, what is allowed there and what was found; a gap in the pulse numbers, an empty
            cell, or pulses in one direction only are refused.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(line for line in file if not line.startswith("#")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ProfileError(f"{path}: measurements must be a readable CSV file, but: {reason}") from None
    if len(rows) > MAX_ROWS:
        raise ProfileError(f"{path}: measurements must have at most {MAX_ROWS} rows, this file has more")
    if not rows:
        raise ProfileError(f"{path}: measurements must start with the columns {', '.join(COLUMNS)}; the file is empty")
    columns, factor = _columns(path, [cell.strip() for cell in rows[0]])
    branches = _branches(path, rows[1:], columns, factor)
    for up, name in ((True, "up"), (False, "down")):
        pulses = sum(len(branch.conductance) - 1 for branch in branches if branch.up == up)
        if pulses < LEAST_PULSES:
            raise ProfileError(
                f"{path}: a fit needs at least {LEAST_PULSES} pulses in each direction, got {pulses} {name}; "
                "measure both directions"
            )
    if all(np.ptp(branch.conductance) == 0 for branch in branches):
        raise ProfileError(f"{path}: the conductance must change with the pulses, but it is the same in every row")
    return branches


def _columns(path: Path, header: list[str]) -> tuple[dict[str, int], float]:
    found = {name: index for index, name in enumerate(header)}
    units = {f"conductance_{unit}": factor for unit, factor in UNITS["S"].items()}
    named = [name for name in header if name in units]
    allowed = f"pulse, direction, {' or '.join(units)}, and device where there are several"
    for name in ("pulse", "direction"):
        if name not in found:
            raise ProfileError(f"{path}:1: the column {name} is missing, allowed: {allowed}{nearest(name, header)}")
    if len(named) != 1:
        raise ProfileError(
            f"{path}:1: one column must hold the conductance with its unit, allowed: {allowed}; got {', '.join(header)}"
        )
    return {**found, "conductance": found[named[0]]}, units[named[0]]


def _branches(path: Path, rows: list[list[str]], columns: dict[str, int], factor: float) -> list[Branch]:
    branches: list[tuple[str, bool, list[float]]] = []
    last: dict[str, tuple[int, float]] = {}
    current = None
    for line, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        place = f"{path}:{line}"
        if len(row) <= max(columns.values()):
            raise ProfileError(f"{place}: a row must have {max(columns.values()) + 1} cells, got {len(row)}")
        cells = {name: row[index].strip() for name, index in columns.items()}
        device = cells.get("device", "1")
        pulse, conductance = _pulse(place, cells["pulse"]), _conductance(place, cells["conductance"]) * factor
        if cells["direction"] not in ("up", "down"):
            raise ProfileError(f"{place}: direction must be up or down, got '{cells['direction']}'")
        up = cells["direction"] == "up"
        if device in last:
            before, start = last[device]
            if pulse != before + 1:
                raise ProfileError(
                    f"{place}: pulse must be {before + 1}, one after the row before (device {device}), got {pulse}; "
                    "a gap hides how much each pulse did"
                )
            if current != (device, up):
                branches.append((device, up, [start]))
            branches[-1][2].append(conductance)
            current = (device, up)
        else:
            current = None
        last[device] = (pulse, conductance)
    return [Branch(device, up, np.array(values)) for device, up, values in branches]


def _pulse(place: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ProfileError(f"{place}: pulse must be a whole number, got '{text}'") from None


def _conductance(place: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        found = f"'{text}'" if text else "an empty cell"
        raise ProfileError(f"{place}: conductance must be a finite number >= 0, got {found}")
    return value
