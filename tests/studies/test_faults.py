"""The faults study from end to end, and what it refuses."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scff_hw.errors import UsageError
from scff_hw.studies import Request, run_study

Ask = Callable[..., Request]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, ask: Ask) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("studies") / "faults"
    return out, run_study(ask("faults", options={"rates": "0 %,30 %"}), out)


def test_the_table_has_every_fault_before_and_after(done: tuple[Path, dict[str, Any]]) -> None:
    rows = list(csv.DictReader((done[0] / "results.csv").read_text().splitlines()))
    columns = ["method", "fault", "fault_rate", "when", "profile", "seed", "readout", "note", "test_accuracy"]
    assert list(rows[0]) == columns
    assert len(rows) == 1 + 3 * 2 * 5
    at = {(r["method"], r["fault"], r["fault_rate"], r["when"], r["readout"]): float(r["test_accuracy"]) for r in rows}
    assert len(at) == len(rows)
    # what is broken at a rate of 0 is nothing, and is measured once: 1 + 4 + 3 * 4 points
    assert at["scff", "stuck-on", "0 %", "after", "kept"] == at["scff", "dead-lines", "0 %", "after", "kept"]
    assert len(list((done[0] / "points").iterdir())) == 17
    # a kept readout knows nothing of three devices in ten being stuck
    assert at["scff", "stuck-on", "30 %", "after", "kept"] < at["scff", "stuck-on", "30 %", "before", "fitted"]
    assert "dead lines" in (done[0] / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"options": {"rates": "0,1 %"}},
            "--rates must be shares, each a finite number with its.*Got '0' instead",
        ),
        ({"options": {"rates": "120 %"}}, "<= 100 %.* Got '120 %' instead"),
        ({"vary": ["periphery.dac_bits=4 bit"]}, "The study faults takes no --vary"),
    ],
)
def test_what_could_not_be_measured_is_refused_at_once(options: dict[str, Any], message: str, ask: Ask) -> None:
    with pytest.raises(UsageError, match=message):
        ask("faults", **options)
