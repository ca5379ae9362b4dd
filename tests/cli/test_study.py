"""`scff-hw study`, and a study of another package."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky import get_reusable_executor

SHORT = ["--set", "readout.solver=ridge"]

STUDY = """
from scff_hw.backends import FloatBackend
from scff_hw.report import Curve, Panel
from scff_hw.studies import InFloat, Study, StudyOptions, option

class WidthOptions(StudyOptions):
    tries: int = option(2, "how often each point is measured", unit="times", ge=1, le=9)
    rate: float = option(0.5, "learning rate", unit="", gt=0, lt=2)

class Width(Study[WidthOptions]):
    name = "width"
    title = "Width"
    explanation = "Untrained layers only."
    hardware = InFloat()
    Options = WidthOptions

    def check(self, request):
        pass

    def points(self, request):
        tries = self.options(request).tries
        return [request.point(seed, "untrained", what={"try": number}, labels={"try": number})
                for seed in request.seeds for number in range(tries)]

    def measure(self, lab):
        if lab.parameters["try"] == 3:
            raise ZeroDivisionError("three")
        return [lab.fitted_row(lab.untrained(FloatBackend()))]

    def panels(self, request, rows):
        values = tuple(row["test_accuracy"] for row in rows)
        return [Panel("", "try", ("all",), (Curve("untrained", "untrained", (values,), 0),))]
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_study_of_another_package_runs_as_one_of_scff_hw_does(
    cli: Any, install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jobs: str
) -> None:
    site = install(STUDY, studies={"width": "Width"})
    monkeypatch.setenv("PYTHONPATH", str(site))  # of worker processes, which an earlier test may have left running
    get_reusable_executor().shutdown(wait=True)
    out = tmp_path / "study"
    arguments = ["study", "width", "iris-mlp", *SHORT, "--seeds", "1", "--out", str(out), "--jobs", jobs]
    assert cli(*arguments, "--tries", "3").code == 0
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [(row["method"], row["try"]) for row in rows] == [("untrained", str(number)) for number in range(3)]
    assert "--tries 3" in (out / "report.html").read_text()
    failed = cli(*arguments, "--tries", "4")
    assert failed.code == 1
    assert "ZeroDivisionError: three - raised in the study 'width' of the package shop" in failed.err
    assert len(list((out / "points").iterdir())) == 3


def test_the_command_line_takes_its_options_from_the_studies(cli: Any, install: Callable[..., Path]) -> None:
    install(STUDY, studies={"width": "Width", "gone": "Gone"})
    shown = " ".join(cli("study", "--help").out.replace("│", " ").split())
    assert "noise, drift, faults, bits, controls, gone or width." in shown
    assert "width: how often each point is measured. [2]" in shown
    assert "of the recipe's. [0.03]; width: learning rate. [0.5]" in shown
    for arguments, sentence in (
        (["width", "--tries", "0"], "Invalid value for '--tries': 0 is less than 1."),
        (["width", "--tries", "10"], "Invalid value for '--tries': 10 is more than 9."),
        (["drift", "--batches", "0"], "Invalid value for '--batches': 0 is less than 1."),
        (["drift", "--batches", "999999999"], "Invalid value for '--batches': 999999999 is more than 100000."),
        (["drift", "--rate", "-1"], "Invalid value for '--rate': -1 is not above 0 and at most 1000."),
        (["width", "--rate", "7"], "--rate must be a finite number > 0 and < 2. Got 7.0 instead."),
        (["drift", "--tries", "2"], "The options of the study drift must be --batches, --rate. Got --tries"),
        (["gone"], "The study 'gone' of the package shop cannot be loaded from shop:Gone: AttributeError"),
    ):
        result = cli("study", arguments[0], "iris-mlp", *arguments[1:])
        assert result.code != 0 and sentence in result.err
