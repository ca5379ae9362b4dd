"""The packaged recipes have the published values, and the page of keys is up to date."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from scff_hw.config.keys import keys_of
from scff_hw.recipes import (
    Conv2dRecipe,
    DenseRecipe,
    Recipe,
    dump_recipe,
    list_recipes,
    load_recipe,
    parse_recipe,
    recipe_names,
)
from scff_hw.recipes.key_page import main, recipe_page

EXPECTED = (
    "cifar10-cnn",
    "cifar10-cnn-parallel",
    "digits-100",
    "digits-20",
    "digits-mlp",
    "fsdd-birnn",
    "fsdd-birnn-best",
    "iris-mlp",
    "mnist-128",
    "mnist-500",
    "mnist-cnn",
    "mnist-mlp",
    "stl10-cnn",
)


def column(name: str, key: str) -> list[float]:
    return [getattr(layer.learn, key) for layer in load_recipe(name).layers]


def test_the_packaged_recipes_are_these() -> None:
    assert recipe_names() == EXPECTED
    listed = list_recipes()
    assert tuple(listed) == EXPECTED
    assert all(description == load_recipe(name).description for name, description in listed.items())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_packaged_recipe_is_complete_and_survives_a_dump(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.controls.untrained and recipe.controls.backprop is not None
    assert parse_recipe(dump_recipe(recipe), "dumped") == recipe


@pytest.mark.parametrize("name", EXPECTED)
def test_every_group_of_values_names_its_source(name: str) -> None:
    text = (files("scff_hw.recipes") / f"{name}.yaml").read_text("utf-8")
    groups = re.findall(r"(#[^\n]*\n)?^(data|training|layers|readout|controls):", text, re.MULTILINE)
    assert [group for _, group in groups] == ["data", "training", "layers", "readout", "controls"]
    assert all(comment for comment, _ in groups)


@pytest.mark.parametrize("name", ["cifar10-cnn", "cifar10-cnn-parallel"])
def test_cifar10_shapes_are_those_of_table_d1(name: str) -> None:
    recipe = load_recipe(name)
    assert [s.hidden for s in recipe.shapes] == [(96, 32, 32), (384, 16, 16), (1536, 8, 8)]
    assert [s.output for s in recipe.shapes] == [(96, 16, 16), (384, 8, 8), (1536, 4, 4)]
    assert [s.features for s in recipe.shapes] == [(96, 8, 8), (384, 4, 4), (1536, 2, 2)]
    assert recipe.readout_features == 18_432
    assert [getattr(layer, "transmit", None) for layer in recipe.layers] == ["triangle", "triangle", "relu"]
    assert [layer.pairs for layer in recipe.layers] == ["made", "passed", "made"]
    assert recipe.augmentation.flip and recipe.readout.augmentation.flip


def test_cifar10_learning_is_that_of_the_published_code() -> None:
    name = "cifar10-cnn"
    assert column(name, "epochs") == [6, 4, 21]
    assert column(name, "learning_rate") == [0.01, 0.002, 0.0002]
    assert column(name, "decay_factor") == [0.7, 0.8, 1.0]
    assert column(name, "decay_period_batches") == [1000, 100, 500]
    assert column(name, "theta_pos") == [0, 5, 6]
    assert column(name, "theta_neg") == [1, 9, 10]
    assert column(name, "penalty") == [0.0012, 0.0007, 0.0005]
    assert column(name, "weight_decay") == [1e-4, 1e-4, 3e-4]
    assert load_recipe(name).training.schedule == "sequential"


def test_parallel_cifar10_learning_is_that_of_the_later_published_code() -> None:
    name = "cifar10-cnn-parallel"
    assert column(name, "epochs") == [6, 6, 13]
    assert column(name, "learning_rate") == [0.02, 0.001, 0.0004]
    assert column(name, "decay_factor") == [0.99, 0.9, 0.99]
    assert column(name, "decay_period_batches") == [500, 500, 500]
    assert column(name, "theta_pos") == [1, 4, 5]
    assert column(name, "theta_neg") == [2, 5, 7]
    assert column(name, "penalty") == [8e-4, 4e-4, 1.6e-3]
    assert column(name, "weight_decay") == [1e-4, 3e-4, 1e-4]
    assert load_recipe(name).training.schedule == "simultaneous"


def test_stl10_is_that_of_the_published_code() -> None:
    name = "stl10-cnn"
    recipe = load_recipe(name)
    assert column(name, "epochs") == [4, 5, 12, 12]
    assert column(name, "learning_rate") == [0.026, 0.003, 0.001, 8e-5]
    assert column(name, "decay_factor") == [0.99, 0.8, 1.0, 1.0]
    assert column(name, "decay_period_batches") == [1000, 200, 500, 500]
    assert column(name, "theta_pos") == [0, 5, 6, 5]
    assert column(name, "theta_neg") == [2, 8, 8, 10]
    assert column(name, "penalty") == [0, 0.0015, 0.005, 0.008]
    assert column(name, "weight_decay") == [1e-3, 3e-4, 0, 1e-3]
    assert [layer.pairs for layer in recipe.layers] == ["made", "passed", "passed", "made"]
    assert [getattr(layer, "transmit", None) for layer in recipe.layers] == ["triangle", "triangle", "relu", "triangle"]
    assert [s.output[1:] for s in recipe.shapes] == [(48, 48), (24, 24), (12, 12), (6, 6)]
    assert [s.features[1:] for s in recipe.shapes] == [(12, 12), (6, 6), (3, 3), (2, 2)]
    assert recipe.readout.layers == (3, 4) and recipe.readout.epochs == 100 and recipe.readout.dropout == 0.6
    assert recipe.data.learn_split == "unlabelled"
    assert recipe.augmentation.crop_padding_px == 4 and recipe.augmentation.flip


def test_mnist_mlp_has_the_papers_layers_and_first_thresholds() -> None:
    recipe = load_recipe("mnist-mlp")
    assert [s.output for s in recipe.shapes] == [(2000,), (2000,)]
    first = recipe.layers[0].learn
    assert (first.learning_rate, first.theta_pos, first.theta_neg, first.penalty) == (3e-3, 4, 6, 1e-4)
    assert recipe.augmentation.two_views
    assert recipe.readout.halve_at_percent == (20, 35, 50, 60, 70, 80, 90)
    assert recipe.readout_features == 4000


def test_convolutions_and_their_pools_are_in_ceil_mode() -> None:
    for name in EXPECTED:
        for layer in load_recipe(name).layers:
            if isinstance(layer, Conv2dRecipe):
                assert layer.init == "xavier"
                assert layer.pool is not None and layer.pool.ceil
                assert layer.readout_pool is not None and layer.readout_pool.ceil
            elif isinstance(layer, DenseRecipe):
                assert layer.init == "linear"
                assert layer.pool is None and layer.readout_pool is None


def test_the_page_of_keys_is_up_to_date(tmp_path, monkeypatch) -> None:
    shipped = (files("scff_hw.recipes") / "README.md").read_text("utf-8")
    remedy = "run: python -m scff_hw.recipes.key_page scff_hw/recipes/README.md"
    assert shipped == recipe_page(), remedy
    monkeypatch.setattr("sys.argv", ["reference", str(tmp_path / "README.md")])
    main()
    assert (tmp_path / "README.md").read_text("utf-8") == shipped
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_every_key_is_described_and_every_number_has_a_range() -> None:
    for key in keys_of(Recipe):
        assert key.description, key.dotted
        if "integer" in key.allowed or (" number" in key.allowed and key.path[-1] != "options"):
            assert "<" in key.allowed and ">" in key.allowed, key.dotted
        if key.path[-1].endswith("_px") or key.path[-1] in ("kernel", "padding", "size", "stride"):
            assert key.description.startswith("px;"), key.dotted
