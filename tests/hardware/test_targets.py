"""Digital targets: shipped targets, errors and their messages."""

# ruff: noqa: E501 (one case a line, each message whole, so that it is found by searching for it)
from __future__ import annotations

import re

import pytest

from scff_hw import paths
from scff_hw.errors import ProfileError
from scff_hw.hardware import (
    Target,
    dump_profile,
    load_hardware,
    load_profile,
    load_target,
    parse_hardware,
    parse_profile,
    target_names,
)

SHIPPED = (
    "asic-int8", "cortex-m0", "cortex-m3", "cortex-m33", "cortex-m4", "cortex-m55", "cortex-m7", "rv32imc",
)  # fmt: skip
SMALL = """\
kind: digital
name: small
description: a chip
chip: none
sources: {memory: a test, compute: a test, energy: a test}
memory:
  flash: 64 KiB
  ram: 8 KiB
compute:
  clock: 10 MHz
  cycles_per_mac: 4 cycles
  cycles_per_outer_mac: 8 cycles
  cycles_per_weight_write: 20 cycles
energy: {per_cycle: 100 pJ}
"""


def target(text: str) -> Target:
    found = parse_hardware(text, "f.yaml")
    assert isinstance(found, Target)
    return found


def message(text: str) -> str:
    with pytest.raises(ProfileError) as caught:
        parse_hardware(text, "f.yaml")
    return str(caught.value)


def changed(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new, 1)


def test_the_shipped_targets_are_these() -> None:
    assert sorted(target_names()) == sorted(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_target_names_itself_and_its_sources_and_survives_a_dump(name: str) -> None:
    found = load_target(name)
    assert found.name == name and load_hardware(name) == found
    for key in ("memory.flash", "compute.clock", "compute.cycles_per_mac", "compute.cycles_per_outer_mac"):
        assert found.source_of(key) and "default" not in found.source_of(key)
    assert parse_hardware(dump_profile(found), "dumped") == found
    assert 0 < found.memory.ram_available < 2**21
    # learning reads and writes an accumulator that a matrix-vector product keeps in a register
    assert found.compute.cycles_per_outer_mac > found.compute.cycles_per_mac
    assert found.energy_per_outer_mac_joule > found.energy_per_mac_joule > 1e-12


def test_figures_follow_from_what_their_sources_say() -> None:
    """By hand: milliampere times volt over megahertz, seconds times hertz over MACs."""
    per_cycle = {name: load_target(name).energy.per_cycle for name in SHIPPED}
    assert per_cycle["cortex-m0"] == pytest.approx(11.4e-3 * 3.6 / 48e6, rel=1e-3)
    assert per_cycle["cortex-m3"] == pytest.approx(9.6e-3 * 3.6 / 32e6, rel=1e-3)
    assert per_cycle["cortex-m4"] == pytest.approx(100e-6 * 3.3 / 1e6, rel=1e-3)
    assert per_cycle["cortex-m7"] == pytest.approx(100e-3 * 3.3 / 216e6, rel=2e-3)
    assert per_cycle["cortex-m33"] == pytest.approx(19.5e-6 * 3.3 / 1e6, rel=1e-3)
    assert per_cycle["rv32imc"] == pytest.approx(26.8e-3 * 3.3 / 160e6, rel=1e-3)
    cycles = {name: load_target(name).compute.cycles_per_mac for name in SHIPPED}
    assert cycles["cortex-m7"] == pytest.approx(99.1e-3 * 216e6 / (24.7e6 / 2), rel=3e-3)
    assert cycles["cortex-m4"] == pytest.approx(cycles["cortex-m7"] * 30 / 19.6, rel=1e-3)
    assert cycles["rv32imc"] == pytest.approx(63 / 15.5, rel=1e-2)
    asic = load_target("asic-int8").energy
    assert asic.per_mac == pytest.approx((0.2 + 0.1 + 20 / 8) * 1e-12)
    assert asic.per_outer_mac == pytest.approx((0.2 + 0.1 + 2 * 10 / 2) * 1e-12)
    assert asic.per_weight_write == pytest.approx((3.1 + 2 * 0.1 + 5 * 20 / 8 + 10 / 2) * 1e-12)


def test_figures_are_kept_in_one_unit() -> None:
    found = target(changed("  ram: 8 KiB", "  ram: 8 KiB\n  ram_reserved: 512 B\n  flash_reserved: 0.0625 MiB"))
    assert (found.memory.flash_available, found.memory.ram_available) == (0, 7680)
    assert found.compute.clock == 10e6
    assert found.energy_per_mac_joule == pytest.approx(400e-12)
    assert found.energy_per_outer_mac_joule == pytest.approx(800e-12)
    assert found.energy_per_weight_write_joule == pytest.approx(2e-9)
    assert found.source_of("memory.ram_reserved") == "a test"


def test_what_a_preset_gives_can_be_changed() -> None:
    text = "kind: digital\nname: mine\ndescription: d\npreset: cortex-m4\nsources: {memory.ram: a test}\nmemory: {ram: 64 KiB}\n"
    mine, m4 = target(text), load_target("cortex-m4")
    assert mine.memory == m4.memory.model_copy(update={"ram": 65536.0})
    assert mine.compute == m4.compute and mine.chip == m4.chip
    assert mine.source_of("memory.ram") == "a test"
    assert mine.source_of("memory.flash") == m4.source_of("memory.flash")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("kind: digital", "kind: digtal", "f.yaml:1: kind must be one of analog, digital, got 'digtal'; did you mean 'digital'?"),
        ("kind: digital", "kind: [digital]", "f.yaml:1: kind must be one of analog, digital, got "),
        ("kind: digital\n", "", "sources must name sections or dotted keys below device, periphery, array, learning, got 'memory'"),
        ("  clock: 10 MHz", "  clok: 10 MHz", "f.yaml:10: unknown key 'compute.clok', allowed in compute: clock, cycles_per_mac,"),
        ("chip: none", "chp: none", "f.yaml:4: unknown key 'chp', allowed in target: kind, name, description, preset, sources, chip, core, memory, compute, energy; did you mean 'chip'?"),
        ("chip: none\n", "", "f.yaml: chip is missing, it must be one line of text, at most 1000 characters"),
        ("  ram: 8 KiB", "  ram: 8", "f.yaml:8: memory.ram must be a whole number with its unit (B, KiB, MiB), >= 0.25 KiB and <= 4194304 KiB, got 8; the unit is missing: 8 KiB or 8 MiB?"),
        ("  ram: 8 KiB", "  ram: 8 kB", "got '8 kB'"),
        ("  ram: 8 KiB", "  ram: 100 B", "f.yaml:8: memory.ram must be a whole number"),
        ("  ram: 8 KiB", "  ram: 300.5 B", "got '300.5 B'"),
        ("  ram: 8 KiB\n", "", "f.yaml:6: memory.ram is missing"),
        ("  flash: 64 KiB", "  flash: -1 B", "f.yaml:7: memory.flash must be a whole number with its unit"),
        ("  ram: 8 KiB", "  ram: 8 KiB\n  ram_reserved: 9 KiB", "f.yaml:9: memory.ram_reserved must be at most ram = 8192 B, got 9216 B"),
        ("  clock: 10 MHz", "  clock: 10 GHz", ""),
        ("  clock: 10 MHz", "  clock: 11 GHz", "f.yaml:10: compute.clock must be a finite number with its unit (Hz, kHz, MHz, GHz), >= 0.01 MHz and <= 10000 MHz, got '11 GHz'"),
        ("  cycles_per_mac: 4 cycles", "  cycles_per_mac: 0 cycles", "f.yaml:11: compute.cycles_per_mac must be a finite number with its unit (cycles, cycle), >= 1e-06 cycles and <= 10000 cycles, got '0 cycles'"),
        ("per_cycle: 100 pJ", "per_cycle: 100", "f.yaml:14: energy.per_cycle must be a finite number with its unit (J, uJ, nJ, pJ, fJ), >= 1e-17 J and <= 1e-06 J or null, got 100; the unit is missing"),
        ("per_cycle: 100 pJ", "per_cycle: 1 mJ", "got '1 mJ'"),
        ("per_cycle: 100 pJ", "per_mac: 1 pJ", "f.yaml:14: energy.per_outer_mac is missing, give per_cycle, or all of per_mac, per_outer_mac, per_weight_write"),
        ("per_cycle: 100 pJ", "per_cycle: 1 pJ, per_mac: 1 pJ", "f.yaml:14: energy.per_mac must be left out where per_cycle is given, it follows from the cycles"),
        (", energy: a test", "", "f.yaml:14: energy.per_cycle has no source, give one under sources: energy: ... for the whole section, or energy.per_cycle: ... for this figure"),
        ("energy: a test}", "enrgy: a test}", "f.yaml:5: sources must name sections or dotted keys below memory, compute, energy, got 'enrgy'; did you mean 'energy'?"),
        ("name: small", "name: small\npreset: cortex-m5", "f.yaml:3: preset must be one of asic-int8, cortex-m0, cortex-m3, cortex-m33, cortex-m4, cortex-m55, cortex-m7, rv32imc, got 'cortex-m5'; did you mean 'cortex-m"),
        ("name: small", "name: small\npreset: ecram", "f.yaml:3: preset must be one of asic-int8, "),
    ],
)  # fmt: skip
def test_a_wrong_figure_is_named_with_its_line(old: str, new: str, sentence: str) -> None:
    if not sentence:
        target(changed(old, new))
        return
    assert sentence in message(changed(old, new))


def test_each_loader_says_what_it_wanted() -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile("cortex-m4")
    assert str(caught.value) == (
        "The profile 'cortex-m4' is a digital target, without devices that could hold weights or learn, where analog "
        "devices are needed: capacitor, ecram-mo, ecram, exact, gokmen-vlasov, hfox-reset, ideal, pcm, reram-es, reram-sb, "
        "vnand-flash, or a file with kind: analog; what a run costs on a digital target: scff-hw evaluate RUN --profile "
        "cortex-m4"
    )
    with pytest.raises(ProfileError, match="'small' is a digital target"):
        parse_profile(SMALL, "f.yaml")
    with pytest.raises(ProfileError) as caught:
        load_target("ecram")
    assert str(caught.value) == (
        "The profile 'ecram' is one of analog devices, where a digital target is needed: asic-int8, cortex-m0, "
        "cortex-m3, cortex-m33, cortex-m4, cortex-m55, cortex-m7, rv32imc, or a file with kind: digital"
    )
    with pytest.raises(ProfileError, match=r"unknown profile 'cortex-m44', allowed: .*; did you mean 'cortex-m4'"):
        load_target("cortex-m44")


def test_overrides_change_figures_and_their_errors_name_the_option() -> None:
    assert load_target("cortex-m4", ["memory.ram=64 KiB"]).memory.ram == 65536
    with pytest.raises(ProfileError, match=re.escape("--vary must be key=value, such as memory.ram=64 KiB, got 'x'")):
        load_target("cortex-m4", ["x"], "--vary")


def test_the_page_shows_a_valid_target_and_the_shipped_ones_as_they_are() -> None:
    page = (paths.hardware_profiles() / "README.md").read_text(encoding="utf-8")
    _, example = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert target(example).memory.ram_available == 65536
    for name in SHIPPED:
        found = load_target(name)
        flash = f"{found.memory.flash / 1024:g} KiB" if found.memory.flash else "none"
        joule = found.energy_per_mac_joule
        energy = f"{joule * 1e9:.3g} nJ" if joule >= 1e-9 else f"{joule * 1e12:.3g} pJ"
        (row,) = re.findall(rf"^\| `{name}` \|.*$", page, flags=re.MULTILINE)
        cells = [cell.strip() for cell in row.split("|")][2:7]
        assert found.chip.startswith(cells[0])
        assert cells[1:] == [flash, f"{found.memory.ram / 1024:g} KiB", f"{found.compute.cycles_per_mac:g}", energy]
