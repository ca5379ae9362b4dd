"""`--set key=value`."""

# ruff: noqa: E501 (one case a line, each message whole, so that it is found by searching for it)
from __future__ import annotations

import pytest

from scff_hw.errors import RecipeError
from scff_hw.recipes import Conv2dRecipe, load_recipe

CHILDREN = "name, description, source, data, augmentation, training, layers, readout, controls, fixed_point"


def message(name: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, overrides)
    return str(caught.value)


def test_any_key_can_be_set() -> None:
    recipe = load_recipe(
        "mnist-mlp",
        [
            "layers.2.learn.epochs=3",
            "training.batch_size=50",
            "readout.solver=paper",
            "readout.dropout=1e-1",
            "training.rule.options.sharpness=2",
            "training.rule.name=scff",
            " controls.backprop = null",
            "readout.layers=[2]",
            "description='a=b'",
            "data.mean=[0.5]",
        ],
    )
    assert [layer.learn.epochs for layer in recipe.layers] == [6, 3]
    assert recipe.training.batch_size == 50
    assert recipe.readout.dropout == 0.1
    assert recipe.training.rule.options == {"sharpness": 2}
    assert recipe.controls.backprop is None
    assert recipe.readout.layers == (2,)
    assert recipe.description == "a=b"
    assert recipe.data.mean == (0.5,)


def test_a_star_stands_for_every_layer_and_later_options_win() -> None:
    recipe = load_recipe("cifar10-cnn", ["layers.*.learn.epochs=1", "layers.3.learn.epochs=2"])
    assert [layer.learn.epochs for layer in recipe.layers] == [1, 1, 2]
    recipe = load_recipe(
        "cifar10-cnn", ["layers.*.pool={kind: avg, size: 2, stride: 2}", "layers.2.pool.kind=max"]
    )
    assert [layer.pool.kind for layer in recipe.layers if layer.pool] == ["avg", "max", "avg"]


def test_a_whole_layer_or_a_missing_group_can_be_set() -> None:
    learn = "{epochs: 1, learning_rate: 1, theta_pos: 1, theta_neg: 1}"
    layer = f"{{kind: conv2d, channels: 4, kernel: 3, init: xavier, pairs: made, learn: {learn}}}"
    recipe = load_recipe(
        "mnist-mlp", [f"layers=[{layer}]", "readout.layers=[1]", "layers.1.pool.kind=max", "layers.1.pool.size=2",
                      "layers.1.pool.stride=2", "readout.augmentation.flip=true"]
    )  # fmt: skip
    assert isinstance(recipe.layers[0], Conv2dRecipe)
    assert recipe.shapes[0].output == (4, 13, 13)
    assert recipe.readout.augmentation.flip


def test_the_kind_of_a_layer_can_be_set() -> None:
    message("mnist-mlp", "layers.1.kind=dens")
    recipe = load_recipe("mnist-mlp", ["layers.1.kind=dens", "layers.1.units=4", "layers.1.kind=dense"])
    assert recipe.shapes[0].output == (4,)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("layers.2.learn.epochs=-1", "--set layers.2.learn.epochs: layers.2.learn.epochs must be an integer >= 0 and <= 100000, got -1"),
        ("layers.2.learn.theta_pos=.inf", "--set layers.2.learn.theta_pos: layers.2.learn.theta_pos must be a finite number >= 0 and <= 1000, got .inf"),
        ("layers.2.learn.momentum=0.9", "--set layers.2.learn.momentum: layers.2.learn.momentum must be 0 with adamw, got 0.9"),
        ("training.batchsize=3", "--set training.batchsize: unknown key 'training.batchsize', allowed in training: batch_size, schedule, update_positions, dtype, device, rule, checkpoint_every_batches; did you mean 'batch_size'?"),
        ("trainig.batch_size=3", f"--set trainig.batch_size: unknown key 'trainig', allowed in recipe: {CHILDREN}; did you mean 'training'?"),
        ("learning_rate=3", f"--set learning_rate: unknown key 'learning_rate', allowed in recipe: {CHILDREN}; did you mean 'readout.learning_rate'?"),
        ("layers.2.lern.epochs=3", "--set layers.2.lern.epochs: unknown key 'layers.2.lern', allowed in dense layer: kind, units, init, pairs, transmit, learn; did you mean 'learn'?"),
        ("training.batch_size.x=3", "--set training.batch_size.x: unknown key 'training.batch_size.x', training.batch_size holds one value, without keys below it; did you mean 'training.batch_size'?"),
        ("data.mean.1=3", "--set data.mean.1: unknown key 'data.mean.1', data.mean holds one value, without keys below it; did you mean 'data.mean'?"),
        ("layers.0.units=3", "--set layers.0.units: a layer must be * or a number from 1 to 2, got '0'"),
        ("layers.9.units=3", "--set layers.9.units: a layer must be * or a number from 1 to 2, got '9'"),
        ("layers.x=3", "--set layers.x: a layer must be * or a number from 1 to 2, got 'x'"),
        ("layers.1=3", "--set layers.1: layers.1 must be a mapping, got 3"),
        ("layers.*=null", "--set layers.*: layers.1 must be a mapping, got null\n--set layers.*: layers.2 must be a mapping, got null"),
        ("data=", "--set data: data must be a mapping, got null"),
        ("data.name=cifar", "--set data.name: data.name must be one of digits, iris, mnist, fashion-mnist, kmnist, cifar10, stl10, fsdd, got 'cifar'; did you mean 'cifar10'?"),
        ("training.batch_size", "--set must be key=value, such as layers.1.learn.epochs=3, got 'training.batch_size'"),
        ("=3", "--set must be key=value, such as layers.1.learn.epochs=3, got '=3'"),
        ("training..rule=3", "--set must be key=value, such as layers.1.learn.epochs=3, got 'training..rule=3'"),
        ("training.batch_size={", "--set training.batch_size: must be valid YAML, but expected the node content, but found '<stream end>'"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(override: str, sentence: str) -> None:
    assert message("mnist-mlp", override) == sentence


def test_a_value_below_something_that_is_no_mapping_is_refused() -> None:
    assert message("mnist-mlp", "training=3", "training.batch_size=3") == (
        "--set training.batch_size: training must be a mapping, got 3"
    )
    assert message("mnist-mlp", "layers=3", "layers.1.units=3") == (
        "--set layers.1.units: layers must be a list of layers, got 3"
    )


def test_a_group_made_by_an_option_that_stays_incomplete_names_the_option() -> None:
    assert message("mnist-mlp", "controls.backprop=null", "controls.backprop.learning_rate=1e-3") == (
        "--set controls.backprop.learning_rate: controls.backprop.epochs is missing, it must be an integer >= 1 "
        "and <= 100000"
    )
