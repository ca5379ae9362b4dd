"""The bits study from end to end: its table, shared measurements, and refused requests."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from scff_hw.cli import main
from scff_hw.errors import UsageError
from scff_hw.studies import Request, find_study, request_study, run_study
from scff_hw.training.progress import SilentProgress

WEIGHT, SHADOW = "fixed_point.weight_bits", "fixed_point.shadow_bits"
VARY = [f"{WEIGHT}=8,2", f"{SHADOW}=16,0"]
NARROW = ["layers.1.units=10", "layers.1.learn.epochs=6", "layers.1.learn.learning_rate=0.2"]
SHORT = [*NARROW, "readout.solver=ridge"]


def make_request(*changes: str) -> Request:
    """A study of ten units, which are better than untrained ones by 20 points."""
    return request_study("bits", "digits-100", vary=VARY, overrides=[*SHORT, *changes], seeds=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("studies") / "bits"
    return out, run_study(make_request(), out, command="scff-hw study bits")


def test_the_table_is_tidy(done: tuple[Path, dict[str, Any]]) -> None:
    rows = list(csv.DictReader((done[0] / "results.csv").read_text().splitlines()))
    assert list(rows[0]) == ["method", WEIGHT, SHADOW, "seed", "readout", "note", "test_accuracy"]
    seen = {(row["method"], row["readout"], row[WEIGHT], row[SHADOW]) for row in rows}
    assert len(seen) == len(rows) == 2 + 4 * 4  # float, then format x (three methods, one with two readouts)
    assert {row["method"] for row in rows} == {"float", "float-untrained", "scff", "quantised", "untrained"}
    assert all(0 <= float(row["test_accuracy"]) <= 1 for row in rows)


def test_few_bits_hurt_and_eight_do_not(done: tuple[Path, dict[str, Any]]) -> None:
    mean = {(r["method"], r["readout"], r[WEIGHT], r[SHADOW]): r["mean"] for r in done[1]["results"]}
    learned, untrained = mean["float", "fitted", "", ""], mean["float-untrained", "fitted", "", ""]
    assert learned > untrained + 0.03
    assert mean["quantised", "kept", "8", "16"] == pytest.approx(learned, abs=0.02)
    assert mean["untrained", "fitted", "8", "16"] == pytest.approx(untrained, abs=0.03)
    assert mean["scff", "fitted", "8", "16"] == pytest.approx(learned, abs=0.05)
    assert mean["scff", "fitted", "8", "16"] > mean["untrained", "fitted", "8", "16"]
    assert mean["quantised", "kept", "2", "16"] < mean["quantised", "kept", "8", "16"]


def test_methods_without_learning_are_measured_once_for_all_shadows(done: tuple[Path, dict[str, Any]]) -> None:
    out, result = done
    assert result["points"] == 14 and len(list((out / "points").iterdir())) == 2 + 4 + 2 * 2
    assert len(list((out / "weights").iterdir())) == 1  # learned in float, once for every format


def test_the_report_names_the_formats_and_no_profile(done: tuple[Path, dict[str, Any]]) -> None:
    page = (done[0] / "report.html").read_text()
    assert "Bits: digits-100 in fixed point" in page and "shadow_bits 16" in page and "quantised, readout kept" in page
    assert "Hardware profile" not in page and "fixed_point" in page


def test_another_format_is_another_study_but_the_same_float(done: tuple[Path, dict[str, Any]]) -> None:
    other = make_request("fixed_point.activation_bits=6")
    with pytest.raises(UsageError, match=r"holds another study \(its recipe is not this one's\)"):
        run_study(other, done[0])
    bits = find_study("bits")
    before, after = (
        {point.key: point.labels["method"] for point in bits.points(request)} for request in (make_request(), other)
    )
    assert {before[key] for key in before.keys() & after.keys()} == {"float", "float-untrained"}


def test_formats_do_not_change_the_keys_of_other_studies() -> None:
    keys = []
    for changes in ([], [f"{WEIGHT}=4"]):
        request = request_study("noise", "digits-100", overrides=changes, seeds=1)
        keys.append([point.key for point in find_study("noise").points(request)])
    assert keys[0] == keys[1]


def test_the_data_folder_does_not_change_the_keys(tmp_path: Path) -> None:
    """A study resumes after its data have moved."""
    requests = [request_study("bits", "digits-100", seeds=1, data_dir=folder) for folder in (None, tmp_path)]
    here, there = (find_study("bits").points(request) for request in requests)
    assert [point.key for point in here] == [point.key for point in there]
    assert there[0].parameters["data_dir"] == str(tmp_path)


def test_a_run_gives_its_recipe_seed_and_weights_to_a_study(float_run: Path, tmp_path: Path) -> None:
    request = request_study("bits", str(float_run), seeds=1)
    assert request.seeds == (5,)
    result = run_study(request, tmp_path / "study")
    mean = {(r["method"], r["readout"]): r["mean"] for r in result["results"]}
    reported = json.loads((float_run / "summary.json").read_text())["metrics"]
    assert mean["float", "fitted"] == pytest.approx(reported["test_accuracy"], abs=0.01)
    assert mean["float-untrained", "fitted"] == pytest.approx(reported["untrained_test_accuracy"], abs=0.01)
    assert not (tmp_path / "study" / "weights").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "fixed_point.weight_bit=4"], "unknown key 'fixed_point.weight_bit'.*did you mean 'weight_bits'"),
        (["--vary", f"{WEIGHT}=4,12"], f"--vary {WEIGHT}: .*an integer >= 2 and <= 8, got 12"),
        (["--vary", "fixed_point.weight_scales=chanel"], "one of .*, got 'chanel'; did you mean 'channel'"),
        (["--vary", "weight_bits=4"], f"Got 'weight_bits' instead; did you mean '{WEIGHT}'"),
        (["--vary", "layers.1.units=4"], "must be a key of the recipe below fixed_point. Got 'layers.1.units'"),
        (["--vary", WEIGHT], "must be key=v1,v2,..., such as fixed_point.weight_bits=8,4. Got"),
        (["--profile", "ideal"], "The study bits takes no --profile.* Got --profile ideal instead"),
        (["--backprop", "none"], "The study bits takes no --backprop.* Got --backprop none instead"),
        (["--rates", "1 %"], "The options of the study bits must be none of its own. Got --rates instead"),
        (["--set", "layers.1.learn.optimiser=adamw"], "Got 'adamw' instead; type: --set layers.1.learn.optimiser=sgd"),
    ],
)
def test_wrong_use_is_exit_code_2(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "bits", "digits-100", *arguments]) == 2
    printed = " ".join(capfd.readouterr().err.split())
    assert re.search(message, printed), printed


class Recorded(SilentProgress):
    """Records the progress calls in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def note(self, text: str) -> None:
        self.events.append(text)

    def start(self, stage: str, total: int, done: int = 0) -> None:
        self.events.append((stage, total))

    def advance(self, n: int = 1, **fields: float) -> None:
        self.events.append(n)


def test_a_large_grid_reports_its_size_before_its_points_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scff_hw.studies.grids.MANY_POINTS", 4)
    progress = Recorded()
    request_study("bits", "digits-100", vary=VARY, progress=progress)
    sizes = f"4 grid points: 2 values of {WEIGHT} x 2 values of {SHADOW}."
    assert progress.events == [sizes, ("checking grid points", 4), 1, 1, 1, 1]
    few = Recorded()
    request_study("bits", "digits-100", vary=VARY[:1], progress=few)
    assert few.events == []
