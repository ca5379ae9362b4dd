"""The faults study from end to end, and refused requests."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scff_hw.errors import UsageError
from scff_hw.studies import Request, run_study

MakeRequest = Callable[..., Request]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, make_request: MakeRequest) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("studies") / "faults"
    return out, run_study(make_request("faults", options={"rates": "0 %,30 %"}), out)


def test_the_table_has_every_fault_before_and_after(done: tuple[Path, dict[str, Any]]) -> None:
    rows = list(csv.DictReader((done[0] / "results.csv").read_text().splitlines()))
    columns = ["method", "fault", "fault_rate", "when", "profile", "seed", "readout", "note", "test_accuracy"]
    assert list(rows[0]) == columns
    assert len(rows) == 1 + 3 * 2 * 5
    at = {(r["method"], r["fault"], r["fault_rate"], r["when"], r["readout"]): float(r["test_accuracy"]) for r in rows}
    assert len(at) == len(rows)
    # at a rate of 0 nothing is broken, which is measured once: 1 + 4 + 3 * 4 points
    assert at["scff", "stuck-on", "0 %", "after", "kept"] == at["scff", "dead-lines", "0 %", "after", "kept"]
    assert len(list((done[0] / "points").iterdir())) == 17
    # a kept readout is not adapted to 30 % of stuck devices
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
def test_a_request_that_cannot_be_measured_is_refused(
    options: dict[str, Any], message: str, make_request: MakeRequest
) -> None:
    with pytest.raises(UsageError, match=message):
        make_request("faults", **options)
