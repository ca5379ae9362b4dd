"""Reads and checks CSV files of conductance per pulse.

    device,pulse,direction,conductance_uS
    1,0,up,2.1
    1,1,up,2.4

One row per measurement: `direction` is that of the preceding pulse, and `pulse` increases by one per row. The
first row of a device is its initial state. `device` may be omitted for a single device.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from scff_hw.errors import ProfileError, nearest
from scff_hw.hardware.quantities import UNITS

COLUMNS = ("pulse", "direction", "conductance_<unit>")
LEAST_PULSES = 8
"""Fewest pulses in each direction for a fit."""
MAX_ROWS = 1_000_000
MAX_BYTES = 64 << 20
"""Size of a file with MAX_ROWS rows of 64 bytes."""
REPORT_EVERY = 10_000
"""Rows between progress reports."""


@dataclass(frozen=True)
class Series:
    """Consecutive pulses on one device.

    Attributes:
        device: name of the device in the file.
        up: bool `[n]`, direction of each pulse.
        conductance: float64 `[n + 1]` in siemens, before the first pulse and after each.
    """

    device: str
    up: NDArray[np.bool_]
    conductance: NDArray[np.float64]

    @property
    def branches(self) -> list[tuple[int, int]]:
        """Runs of pulses in one direction: indices of their first and last conductance."""
        turns = np.flatnonzero(np.diff(self.up)) + 1
        return list(zip([0, *turns.tolist()], [*turns.tolist(), len(self.up)], strict=True))


def read_measurements(path: Path, progress: Callable[[int, int], None] | None = None) -> list[Series]:
    """Read and check a CSV file of measurements, row by row.

    Args:
        progress: called repeatedly with the bytes read and the size of the file in bytes.

    Returns:
        One series per device in file order, without devices that have no pulse.

    Raises:
        ProfileError: a gap in the pulse numbers, an empty cell, a row whose length differs from the header, a file
            that is too large, or too few pulses in a direction; names the line, the allowed values and the value found.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ProfileError(
                f"{path}: measurements must be at most {MAX_BYTES >> 20} MiB, this file has {size / 2**20:.0f} MiB; "
                "leave out devices or later pulses"
            )
        with open(path, newline="", encoding="utf-8-sig") as file:
            devices = _read(path, file, (lambda done: progress(done, size)) if progress else None)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ProfileError(f"{path}: measurements must be a readable CSV file, but: {reason}") from None
    for up, name in ((True, "up"), (False, "down")):
        pulses = sum(int((series.up == up).sum()) for series in devices)
        if pulses < LEAST_PULSES:
            raise ProfileError(
                f"{path}: a fit needs at least {LEAST_PULSES} pulses in each direction, got {pulses} {name}; "
                "measure both directions"
            )
    for series in devices:
        if np.ptp(series.conductance) == 0:
            which = f" of device {series.device}" if len(devices) > 1 else ""
            raise ProfileError(
                f"{path}: the conductance{which} must change with the pulses, but it is the same in every row"
            )
    return devices


@dataclass
class _Device:
    pulse: int
    up: list[bool] = field(default_factory=list)
    conductance: list[float] = field(default_factory=list)


class _Lines:
    """Iterates over the lines of a file without comments; counts all lines and their bytes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.number = 0
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.number += 1
            self.size += len(line)
            if not line.startswith("#"):
                yield line


def _read(path: Path, file: TextIO, progress: Callable[[int], None] | None) -> list[Series]:
    lines = _Lines(file)
    rows = csv.reader(lines)
    header = next(rows, None)
    if header is None:
        raise ProfileError(f"{path}: measurements must start with the columns {', '.join(COLUMNS)}; the file is empty")
    header = [cell.strip() for cell in header]
    columns, factor = _columns(f"{path}:{lines.number}", header)
    devices: dict[str, _Device] = {}
    count = 0
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        count += 1
        if count > MAX_ROWS:
            raise ProfileError(f"{path}: measurements must have at most {MAX_ROWS} rows, this file has more")
        if progress and count % REPORT_EVERY == 0:
            progress(lines.size)
        location = f"{path}:{lines.number}"
        if len(row) != len(header):
            more = "; decimals are written with a point" if len(row) > len(header) else ""
            raise ProfileError(f"{location}: a row must have {len(header)} cells, as the header, got {len(row)}{more}")
        _add(location, {name: row[index].strip() for name, index in columns.items()}, factor, devices)
    return [
        Series(name, np.array(device.up), np.array(device.conductance)) for name, device in devices.items() if device.up
    ]


def _add(location: str, cells: dict[str, str], factor: float, devices: dict[str, _Device]) -> None:
    name = cells.get("device", "1")
    pulse, conductance = _pulse(location, cells["pulse"]), _conductance(location, cells["conductance"]) * factor
    if cells["direction"] not in ("up", "down"):
        raise ProfileError(f"{location}: direction must be up or down, got '{cells['direction']}'")
    device = devices.get(name)
    if device is None:
        devices[name] = _Device(pulse, conductance=[conductance])
        return
    if pulse != device.pulse + 1:
        raise ProfileError(
            f"{location}: pulse must be {device.pulse + 1}, one after the row before (device {name}), got {pulse}; "
            "a gap hides how much each pulse did"
        )
    device.pulse = pulse
    device.up.append(cells["direction"] == "up")
    device.conductance.append(conductance)


def _columns(location: str, header: Sequence[str]) -> tuple[dict[str, int], float]:
    """Return the index of each column, and siemens per unit of conductance; column names are not case-sensitive."""
    names = [name.lower() for name in header]
    units = {f"conductance_{unit}": factor for unit, factor in UNITS["S"].items()}
    allowed = f"pulse, direction, {' or '.join(units)}, and device where there are several"
    columns = {}
    for name in ("pulse", "direction", "device"):
        if names.count(name) > 1:
            raise ProfileError(f"{location}: the column {name} must be there once, got {', '.join(header)}")
        if name in names:
            columns[name] = names.index(name)
        elif name != "device":
            raise ProfileError(f"{location}: the column {name} is missing, allowed: {allowed}{nearest(name, header)}")
    factors = {name.lower(): factor for name, factor in units.items()}
    conductances = [(index, factors[name]) for index, name in enumerate(names) if name in factors]
    if len(conductances) != 1:
        raise ProfileError(
            f"{location}: one column must hold the conductance with its unit, allowed: {allowed}; "
            f"got {', '.join(header)}"
        )
    columns["conductance"], factor = conductances[0]
    for index, name in enumerate(names):
        if index not in columns.values() and (close := nearest(name, ["device"])):
            raise ProfileError(f"{location}: the column '{header[index]}' is not known, allowed: {allowed}{close}")
    return columns, factor


def _pulse(location: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ProfileError(f"{location}: pulse must be a whole number, got '{text}'") from None


def _conductance(location: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        problem = f"'{text}'" if text else "an empty cell"
        raise ProfileError(f"{location}: conductance must be a finite number >= 0, got {problem}")
    return value
