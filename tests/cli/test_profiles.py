"""`scff-hw profiles`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from scff_hw import paths


def test_profiles_list_and_show(cli: Any, tmp_path: Path) -> None:
    listed = cli("profiles", "list")
    assert (listed.code, listed.out) == (0, "")
    assert "reram-es" in listed.err
    rows = {row["name"]: row for row in json.loads(cli("profiles", "list", "--json").out)["profiles"]}
    assert rows["ecram"]["states"] == 1000 and rows["pcm"]["cell"] == "one-sided-pair"
    shown = cli("profiles", "show", "ecram", "--set", "device.response.step=0.004 w")
    assert shown.code == 0 and "step: 0.004 w" in shown.out
    (tmp_path / "mine.yaml").write_text(shown.out)
    assert cli("profiles", "show", "mine.yaml").out == shown.out
    assert json.loads(cli("profiles", "show", "mine.yaml", "--json").out)["device"]["response"]["step"] == "0.004 w"


def test_validate_takes_what_the_page_shows_and_names_what_is_wrong(cli: Any, tmp_path: Path) -> None:
    page = (paths.hardware_profiles() / "README.md").read_text(encoding="utf-8")
    example, chip = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my-device.yaml").write_text(example)
    (tmp_path / "my-chip.yaml").write_text(chip)
    good = cli("profiles", "validate", "my-device.yaml", "pcm", "my-chip.yaml")
    assert good.code == 0, good.err
    assert "my-device.yaml is a valid profile: my-device, soft-bounds, 200 states." in good.err
    assert "my-chip.yaml is a valid profile: my-chip, digital, 1024 KiB of flash, 128 KiB of RAM, 80 MHz." in good.err
    (tmp_path / "bad.yaml").write_text(example.replace("40 uS", "40"))
    bad = cli("profiles", "validate", "bad.yaml")
    assert bad.code == 2
    assert "bad.yaml:11: device.g_max must be" in bad.err and "the unit is missing" in bad.err
    assert cli("profiles", "validate", "pmc").code == 2


def test_both_kinds_are_listed_and_shown(cli: Any, tmp_path: Path) -> None:
    listed = cli("profiles", "list")
    assert "analog devices" in listed.err and "digital targets" in listed.err and "cortex-m4" in listed.err
    rows = {row["name"]: row for row in json.loads(cli("profiles", "list", "--json").out)["profiles"]}
    assert rows["ecram"]["kind"] == "analog" and "flash_bytes" not in rows["ecram"]
    assert rows["cortex-m4"] == {
        "name": "cortex-m4",
        "kind": "digital",
        "description": "Arm Cortex-M4 of a STM32L476, SIMD on pairs of 16 bits",
        "chip": "STM32L476RG (STMicroelectronics)",
        "flash_bytes": 1_048_576,
        "ram_bytes": 131_072,
        "clock_hz": 80e6,
    }
    shown = cli("profiles", "show", "cortex-m4", "--set", "memory.ram=64 KiB")
    assert shown.code == 0 and "ram: 64 KiB" in shown.out
    (tmp_path / "half.yaml").write_text(shown.out)
    assert cli("profiles", "show", "half.yaml").out == shown.out


@pytest.mark.parametrize("command", [["train", "iris-mlp", "--backend", "analog"], ["study", "noise", "iris-mlp"]])
def test_a_digital_target_has_no_devices_to_learn_on(cli: Any, tmp_path: Path, command: list[str]) -> None:
    done = cli(*command, "--profile", "cortex-m4", "--out", "out")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "Error: The profile 'cortex-m4' is a digital target, without devices that could hold weights" in done.err
    assert "scff-hw evaluate RUN --profile cortex-m4" in done.err
    assert list(tmp_path.iterdir()) == []


def measurements(path: Path, *, both: bool = True) -> None:
    rows = ["pulse,direction,conductance_uS"]
    for pulse in range(61):
        up = pulse <= 30 or not both
        level = 10 * (1 - math.exp(-pulse / 15)) if up else 10 * (1 - math.exp(-2)) * math.exp(-(pulse - 30) / 15)
        rows.append(f"{pulse},{'up' if up else 'down'},{5 + level:.4f}")
    path.write_text("\n".join(rows) + "\n")


def test_fit_makes_a_profile_and_a_plot(cli: Any, tmp_path: Path) -> None:
    measurements(tmp_path / "bench-3.csv")
    done = cli("profiles", "fit", "bench-3.csv", "--model", "soft-bounds", "--source", "bench 3")
    assert done.code == 0, done.err
    assert (tmp_path / "bench-3.png").read_bytes().startswith(b"\x89PNG")
    assert cli("profiles", "validate", "bench-3.yaml").code == 0
    found = json.loads(cli("profiles", "fit", "bench-3.csv", "--out", "there", "--json").out)
    assert found["profile"] == "there/bench-3.yaml" and found["rms_error_w"] < 0.01
    assert found["intervals"]["step_w"][0] <= found["step_w"] <= found["intervals"]["step_w"][1]
    assert set(found["held_out_log_likelihood"]) == {"soft-bounds", "linear-step", "exp-step"}


def test_warnings_of_a_fit_reach_people_and_programs(cli: Any, tmp_path: Path) -> None:
    measurements(tmp_path / "m.csv")
    rows = (tmp_path / "m.csv").read_text().splitlines()
    rows[20] = f"{rows[20].rsplit(',', 1)[0]},400"
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    done = cli("profiles", "fit", "m.csv", "--model", "soft-bounds", "--json")
    assert done.code == 0 and "Warning: 1 reading or step lies more than 5 standard deviations" in done.err
    found = json.loads(done.out)
    assert found["outliers"] == 1 and found["warnings"][0].startswith("1 reading or step lies")


def test_known_bounds_of_a_fit_carry_their_unit(cli: Any, tmp_path: Path) -> None:
    measurements(tmp_path / "m.csv")
    done = cli("profiles", "fit", "m.csv", "--model", "soft-bounds", "--g-min", "5 uS", "--g-max", "0.015 mS", "--json")
    found = json.loads(done.out)
    assert (found["g_min_siemens"], found["g_max_siemens"]) == (pytest.approx(5e-6), pytest.approx(15e-6))
    assert found["intervals_include"].startswith("the 95 % intervals include the errors of the estimates")
    done = cli("profiles", "fit", "m.csv", "--g-min", "5")
    assert done.code == 2 and "--g-min must be a finite number with its unit (S, mS, uS, nS, pS)" in done.err


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["dev.yaml"], "The file dev.yaml exists already; choose another --name or --out."),
        (["m.csv", "--name", "mine"], "The file mine.png exists already; choose another --name or --out."),
        (["m.csv", "--name", "link"], "The file link.yaml exists already; choose another --name or --out."),
        (["m.csv", "--out", "m.csv"], "--out must be a folder; m.csv is not a folder."),
        (["m.csv", "--out", "m.csv/below"], "--out must be a folder; m.csv is not a folder."),
        (["m.csv", "--name", "x\n"], "digits, '.', '_' or '-', got 'x\\n'; give one with --name"),
        (["m.csv", "--source", "a\nb"], "one line of at most 600 characters, got 'a\\nb'; give one with --source"),
        (["m.csv", "--source", "a" * 601], "aaa...; give one with --source"),
    ],
    ids=lambda case: " ".join(case)[:20] if isinstance(case, list) else "",
)
def test_what_a_fit_cannot_write_is_refused_before_it(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], sentence: str
) -> None:
    monkeypatch.setattr("scff_hw.hardware.fitting.fit_device", lambda *_, **__: pytest.fail("fitted"))
    measurements(tmp_path / "m.csv")
    (tmp_path / "dev.yaml").write_bytes((tmp_path / "m.csv").read_bytes())
    (tmp_path / "mine.png").write_text("a drawing")
    (tmp_path / "link.yaml").symlink_to("nowhere")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    done = cli("profiles", "fit", *given)
    assert done.code == 2 and sentence in done.err and done.err.count("\n") == 1
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_fit_outside_the_range_of_a_profile_is_named_without_lines(cli: Any, tmp_path: Path) -> None:
    measurements(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text(re.sub(r"(\.\d{4})$", r"\1e30", (tmp_path / "m.csv").read_text(), flags=re.M))
    done = cli("profiles", "fit", "m.csv", "--model", "soft-bounds")
    error = done.err[done.err.index("Error:") :]
    assert done.code == 2 and error.count("\n") == 1
    assert error.startswith("Error: the profile fitted to measurements m.csv: device.g_m")
    assert not (tmp_path / "m.yaml").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("one", "got 0 down; measure both directions"), ("none", "No such file")]
)
def test_measurements_that_give_nothing_are_wrong_use(cli: Any, tmp_path: Path, name: str, message: str) -> None:
    measurements(tmp_path / "one.csv", both=False)
    done = cli("profiles", "fit", f"{name}.csv")
    assert done.code == 2 and message in done.err
    assert not (tmp_path / "one.yaml").exists()
