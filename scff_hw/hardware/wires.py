"""Effective conductances of an array with wire resistance: nodal analysis of rows and columns.

Every input drives a row wire at the first column. Every column of devices is a column wire that ends in an ideal
current sense at the first row. There is a wire segment between neighbouring cells, between a driver and its first cell,
and between a sense and its first cell, as in the netlist of an exported tile (`scff_hw.export.crossbar.spice`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

Floats = NDArray[np.float64]


def with_wires(cells: Floats, ohm: float) -> Floats:
    """Return the conductances from each row driver to each column sense through the wires.

    The network is linear: the currents are `volts @ with_wires(cells, ohm)` for any driver voltages. The voltages of
    the shorter wires are eliminated one wire after the other, with dense blocks: about `2 n^2 m (n + m / 2)`
    operations for m wires of n cells.

    Args:
        cells: device conductances `[rows, columns]`, siemens.
        ohm: resistance of a wire segment, above 0.

    Returns:
        `[rows, columns]`, siemens.
    """
    rows, columns = cells.shape
    # resistor networks are reciprocal: drivers and senses may be exchanged
    return _blockwise(cells, 1 / ohm) if columns <= rows else _blockwise(cells.T, 1 / ohm).T


def _blockwise(cells: Floats, segment: float) -> Floats:
    """Compute `with_wires` for wires of `segment` siemens and no more columns than rows.

    With the column voltages v at a row, the row voltages u follow from `T u = segment e + D v`, where D are the cells
    of the row, T its wire and cells, and e its driver. Kirchhoff's current law at the column nodes is then
    `(a segment + D - D T^-1 D) v - segment (v above + v below) = D T^-1 segment e`, a = 2, and 1 at the far end.
    """
    rows, columns = cells.shape
    wire = np.full(columns, 2 * segment)
    wire[-1] = segment
    band = np.empty((2, columns))
    band[0], responses = -segment, np.empty((columns, 0))
    below = np.zeros((columns, columns))
    for row in range(rows - 1, -1, -1):
        own = cells[row]
        band[1] = wire + own
        drive = np.concatenate([np.diag(own), segment * np.eye(columns, 1)], axis=1)
        injected = own[:, None] * (solveh_banded(band, drive) if columns > 1 else drive / band[1])
        node = np.diag(own + segment * (1 if row == rows - 1 else 2)) - injected[:, :-1] - segment**2 * below
        below = np.linalg.inv(node)
        responses = below @ np.concatenate([injected[:, -1:], segment * responses], axis=1)
    return segment * responses.T
