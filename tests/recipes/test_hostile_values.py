"""Unusual values: each is refused in one sentence, or read literally."""

# ruff: noqa: E501 (one case a line, each message whole, so that it is found by searching for it)
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml.resolver import VersionedResolver as Resolver

from scff_hw.config.keys import keys_of
from scff_hw.errors import UsageError, nearest
from scff_hw.hardware import load_hardware, parse_hardware
from scff_hw.recipes import dump_recipe, load_recipe, parse_recipe
from scff_hw.recipes.schema import Recipe

KINDS = "a mapping, a list, a number, text, true, false or null"
TAGGED = f"the value must be {KINDS}, got a value with a tag"


def refusal(override: str, recipe: str = "digits-100") -> str:
    with pytest.raises(UsageError) as caught:
        load_recipe(recipe, [override])
    return str(caught.value).removeprefix(f"--set {override.partition('=')[0]}: ")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("fixed_point.shadow_bits=none", "fixed_point.shadow_bits must be one of 0, 8, 16, 32, got 'none'"),
        ("fixed_point.shadow_bits=int16", "fixed_point.shadow_bits must be one of 0, 8, 16, 32, got 'int16'; did you mean '16'?"),
        ("layers.1.units={[[1]]}", "a key must be text, got a list"),
        ("layers.1.units={? {a: 1} : 1}", "a key must be text, got a mapping"),
        ("layers.1.units={1: 1}", "a key must be text, got 1"),
        ("layers.1.units={~: 1}", "a key must be text, got ~"),
        ("layers.1.units=!!float ''", TAGGED),
        ("layers.1.units=!!bool z", TAGGED),
        ("layers.1.units=!!omap z", TAGGED),
        ("layers.1.units=!!set z", TAGGED),
        ("layers.1.units=!!int x", TAGGED),
        ("layers.1.units=2001-99-99", f"the value must be {KINDS}, got a date; quote it to make it text"),
        ("layers.1.units=0x" + "f" * 4000, "the value must be a number of at most 250 digits, got one of 4002"),
        ("layers.1.units=" + "1" * 400, "the value must be a number of at most 250 digits, got one of 400"),
        ("training.rule.options={a: " + "1" * 400 + "}", "a must be a number of at most 250 digits, got one of 400"),
        ("name=+_", f"the value must be {KINDS}, got +_, a number without digits; quote it to make it text"),
        ("layers.1.units=1e999999999", "layers.1.units must be an integer >= 2 and <= 1000000, got .inf"),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_value_no_key_can_hold_is_one_sentence(override: str, sentence: str) -> None:
    assert refusal(override) == sentence


def test_choices_that_are_numbers_are_compared_with_text() -> None:
    sentence = "layers.1.directions must be one of 1, 2, got 'two'"
    assert refusal("layers.1.directions=two", "fsdd-birnn") == sentence
    assert nearest(17, (16, 170)) == "; did you mean '170'?"
    assert nearest("a" * 10_000, ["a" * 9_999]) == ""


@pytest.mark.parametrize("key", ["layers." + "9" * 5000 + ".units", "a" * 5000, "data\n.name"], ids=lambda key: key[:9])
def test_a_key_no_recipe_can_have_is_one_short_line(key: str) -> None:
    with pytest.raises(UsageError, match=r"--set must be key=value, such as layers.1.learn.epochs=3, got ") as caught:
        load_recipe("digits-100", [f"{key}=3"])
    assert len(str(caught.value)) < 150 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("profile", "override", "hint"),
    [
        ("ecram", "device.response.cycle_to_cycle=0.05", "; the unit is missing: 5 % or 0.05 %?"),
        ("ecram", "device.response.cycle_to_cycle='0.3'", "; the unit is missing: 30 % or 0.3 %?"),
        ("ecram", "device.defects.stuck=5", "; the unit is missing, write for example: 5 %"),
        ("ecram", "device.response.write_noise=0.1", "; the unit is missing, write for example: 0.1 w"),
        ("ecram", "device.g_max=25", "; the unit is missing: 25 mS, 25 uS, 25 nS or 25 pS?"),
        ("ecram", "device.endurance=1e6", "; the unit is missing, write for example: 1000000 pulses"),
        ("ecram", "device.g_max=-1", "; the unit is missing"),
        ("ecram", "device.g_max=true", ""),
        ("ecram", "device.g_max=nan", ""),
        ("cortex-m4", "memory.ram=64", "; the unit is missing: 64 KiB or 64 MiB?"),
        ("cortex-m4", "compute.clock=3", "; the unit is missing: 3 MHz or 3 GHz?"),
    ],
)  # fmt: skip
def test_a_figure_without_its_unit_is_asked_about(profile: str, override: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_hardware(profile, [override], "--set")
    sentence, semicolon, rest = str(caught.value).partition(";")
    assert semicolon + rest == hint and ", got " in sentence


def test_a_list_without_end_is_refused_before_all_of_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    resolve = Resolver.resolve
    monkeypatch.setattr(Resolver, "resolve", lambda *given: seen.append(0) or resolve(*given))
    with pytest.raises(UsageError, match=r"^f\.yaml: must hold at most 10000 values"):
        parse_recipe("a: [" + "1," * 60_000 + "]", "f.yaml")
    assert len(seen) < 30_000


PLAIN = "3 -0 0.5 1e-3 1e999 0x1F 0o17 +_ 0b_ 1_0 ._ .inf .nan true ~ '' two none 3uS = << 2001-01-01 2001-99-99"
ODD = ["5 %", "!!float ''", "!!bool z", "!!int -", "!!omap z", "!!set {a}", "!!pairs [1]", "! a", "!x {b: 1}"]
ODD += ["+_", "0x_", "._", "!!binary x", "!!timestamp x", "&a 1", "*a", "? a", "9" * 400]
SCALARS = st.sampled_from([*PLAIN.split(), *ODD])
VALUES = st.recursive(
    SCALARS | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(inner, inner), max_size=2).map(lambda m: "{" + ", ".join(f"{k}: {v}" for k, v in m) + "}")
    ),
    max_leaves=5,
)
KEYS = st.sampled_from([key.dotted for key in keys_of(Recipe)])


@settings(max_examples=30)
@given(KEYS, VALUES)
def test_any_value_of_any_key_loads_or_is_refused_in_one_sentence_a_line(key: str, value: str) -> None:
    try:
        recipe = load_recipe("digits-100", [f"{key}={value}"])
    except UsageError as error:
        assert all(": " in line and len(line) < 700 for line in str(error).splitlines())
    else:
        assert parse_recipe(dump_recipe(recipe), "dumped") == recipe


@given(st.sampled_from(["ecram", "cortex-m4"]), st.data())
def test_any_value_of_any_key_of_a_profile_loads_or_is_refused(name: str, data: st.DataObject) -> None:
    model = type(load_hardware(name))
    key = data.draw(st.sampled_from([key.dotted for key in keys_of(model)]))
    try:
        load_hardware(name, [f"{key}={data.draw(VALUES)}"])
    except UsageError as error:
        assert str(error).startswith("--profile-set ")


ANALOG = "name: small\ndescription: d\nsources: {device: a test}\ndevice:\n  model: soft-bounds\n  g_max: 20 uS\n"
DIGITAL = "name: m\nkind: digital\ndescription: d\npreset: cortex-m4\nsources: {memory: a test}\nmemory: {ram: 8 KiB}\n"


@given(st.sampled_from([ANALOG, DIGITAL]), st.data())
def test_a_profile_with_any_line_replaced_loads_or_is_refused(text: str, data: st.DataObject) -> None:
    lines = text.splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    lines[index] = f"{lines[index].partition(':')[0]}: {data.draw(VALUES)}"
    try:
        parse_hardware("\n".join(lines), "f.yaml")
    except UsageError as error:
        assert str(error).startswith("f.yaml")
