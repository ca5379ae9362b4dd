"""A data set of another package: listed, checked, and used in training by a recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scff_hw.cli import main
from scff_hw.data import DATASETS, NAMES, Info, fetch, info, load, verify
from scff_hw.errors import DataError, RecipeError, UsageError
from scff_hw.recipes import load_recipe
from scff_hw.registry import PluginError

Install = Callable[..., Path]

SOURCE = """
import torch
from scff_hw.data import Dataset, Info, Split

def part(count, seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    angle = torch.rand(count, generator=draw) * 6.2832
    radius = 1 + labels + 0.1 * torch.randn(count, generator=draw)
    return Split(torch.stack([radius * angle.cos(), radius * angle.sin(), radius], dim=1), labels)

def load(root):
    return Dataset("rings", ("inner", "middle", "outer"), part(90, 0), part(30, 1))

RINGS = Info("rings", "points on 3 rings", "CC0", "the package shop", input_shape=(3,), classes=3, load=load)
WIDE = Info("wide", "points", "CC0", "the package shop", input_shape=(4,), classes=3, load=load)
REMOTE = Info("remote", "points", "CC0", "the package shop", 10, input_shape=(3,), classes=3, load=load)
BARE = Info("bare", "points", "CC0", "the package shop")
"""
POINTS = {"rings": "RINGS", "wide": "WIDE", "remote": "REMOTE", "bare": "BARE", "gone": "GONE", "odd": "load"}
SHORT = ["layers.1.learn.epochs=2", "controls.backprop.epochs=2"]


def test_a_recipe_names_it_and_a_run_learns_from_it(install: Install, tmp_path: Path) -> None:
    install(SOURCE, datasets=POINTS)
    changes = [part for change in ("data.name=rings", *SHORT) for part in ("--set", change)]
    assert main(["train", "iris-mlp", *changes, "--out", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"]["test_accuracy"] > 0.5
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    recipe = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert (recipe.data.input_shape, recipe.data.classes, recipe.data.has_sequences) == ((3,), 3, False)


def test_it_is_listed_with_the_others(install: Install, capfd: pytest.CaptureFixture[str]) -> None:
    install(SOURCE, datasets={"rings": "RINGS"})
    assert main(["data", "list", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capfd.readouterr().out)["data"]}
    assert list(listed) == [*NAMES, "rings"]
    assert listed["rings"]["present"] and listed["rings"]["licence"] == "CC0"
    assert main(["data", "verify", "rings"]) == 0
    assert "comes with its package" in capfd.readouterr().err
    assert load("rings").digest == load("rings").digest != load("iris").digest
    assert verify("rings") == []


def test_what_is_no_such_data_set_is_refused(install: Install, tmp_path: Path) -> None:
    install(SOURCE, datasets=POINTS)
    with pytest.raises(DataError, match=r"wide must have samples of 4 in 3 classes, as its entry .*Got samples of 3"):
        load("wide")
    with pytest.raises(UsageError, match=r"The data set 'bare' must have an input_shape, classes and load\."):
        info("bare")
    with pytest.raises(UsageError, match=r"A data set must be a scff_hw\.data\.Info\. Got <function load"):
        info("odd")
    with pytest.raises(PluginError, match=r"The data set 'gone' of the package shop cannot be loaded from shop:GONE"):
        load_recipe("iris-mlp", ["data.name=gone"])
    with pytest.raises(UsageError, match=r"The data set remote is fetched by the package that brings it"):
        fetch("remote", tmp_path)
    with pytest.raises(UsageError, match=r"no data set 'ring'; .*fsdd, bare.*did you mean 'rings'\?"):
        info("ring")
    with pytest.raises(RecipeError, match=r"data\.name must be one of digits, .*got 'mnits'; did you mean 'mnist'"):
        load_recipe("iris-mlp", ["data.name=mnits"])
    with pytest.raises(RecipeError, match=r"data\.name must be one of digits, iris, .*got 3"):
        load_recipe("iris-mlp", ["data.name=3"])


def test_messages_name_the_data_sets_there_are_now(install: Install) -> None:
    with pytest.raises(RecipeError, match=r"stl10, fsdd, got 'rigns'"):
        load_recipe("iris-mlp", ["data.name=rigns"])
    install(SOURCE, datasets={"rings": "RINGS"})
    with pytest.raises(RecipeError, match=r"fsdd, rings, got 'rigns'; did you mean 'rings'"):
        load_recipe("iris-mlp", ["data.name=rigns"])


def test_a_data_set_can_be_registered_in_this_process(install: Install) -> None:
    install(SOURCE)

    def made(root: Path) -> Any:
        raise DataError("nothing was made")

    DATASETS.register(Info("made", "samples", "CC0", "this test", input_shape=(2,), classes=2, load=made))
    assert load_recipe("iris-mlp", ["data.name=made", "readout.layers=[1]"]).data.input_shape == (2,)
    with pytest.raises(UsageError, match="Data set 'made' is already registered"):
        DATASETS.register(Info("made", "others", "CC0", "this test", input_shape=(2,), classes=2, load=made))


def test_files_are_fetched_to_where_they_are_read() -> None:
    from scff_hw.data.fetching import SOURCES

    assert {name: source.folder for name, source in SOURCES.items()} == {name: info(name).folder for name in SOURCES}
