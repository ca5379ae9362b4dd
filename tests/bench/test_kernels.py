"""Executed instructions of the C kernels: counts are exact, so the target ratio is asserted, on a smaller layer."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from scff_hw import bench
from scff_hw.bench import kernels
from scff_hw.errors import MissingPartError, ScffError, UsageError
from scff_hw.export.toolchain import PACKAGES


@pytest.fixture(name="tools")
def _tools() -> None:
    missing = [
        f"{name} is not installed; try: apt-get install {PACKAGES[name]}"
        for name in ("arm-none-eabi-gcc", "qemu-system-arm")
        if not shutil.which(name)
    ]
    if missing and os.environ.get("CI") == "true":
        pytest.fail("; ".join(missing))
    if missing:
        pytest.skip("; ".join(missing))


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("target", "inputs", "most_per_mac"), [("cortex-m4", 204, 2.0), ("cortex-m55", 203, 0.7)], ids=["m4", "m55"]
)
def test_vector_instructions_halve_an_mvm_at_least(target: str, inputs: int, most_per_mac: float) -> None:
    """Numbers of inputs and units that test all remainders, except incomplete words on the M4: see below."""
    result: dict[str, Any] = bench.run("kernels", only=target, inputs=inputs, units=51)
    mvm, forward, update = result["cases"]
    assert mvm["name"] == f"{target} mvm" and mvm["at_least"] == 2
    assert mvm["ratio"] >= 2 and mvm["per_mac"] < most_per_mac
    assert mvm["plain_instructions"] < forward["plain_instructions"] < update["plain_instructions"]
    assert forward["ratio"] > 1.5 and update["ratio"] > 1
    assert result["machine"]["layer"] == f"{inputs}x51"


@pytest.mark.usefixtures("tools")
def test_rows_of_odd_length_are_halved_where_a_core_reads_unaligned_words() -> None:
    """Rows that do not begin at multiples of 4 bytes use the portable loop unless a build allows unaligned words."""
    plain, aligned, unaligned = (
        kernels.count("cortex-m4", scalar=scalar, inputs=203, units=51, unaligned=unaligned)
        for scalar, unaligned in ((True, False), (False, False), (False, True))
    )
    assert plain["crc"] == aligned["crc"] == unaligned["crc"]
    assert plain["mvm"] >= 2 * unaligned["mvm"] and plain["mvm"] > 1.5 * aligned["mvm"]


@pytest.mark.usefixtures("tools")
def test_a_core_without_vectors_reads_x_once_for_four_rows_and_counts_repeat() -> None:
    first = kernels.count("cortex-m0", scalar=True, inputs=30, units=9)
    assert first == kernels.count("cortex-m0", scalar=True, inputs=30, units=9)
    # seven instructions in ARMv6-M's inner loop, plus overhead
    assert 7 < first["mvm"] / 270 < 8
    for target, ratio in (("cortex-m0", 1.2), ("cortex-m3", 1.5)):
        (case,) = bench.run("kernels", only=f"{target} mvm", inputs=203, units=51)["cases"]
        assert case["at_least"] is None and ratio < case["ratio"] < 2


@pytest.mark.usefixtures("tools")
def test_a_clock_not_proportional_to_instructions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    run = kernels._run

    def without_icount(*command: str) -> str:
        at = command.index("-icount") if "-icount" in command else len(command)
        return run(*command[:at], *command[at + 2 :])

    monkeypatch.setattr(kernels, "_run", without_icount)
    with pytest.raises(ScffError, match=r"clock must advance by the same time per instruction|counter is too short"):
        kernels.count("cortex-m3", scalar=True, inputs=30, units=9)


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MissingPartError, match="gcc is not installed; type: sudo apt-get install gcc-arm-none-eabi"):
        kernels.count("cortex-m4", scalar=True, inputs=30, units=9)


def test_unknown_cases_are_refused() -> None:
    with pytest.raises(UsageError, match=r"cortex-m0 mvm; .*Got 'cortex-a' instead"):
        bench.run("kernels", only="cortex-a")
