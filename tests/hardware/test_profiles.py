"""Hardware profiles: shipped profiles, errors and their messages, and the README."""

# ruff: noqa: E501 (one case a line, each message whole, so that it is found by searching for it)
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scff_hw import paths
from scff_hw.config.keys import keys_of
from scff_hw.errors import ProfileError
from scff_hw.hardware import Target, dump_profile, list_profiles, load_profile, parse_profile, profile_names
from scff_hw.hardware.key_tables import REFERENCES, json_schema, main, readme
from scff_hw.hardware.quantities import UNITS, Quantity
from scff_hw.hardware.schema import Profile

SHIPPED = (
    "capacitor", "ecram", "ecram-mo", "exact", "gokmen-vlasov", "hfox-reset", "ideal", "pcm", "reram-es", "reram-sb",
    "vnand-flash",
)  # fmt: skip
SMALL = """\
name: small
description: a device
sources: {device: a test, periphery: a test}
device:
  model: soft-bounds
  g_min: 1 uS
  g_max: 20 uS
  response:
    step: 0.01 w
    asymmetry: 5 %
periphery: {dac_bits: 6 bit}
"""


def message(text: str) -> str:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "f.yaml")
    return str(caught.value)


def changed(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new, 1)


def test_the_shipped_profiles_are_these() -> None:
    assert sorted(profile_names()) == sorted(SHIPPED)
    assert all(text == load_profile(name).description for name, text in list_profiles().items())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_names_itself_and_its_sources_and_survives_a_dump(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert "default" not in profile.source_of("device")
    assert parse_profile(dump_profile(profile), "dumped") == profile


def test_figures_are_kept_in_one_unit() -> None:
    profile = parse_profile(SMALL, "f.yaml")
    assert profile.device.g_max == 20e-6 and profile.device.response.asymmetry == 0.05
    assert profile.device.states == 200
    assert profile.source_of("device.response.step") == "a test"
    assert profile.source_of("learning.max_pulses") == "defaults of scff-hw"


def test_what_a_preset_gives_can_be_changed() -> None:
    text = "name: mine\ndescription: d\npreset: ecram\nsources: {device.response.step: a test}\ndevice: {response: {step: 0.004 w}}\n"
    mine, ecram = parse_profile(text, "f.yaml"), load_profile("ecram")
    assert mine.device.response == ecram.device.response.model_copy(update={"step": 0.004})
    assert mine.array == ecram.array
    assert mine.source_of("device.response.step") == "a test"
    assert mine.source_of("device.response.w_max") == ecram.source_of("device")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("asymmetry: 5 %", "asymetry: 5 %", "f.yaml:10: unknown key 'device.response.asymetry', allowed in device.response: step, w_min, w_max, asymmetry,"),
        ("g_max: 20 uS", "g_max: 20", "f.yaml:7: device.g_max must be a finite number with its unit (S, mS, uS, nS, pS), >= 0 uS and <= 1000000 uS or null, got 20; the unit is missing: 20 mS, 20 uS, 20 nS or 20 pS?"),
        ("g_max: 20 uS", "g_max: '20'", "got '20'; the unit is missing: 20 mS, 20 uS, 20 nS or 20 pS?"),
        ("g_max: 20 uS", "g_max: 20 V", "f.yaml:7: device.g_max must be a finite number with its unit (S, mS, uS, nS, pS), >= 0 uS and <= 1000000 uS or null, got '20 V'"),
        ("g_max: 20 uS", "g_max: -20 uS", "got '-20 uS'"),
        ("g_max: 20 uS", "g_max: .nan", "got .nan"),
        ("g_max: 20 uS", "g_max: true", "got true"),
        ("g_max: 20 uS", "g_max: 0.5 uS", "f.yaml:7: device.g_max must be above g_min = 1 uS, got 0.5 uS"),
        ("step: 0.01 w", "step: 2 w", "f.yaml:9: device.response.step must be a finite number with its unit (w), >= 1e-07 w and <= 1 w, got '2 w'"),
        ("dac_bits: 6 bit", "dac_bits: 6.5 bit", "f.yaml:11: periphery.dac_bits must be a whole number with its unit (bit), >= 2 bit and <= 16 bit or null, got '6.5 bit'"),
        ("dac_bits: 6 bit", "dac_bits: 1 bit", "f.yaml:11: periphery.dac_bits must be a whole number with its unit (bit), >= 2 bit and <= 16 bit or null, got '1 bit'"),
        ("dac_bits: 6 bit", "adc_bits: 1 bit", "f.yaml:11: periphery.adc_bits must be a whole number with its unit (bit), >= 2 bit and <= 24 bit or null, got '1 bit'"),
        ("model: soft-bounds", "model: soft-bound", "f.yaml:5: device.model must be one of exact, constant-step, linear-step, soft-bounds, exp-step, got 'soft-bound'; did you mean 'soft-bounds'?"),
        ("model: soft-bounds", "model: linear-step", "f.yaml:8: device.response.gamma_up is missing, model linear-step needs it: a finite number"),
        ("    asymmetry: 5 %", "    gamma_up: 2.0", "f.yaml:10: device.response.gamma_up must be left out with model soft-bounds, which takes noise_follows_step, write_noise, symmetry_point_at_zero, reference_spread"),
        ("name: small", "name: small\npreset: ecam", "f.yaml:2: preset must be one of capacitor, ecram-mo, ecram, exact, gokmen-vlasov, hfox-reset, ideal, pcm, reram-es, reram-sb, vnand-flash, got 'ecam'; did you mean 'ecram'?"),
        ("periphery: a test", "array: a test", "f.yaml:11: periphery.dac_bits has no source, give one under sources: periphery: ... for the whole section, or periphery.dac_bits: ... for this figure"),
        ("periphery: a test", "peripherie: a test", "f.yaml:3: sources must name sections or dotted keys below device, periphery, array, learning, got 'peripherie'; did you mean 'periphery'?"),
        ("sources: {device: a test, periphery: a test}\n", "", "f.yaml: sources is missing, it must be a mapping of sections or dotted keys to one line of text each"),
        ("periphery: {dac", "periphery: {wire_resistance: 1 ohm, dac", ""),
        ("periphery: {", "array: {refresh_every: 1 batch}\nperiphery: {", "f.yaml:11: array.refresh_every has no source"),
        ("name: small", "name: Small Device", "f.yaml:1: name must be at most 100 lower-case letters"),
        ("name: small", "name: small\nname: again", "f.yaml:2: must be valid YAML, but found duplicate key"),
    ],
)  # fmt: skip
def test_a_wrong_figure_is_named_with_its_line(old: str, new: str, sentence: str) -> None:
    if not sentence:
        parse_profile(changed(old, new), "f.yaml")
        return
    assert sentence in message(changed(old, new))


def test_wires_need_a_conductance() -> None:
    text = changed("periphery: {", "periphery: {wire_resistance: 1 ohm, ").replace("  g_max: 20 uS\n", "")
    assert message(text) == "f.yaml:10: periphery.wire_resistance needs device.g_max, which is missing"


def test_no_mapping_and_an_unknown_name_are_refused() -> None:
    assert "a profile must be a mapping" in message("[1]") and "the text is empty" in message("")
    with pytest.raises(ProfileError, match=r"unknown profile 'ecrm', allowed: .*; did you mean 'ecram'"):
        load_profile("ecrm")


def test_overrides_change_figures_and_their_errors_name_the_option() -> None:
    profile = load_profile("ecram", ["device.response.write_noise=0.1 w", "device.drift.kind=pcm"])
    assert profile.device.response.write_noise == 0.1
    assert profile.device.drift is not None and profile.device.drift.kind == "pcm"
    for text, sentence in (
        (
            "device.response.write_noise=0.1",
            "--vary device.response.write_noise: device.response.write_noise must be a finite",
        ),
        ("device.respnse.write_noise=0.1 w", "unknown key 'device.respnse', allowed in device: model, g_max"),
        ("device", "--vary must be key=value, such as device.response.write_noise=0.1 w, got 'device'"),
    ):
        with pytest.raises(ProfileError, match=re.escape(sentence)):
            load_profile("ecram", [text], "--vary")


@pytest.mark.parametrize(("dimension", "units"), UNITS.items())
def test_every_unit_can_be_read_and_what_is_shown_reads_back(dimension: str, units: dict[str, float]) -> None:
    quantity = Quantity(dimension, -1e30, 1e30)
    for unit, size in units.items():
        assert quantity.parse(f"-1.5e1 {unit}") == pytest.approx(-15 * size)
    assert quantity.parse(quantity.show(0.259359)) == pytest.approx(0.259359)


def test_every_figure_says_its_unit_and_range() -> None:
    for key in (*keys_of(Profile), *keys_of(Target)):
        assert key.description, key.dotted
        if "number" in key.allowed:
            assert "with its unit" in key.allowed or key.description.startswith("no unit;"), key.dotted
            assert "<=" in key.allowed and ">" in key.allowed, key.dotted


def test_the_schema_and_the_page_are_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, remedy = paths.hardware_profiles(), "run: python -m scff_hw.hardware.key_tables hardware_profiles"
    page = (folder / "README.md").read_text(encoding="utf-8")
    for reference in REFERENCES:
        assert (folder / reference.file).read_text(encoding="utf-8") == json_schema(reference), remedy
    assert page == readme(page), remedy
    (tmp_path / "README.md").write_text(page, encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["reference", str(tmp_path)])
    main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == page
    for reference in REFERENCES:
        assert json.loads((tmp_path / reference.file).read_text())["required"] == list(reference.required)


def test_the_profile_that_the_page_shows_is_valid() -> None:
    page = (paths.hardware_profiles() / "README.md").read_text(encoding="utf-8")
    example, _ = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert parse_profile(example, "README.md").device.states == 200
    assert all(f"`{name}`" in page for name in SHIPPED)
