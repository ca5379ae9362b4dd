"""`scff-hw profiles`, called as a user calls it."""

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
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my-device.yaml").write_text(example)
    good = cli("profiles", "validate", "my-device.yaml", "pcm")
    assert good.code == 0, good.err
    assert "my-device.yaml is a valid profile: my-device, soft-bounds, 200 states." in good.err
    (tmp_path / "bad.yaml").write_text(example.replace("40 uS", "40"))
    bad = cli("profiles", "validate", "bad.yaml")
    assert bad.code == 2
    assert "bad.yaml:11: device.g_max must be" in bad.err and "the unit is missing" in bad.err
    assert cli("profiles", "validate", "pmc").code == 2


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


@pytest.mark.parametrize(
    ("name", "message"), [("one", "got 0 down; measure both directions"), ("none", "No such file")]
)
def test_measurements_that_give_nothing_are_wrong_use(cli: Any, tmp_path: Path, name: str, message: str) -> None:
    measurements(tmp_path / "one.csv", both=False)
    done = cli("profiles", "fit", f"{name}.csv")
    assert done.code == 2 and message in done.err
    assert not (tmp_path / "one.yaml").exists()
