"""Recipes from YAML files, and back."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from scff_hw.errors import RecipeError, nearest
from scff_hw.recipes.overrides import apply_overrides
from scff_hw.recipes.problems import describe_problems
from scff_hw.recipes.schema import Recipe
from scff_hw.recipes.yamltext import KeyPath, parse_yaml, show

MAX_BYTES = 200_000
"""Largest recipe file read, in bytes."""


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe and validate it.

    Args:
        name_or_path: a packaged recipe's name (see `list_recipes`), or the path of a YAML file.
        overrides: `key=value` texts applied in order before validation; see `apply_overrides`.

    Raises:
        RecipeError: an unknown name, a file that cannot be read or is not YAML, values that do not validate.
            One sentence a problem, one a line: `file:line`, key, what is allowed, value found, nearest match.
    """
    text, source = _read(name_or_path)
    return parse_recipe(text, source, overrides)


def parse_recipe(text: str, source: str, overrides: Iterable[str] = ()) -> Recipe:
    """Validate a recipe from YAML text; `source` is what errors call it. Otherwise as `load_recipe`."""
    data, places = parse_yaml(text, source)
    if data is None:
        raise RecipeError(
            f"{source}: a recipe must be a mapping with name, data, layers, ...; the text is empty"
        )
    if not isinstance(data, dict):
        raise RecipeError(
            f"{source}: a recipe must be a mapping with name, data, layers, ..., got {show(data)}"
        )
    known: dict[KeyPath, str] = {(): source, **places}
    apply_overrides(data, known, overrides)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(describe_problems(error, data, known)) from None


@cache
def recipe_names() -> tuple[str, ...]:
    """Names of the packaged recipes, sorted."""
    folder = files("scff_hw.recipes")
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def list_recipes() -> dict[str, str]:
    """The packaged recipes: description by name, sorted by name."""
    return {name: load_recipe(name).description for name in recipe_names()}


def dump_recipe(recipe: Recipe) -> str:
    """A recipe as YAML text, every key written out, that loads back to an equal recipe."""
    yaml = YAML(typ="rt")
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_styled(recipe.model_dump(mode="json")), stream)
    return stream.getvalue()


def _styled(value: Any) -> Any:
    """The same value, with short mappings and lists of scalars to be written on one line."""
    if not isinstance(value, dict | list):
        return value
    styled = (
        CommentedMap((key, _styled(inner)) for key, inner in value.items())
        if isinstance(value, dict)
        else CommentedSeq(_styled(inner) for inner in value)
    )
    inner_values = list(value.values()) if isinstance(value, dict) else value
    short = isinstance(value, list) or len(value) <= 5
    if short and not any(isinstance(inner, dict | list) and inner for inner in inner_values):
        styled.fa.set_flow_style()
    return styled


def _read(name_or_path: str | Path) -> tuple[str, str]:
    """The text of a recipe, and what to call it in errors."""
    name = str(name_or_path)
    if name in recipe_names():
        return (files("scff_hw.recipes") / f"{name}.yaml").read_text("utf-8"), f"{name}.yaml"
    given_as_path = isinstance(name_or_path, Path) or os.sep in name or name.endswith((".yaml", ".yml"))
    if not given_as_path and not Path(name).exists():
        names = recipe_names()
        raise RecipeError(
            f"unknown recipe {show(name)}, allowed: {', '.join(names)}, or the path of a YAML file"
            f"{nearest(name, names)}"
        )
    try:
        with open(name, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"{name}: a recipe must be a readable file, but: {reason}") from None
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{name}: a recipe must have at most {MAX_BYTES} bytes, this file has more")
    try:
        return content.decode("utf-8-sig"), name
    except UnicodeDecodeError as error:
        raise RecipeError(f"{name}: a recipe must be UTF-8 text, but byte {error.start} is not") from None
