"""Recipes on own data: a starting recipe, and the path, sample shape and class names read from the data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scff_hw.config.overrides import apply_overrides
from scff_hw.config.yamltext import KeyPath
from scff_hw.data.own import kind_of
from scff_hw.recipes.data_section import CATALOGUE, DataRecipe
from scff_hw.recipes.schema import Recipe


def resolve_own_data(data: dict[str, Any], known: Mapping[KeyPath, str], source: str, option: str) -> None:
    """Read own data once, and add path, `shape` and `class_names` to `data`; do nothing for a catalogue data set.

    A relative path is relative to the recipe's file, or to the current folder if `option` set it. A section that does
    not validate stays unchanged; the validation of the whole recipe reports it.

    Args:
        data: plain values of the recipe, changed in place.
        known: locations of the keys, for error messages.
        source: file of the recipe.
        option: option of overrides, e.g. "--set".

    Raises:
        DataError: the data cannot be used.
    """
    section = data.get("data")
    if not isinstance(section, dict) or section.get("kind", CATALOGUE) == CATALOGUE:
        return
    path = section.get("path")
    if isinstance(path, str):
        given = known.get(("data", "path"), "").startswith(option)
        section["path"] = str((Path() if given else Path(source).parent).joinpath(Path(path).expanduser()).absolute())
    if section.get("shape") is not None and section.get("class_names") is not None:
        return
    try:
        own = DataRecipe.model_validate(section).own
    except ValidationError:
        return
    assert own is not None
    from scff_hw.data.own import read_own

    parts = read_own(own)
    section |= {"shape": list(parts.shape), "class_names": list(parts.classes)}


def starting_recipe(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Return the plain values of a recipe to start from, for the data at `path`: one dense layer and plain SGD.

    Args:
        overrides: `key=value` texts; see `apply_overrides`.

    Raises:
        DataError: `path` does not exist, or is not of a known kind.
        RecipeError: an override cannot be applied.
    """
    learn = {"epochs": 20, "optimiser": "sgd", "learning_rate": 0.3, "theta_pos": 1.0, "theta_neg": 2.0}
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._") or "own"
    values = {
        "name": name,
        "description": f"{path.name}, one dense layer of 100 units and plain SGD",
        "source": "written by scff-hw data describe",
        "data": {"kind": kind_of(path), "name": name, "path": str(path.absolute())},
        "layers": [{"kind": "dense", "units": 100, "init": "linear", "pairs": "made", "learn": learn}],
        "readout": {"layers": [1]},
    }
    apply_overrides(values, {}, overrides, model=Recipe)
    return values
