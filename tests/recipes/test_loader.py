"""Errors of the recipe loader and their messages."""

# ruff: noqa: E501 (one case a line, each message whole, so that it is found by searching for it)
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scff_hw.errors import RecipeError
from scff_hw.recipes import dump_recipe, load_recipe, parse_recipe
from scff_hw.recipes.loader import MAX_BYTES

DENSE = """\
name: small
description: a small network
source: a test
data: {name: mnist}
layers:
  - kind: dense
    units: 10
    init: linear
    pairs: made
    learn:
      epochs: 1
      learning_rate: 1e-3
      theta_pos: 4
      theta_neg: 6.0
readout:
  layers: [1]
"""
CONV = """\
name: small
description: a small network
source: a test
data: {name: cifar10}
layers:
  - kind: conv2d
    channels: 4
    kernel: 5
    padding: 2
    init: xavier
    pairs: made
    pool: {kind: max, size: 4, stride: 2, padding: 1}
    readout_pool: {kind: avg, size: 2, stride: 2}
    learn: {epochs: 1, learning_rate: 1, theta_pos: 4, theta_neg: 6}
readout:
  layers: [1]
"""
RECIPE_KEYS = "name, description, source, data, augmentation, training, layers, readout, controls, fixed_point"
DENSE_KEYS = "kind, units, init, pairs, transmit, learn"


def message(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "f.yaml", overrides)
    return str(caught.value)


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


def test_left_out_keys_take_their_defaults_and_an_integer_may_stand_for_a_number() -> None:
    recipe = parse_recipe(DENSE, "f.yaml")
    assert recipe.layers[0].learn.learning_rate == 1e-3
    assert recipe.layers[0].learn.theta_pos == 4.0
    assert recipe.training.rule.name == "scff"
    assert parse_recipe(CONV, "f.yaml").shapes[0].features == (4, 8, 8)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("theta_pos: 4", "theta_pos: .inf", "f.yaml:13: layers.1.learn.theta_pos must be a finite number >= 0 and <= 1000, got .inf"),
        ("theta_pos: 4", "theta_pos: .nan", "f.yaml:13: layers.1.learn.theta_pos must be a finite number >= 0 and <= 1000, got .nan"),
        ("theta_pos: 4", "theta_pos: 1e999", "f.yaml:13: layers.1.learn.theta_pos must be a finite number >= 0 and <= 1000, got .inf"),
        ("epochs: 1", "epochs: true", "f.yaml:11: layers.1.learn.epochs must be an integer >= 0 and <= 100000, got true"),
        ("epochs: 1", "epochs: &x true", "f.yaml:11: layers.1.learn.epochs must be an integer >= 0 and <= 100000, got true"),
        ("epochs: 1", "epochs: 1.0", "f.yaml:11: layers.1.learn.epochs must be an integer >= 0 and <= 100000, got 1.0"),
        ("theta_pos: 4", "theta_pos: false", "f.yaml:13: layers.1.learn.theta_pos must be a finite number >= 0 and <= 1000, got false"),
        ("1e-3", "'1e-3'", "f.yaml:12: layers.1.learn.learning_rate must be a finite number > 0 and <= 100, got '1e-3'; it is text here: write the number without quotes"),
        ("1e-3", "fast", "f.yaml:12: layers.1.learn.learning_rate must be a finite number > 0 and <= 100, got 'fast'"),
        ("units: 10", "units: 1", "f.yaml:7: layers.1.units must be an integer >= 2 and <= 1000000, got 1"),
        ("units: 10", "unitz: 10", f"f.yaml:7: unknown key 'layers.1.unitz', allowed in dense layer: {DENSE_KEYS}; did you mean 'units'?\nf.yaml:6: layers.1.units is missing, it must be an integer >= 2 and <= 1000000"),
        ("units: 10", "units: 10\n    pool: null", f"f.yaml:8: unknown key 'layers.1.pool', allowed in dense layer: {DENSE_KEYS}"),
        ("kind: dense", "kind: dens", "f.yaml:6: layers.1.kind must be one of dense, conv2d, recurrent, got 'dens'; did you mean 'dense'?"),
        ("kind: dense\n    ", "", "f.yaml:6: layers.1.kind is missing, it must be one of dense, conv2d, recurrent"),
        ("init: linear", "init: linaer", "f.yaml:8: layers.1.init must be one of linear, xavier, got 'linaer'; did you mean 'linear'?"),
        ("name: mnist", "name: mnits", "f.yaml:4: data.name must be one of digits, iris, mnist, fashion-mnist, kmnist, cifar10, stl10, fsdd, got 'mnits'; did you mean 'mnist'?"),
        ("source: a test", "soorce: a test", f"f.yaml:3: unknown key 'soorce', allowed in recipe: {RECIPE_KEYS}; did you mean 'source'?\nf.yaml: source is missing, it must be one line of text, at most 1000 characters"),
        ("name: small", "name: Small Net", "f.yaml:1: name must be at most 100 lower-case letters, digits, '.', '_' or '-', got 'Small Net'"),
        ("source: a test", "source: 2024-01-01", "f.yaml:3: source must be a mapping, a list, a number, text, true, false or null, got a date; quote it to make it text"),
        ("source: a test", "source: !x a", "f.yaml:3: source must be a mapping, a list, a number, text, true, false or null, got a value with a tag"),
        ("source: a test", "3: a test", "f.yaml:3: a key must be text, got 3"),
        ("source: a test", "name: again", 'f.yaml:3: must be valid YAML, but found duplicate key "name" with value "again" (original value: "small")'),
        ("    units", "\tunits", "f.yaml:7: must be valid YAML, but found character '\\t' that cannot start any token; indent with spaces, not tabs"),
        ("source: a test", "training: {rule: {options: {a: [1]}}}", "f.yaml:3: training.rule.options must be a mapping of names to true, false, finite numbers or text, got [1] at a\nf.yaml: source is missing, it must be one line of text, at most 1000 characters"),
        ("{name: mnist}", "{name: mnist, mean: [0, x]}", "f.yaml:4: data.mean must be a list of finite numbers >= -10 and <= 10, got 'x' at place 2"),
        ("{name: mnist}", "{name: mnist, mean: [0, 0]}", "f.yaml:4: data.mean must have 1 value for mnist, got 2"),
        ("{name: mnist}", "{name: cifar10, std: [1, 1]}", "f.yaml:4: data.std must have 1 or 3 values for cifar10, got 2"),
        ("{name: mnist}", "{name: mnist, std: [0]}", "f.yaml:4: data.std must be a list of finite numbers >= 1e-06 and <= 10, got 0 at place 1"),
        ("{name: mnist}", "{name: mnist, shrink: 3}", "f.yaml:4: data.shrink must be a divisor of 28 for mnist, got 3"),
        ("{name: mnist}", "{name: iris, shrink: 2}", "f.yaml:4: data.shrink must be 1 for iris, got 2"),
        ("{name: mnist}", "{name: mnist, learn_split: unlabelled}", "f.yaml:4: data.learn_split must be train for mnist, which has no unlabelled split, got 'unlabelled'"),
        ("{name: mnist}", "{name: iris}\naugmentation: {flip: true}", "f.yaml:5: augmentation must be all zero and false for iris, which has no images"),
        ("{name: mnist}", "{name: mnist}\naugmentation: {translate_px: 28}", "f.yaml:5: augmentation.translate_px must be below the image's 28 px, got 28"),
        ("pairs: made", "pairs: passed", "f.yaml:9: layers.1.pairs must be made at the first layer, got 'passed'"),
        ("      theta_pos", "      momentum: 0.9\n      theta_pos", "f.yaml:13: layers.1.learn.momentum must be 0 with adamw, got 0.9"),
        ("layers: [1]", "layers: [1, 2]", "f.yaml:16: readout.layers must name layers from 1 to 1, got 2"),
        ("layers: [1]", "layers: [0]", "f.yaml:16: readout.layers must be a list of integers >= 1 and <= 100, at least one, got 0 at place 1"),
        ("layers: [1]", "layers: [1, 1]", "f.yaml:16: readout.layers must rise without repeats, got [1, 1]"),
        ("layers: [1]", "layers: [1]\ncontrols: {backprop: {epochs: 2, halve_at_percent: [50, 20]}}", "f.yaml:17: controls.backprop.halve_at_percent must rise without repeats, got [50, 20]"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_line(old: str, new: str, sentence: str) -> None:
    assert message(changed(DENSE, old, new)) == sentence


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("padding: 2", "padding: 32", "f.yaml:9: layers.1.padding must be below the input's 32 px (reflect padding), got 32"),
        ("kernel: 5", "kernel: 37", "f.yaml:8: layers.1.kernel must be at most the padded input's 36 px, got 37"),
        ("padding: 1}", "padding: 3}", "f.yaml:12: layers.1.pool.padding must be at most half the pool's size of 4 px, got 3"),
        ("size: 4", "size: 400", "f.yaml:12: layers.1.pool.size must be at most 35 px for an input of 32 px, got 400"),
        ("kind: avg, size: 2", "kind: avg, size: 64", "f.yaml:13: layers.1.readout_pool.size must be at most 17 px for an input of 16 px, got 64"),
        ("kind: avg, ", "", "f.yaml:13: layers.1.readout_pool.kind is missing, it must be one of max, avg"),
        ("name: cifar10", "name: iris", "f.yaml:6: layers.1.kind must be dense on a flat input of 4 values, got 'conv2d'"),
    ],
)  # fmt: skip
def test_layers_that_do_not_chain_are_named(old: str, new: str, sentence: str) -> None:
    assert message(changed(CONV, old, new)) == sentence


def test_a_convolution_after_a_dense_layer_is_refused() -> None:
    layer = CONV[CONV.index("  - kind") : CONV.index("readout:\n")]
    text = changed(DENSE, "readout:\n", layer + "readout:\n")
    assert (
        message(text) == "f.yaml:15: layers.2.kind must be dense on a flat input of 10 values, got 'conv2d'"
    )


def test_several_problems_come_one_a_line_in_the_order_of_the_file() -> None:
    text = changed(changed(DENSE, "theta_neg: 6.0", "theta_neg: -1"), "units: 10", "units: few")
    assert message(text).splitlines() == [
        "f.yaml:7: layers.1.units must be an integer >= 2 and <= 1000000, got 'few'",
        "f.yaml:14: layers.1.learn.theta_neg must be a finite number >= 0 and <= 1000, got -1",
    ]


def test_layers_that_are_not_layers_are_named() -> None:
    assert message(changed(DENSE, "layers:\n", "layers: [1, null]\nx:\n")).splitlines()[:2] == [
        "f.yaml:5: layers.1 must be a mapping, got 1",
        "f.yaml:5: layers.2 must be a mapping, got null",
    ]
    assert "f.yaml:5: layers must be a list of layers, at least one and at most 100, got []" in message(
        changed(DENSE, "layers:\n", "layers: []\nx:\n")
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "f.yaml: a recipe must be a mapping with name, data, layers, ...; the text is empty"),
        ("# nothing\n", "f.yaml: a recipe must be a mapping with name, data, layers, ...; the text is empty"),
        ("- 1", "f.yaml: a recipe must be a mapping with name, data, layers, ..., got [1]"),
        ("text", "f.yaml: a recipe must be a mapping with name, data, layers, ..., got 'text'"),
        ("%YAML 1.1\n---\na: 1e-3", "f.yaml:1: the YAML version must be 1.2, got '%YAML 1.1'"),
        ("a: 1\n---\nb: 1", "f.yaml:2: must be valid YAML, but found another document"),
        ("a: \x00", "f.yaml: must be YAML text, but unacceptable character #x0000: special characters are not allowed"),
        ("[" * 1000, "f.yaml: must be nested less deeply"),
        ("a: " + "1" * 5000, "f.yaml:1: a must be a number of at most 250 digits, got one of 5000"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_recipe_is_one_sentence(text: str, sentence: str) -> None:
    assert message(text) == sentence


def test_aliases_that_would_fill_the_memory_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    assert (
        message("\n".join(lines))
        == "f.yaml: must hold at most 10000 values, aliases expanded, 100 levels deep"
    )


def test_anchors_and_merges_work_and_keep_their_place() -> None:
    text = changed(DENSE, "    learn:\n", "    learn: &learn\n")
    second = "  - {kind: dense, units: 5, init: linear, pairs: passed, learn: {<<: *learn, epochs: 3}}\n"
    recipe = parse_recipe(changed(text, "readout:\n", second + "readout:\n"), "f.yaml")
    assert recipe.layers[1].learn == recipe.layers[0].learn.model_copy(update={"epochs": 3})
    broken = changed(second, "epochs: 3", "epochs: -3")
    assert message(changed(text, "readout:\n", broken + "readout:\n")).startswith(
        "f.yaml:15: layers.2.learn.epochs"
    )


def test_an_unknown_name_lists_the_recipes_and_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("mnits-mlp")
    assert str(caught.value) == (
        "unknown recipe 'mnits-mlp', allowed: cifar10-cnn, cifar10-cnn-parallel, digits-100, digits-20, digits-mlp, "
        "fsdd-birnn, fsdd-birnn-best, iris-mlp, mnist-128, mnist-500, mnist-cnn, mnist-mlp, stl10-cnn, or the path of a YAML file; "
        "did you mean 'mnist-mlp'?"
    )


def test_a_path_works_as_well_as_a_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "\ufeff" + dump_recipe(load_recipe("iris-mlp")).replace("\n", "\r\n"), "utf-8", newline=""
    )
    assert load_recipe(path) == load_recipe(str(path)) == load_recipe("iris-mlp")


def test_a_file_without_a_suffix_works_and_does_not_hide_a_packaged_recipe(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text(DENSE, "utf-8")
    Path("iris-mlp").write_text("junk", "utf-8")
    assert load_recipe("mine").name == "small"
    assert load_recipe("iris-mlp").name == "iris-mlp"


def test_files_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(RecipeError) as caught:
            load_recipe(path)
        return str(caught.value).removeprefix(str(path))

    binary, large = tmp_path / "binary.yaml", tmp_path / "large.yaml"
    binary.write_bytes(b"\x7fELF\xff\xfe")
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    assert refused(binary) == ": a recipe must be UTF-8 text, but byte 4 is not"
    assert refused(large) == ": a recipe must have at most 200000 bytes, this file has more"
    assert refused(tmp_path) == ": a recipe must be a readable file, but: Is a directory"
    assert (
        refused(tmp_path / "no.yaml") == ": a recipe must be a readable file, but: No such file or directory"
    )
    assert refused(tmp_path / "a\0b") == ": a recipe must be a readable file, but: embedded null byte"


@settings(deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab:-#&*!|>%@`'\"{}[],?<\t\n .~01e\x00é"), max_size=40)
    | st.text(max_size=40)
)
def test_any_text_is_refused_with_a_recipe_error_alone(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(text, "f.yaml")


@settings(deadline=None)
@given(st.data())
def test_a_recipe_with_any_scalar_replaced_loads_or_is_refused_with_a_recipe_error_alone(data) -> None:
    lines = DENSE.splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    value = data.draw(
        st.sampled_from(["~", "3", "-1", "[]", "{}", "x", ".inf", "true", "[1, {a: b}]", "{a: 1}", "''"])
    )
    lines[index] = lines[index].split(":")[0] + ": " + value
    try:
        parse_recipe("\n".join(lines), "f.yaml")
    except RecipeError as error:
        assert "f.yaml" in str(error)
