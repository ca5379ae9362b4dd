"""Measurements of devices: read from files, and refused where they are unsuitable."""

# ruff: noqa: E501 (one case a line, each message whole)
from __future__ import annotations

import csv
from pathlib import Path

import pytest

from scff_hw.errors import ProfileError
from scff_hw.hardware.fitting import fit_device
from scff_hw.hardware.measurements import read_measurements

HEADER = "pulse,direction,conductance_uS"
UP = [f"{k},up,{2 + k / 10}" for k in range(10)]
DOWN = [f"{k},down,{4 - k / 10}" for k in range(10, 20)]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([HEADER, *UP], "m.csv: a fit needs at least 8 pulses in each direction, got 0 down; measure both directions"),
        ([HEADER, *DOWN], "m.csv: a fit needs at least 8 pulses in each direction, got 0 up; measure both directions"),
        ([HEADER, *UP[:5], *UP[6:], *DOWN], "m.csv:7: pulse must be 5, one after the row before (device 1), got 6; a gap hides how much each pulse did"),
        ([HEADER, *UP, "10,down,", *DOWN[1:]], "m.csv:12: conductance must be a finite number >= 0, got an empty cell"),
        ([HEADER, *UP, "10,down,nan", *DOWN[1:]], "m.csv:12: conductance must be a finite number >= 0, got 'nan'"),
        ([HEADER, *UP, "10,down", *DOWN[1:]], "m.csv:12: a row must have 3 cells, as the header, got 2"),
        ([HEADER, "0,up,2,37", *UP[1:], *DOWN], "m.csv:2: a row must have 3 cells, as the header, got 4; decimals are written with a point"),
        (["# bench 3", HEADER, "# cold", *UP, "# hot", "10,down,nan", *DOWN[1:]], "m.csv:15: conductance must be a finite number"),
        (["# bench 3", "puls,direction,conductance_uS", *UP, *DOWN], "m.csv:2: the column pulse is missing"),
        (["devise,pulse,direction,conductance_uS", *(f"a,{row}" for row in [*UP, *DOWN])], "m.csv:1: the column 'devise' is not known, allowed: pulse, direction, conductance_S or"),
        (["pulse,PULSE,direction,conductance_uS", *(f"1,{row}" for row in UP)], "m.csv:1: the column pulse must be there once"),
        ([HEADER, *UP, "10,dwn,3", *DOWN[1:]], "m.csv:12: direction must be up or down, got 'dwn'"),
        ([HEADER, *UP, "x,down,3", *DOWN[1:]], "m.csv:12: pulse must be a whole number, got 'x'"),
        (["pulse,direction,conductance", *UP, *DOWN], "m.csv:1: one column must hold the conductance with its unit, allowed: pulse, direction, conductance_S or"),
        (["puls,direction,conductance_uS", *UP, *DOWN], "m.csv:1: the column pulse is missing"),
        ([], "m.csv: measurements must start with the columns pulse, direction, conductance_<unit>; the file is empty"),
        ([HEADER, *(f"{k},{'up' if k < 10 else 'down'},3" for k in range(20))], "m.csv: the conductance must change with the pulses"),
    ],
)  # fmt: skip
def test_measurements_that_give_no_device_are_refused(rows: list[str], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("\n".join(rows) + ("\n" if rows else ""))
    with pytest.raises(ProfileError) as caught:
        read_measurements(path)
    assert sentence in str(caught.value)


def test_names_of_columns_are_read_without_regard_to_case(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    rows = [f"{name},{row}" for name in ("a", "b") for row in [*UP, *DOWN]]
    path.write_text("\n".join([" Device ,Pulse,DIRECTION,Conductance_US", *rows]) + "\n")
    found = read_measurements(path)
    assert [(one.device, int(one.up.sum()), len(one.conductance)) for one in found] == [("a", 9, 20), ("b", 9, 20)]
    assert found[0].conductance[0] == pytest.approx(2e-6)


def test_devices_may_be_interleaved_and_rows_reach_a_listener(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["device", "pulse", "direction", "conductance_nS"])
        for pulse in range(12_000):
            for name in ("a", "b"):
                writer.writerow([name, pulse, "up" if pulse % 2 else "down", 1000 + pulse % 2])
    done: list[tuple[int, int]] = []
    found = read_measurements(path, lambda *report: done.append(report))
    assert [len(one.up) for one in found] == [11_999, 11_999]
    assert len(done) == 2 and done[0][0] < done[1][0] <= done[1][1] == path.stat().st_size


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with open(path, "wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ProfileError, match=r"m.csv: measurements must be at most 64 MiB, this file has 95 MiB"):
        read_measurements(path)


def test_swapped_directions_and_unknown_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(
        "\n".join([HEADER, *UP, *DOWN]).replace("up", "x").replace("down", "up").replace("x", "down") + "\n"
    )
    with pytest.raises(
        ProfileError, match=r"conductance must rise under pulses in direction up.*are the directions swapped\?"
    ):
        fit_device(read_measurements(path))
    path.write_text("\n".join([HEADER, *UP, *DOWN]) + "\n")
    with pytest.raises(
        ProfileError, match=r"model must be one of soft-bounds, linear-step, exp-step, best, got 'soft'; did you mean"
    ):
        fit_device(read_measurements(path), "soft")
    with pytest.raises(ProfileError, match=r"none.csv: measurements must be a readable CSV file, but: No such file"):
        read_measurements(tmp_path / "none.csv")
