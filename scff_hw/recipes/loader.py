"""Reading and writing of recipes as YAML."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from scff_hw.config.document import MAX_BYTES, read_document
from scff_hw.config.overrides import apply_overrides
from scff_hw.config.problems import describe_problems
from scff_hw.config.yamltext import KeyPath, parse_yaml, show
from scff_hw.errors import RecipeError
from scff_hw.recipes.own_data import resolve_own_data
from scff_hw.recipes.schema import PAPER_READOUT_KEYS, Recipe

__all__ = ["MAX_BYTES", "dump_recipe", "dump_yaml", "list_recipes", "load_recipe", "parse_recipe", "recipe_names"]


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Load and validate a recipe.

    Args:
        name_or_path: name of a packaged recipe (see `list_recipes`), or path of a YAML file.
        overrides: `key=value` texts applied in order before validation; see `apply_overrides`.

    Raises:
        RecipeError: unknown name, file that cannot be read or is not YAML, or values that do not validate. The
            message has one line per problem: `file:line`, key, allowed values, value found, nearest match.
    """
    text, source = _read(name_or_path)
    return parse_recipe(text, source, overrides)


def parse_recipe(text: str, source: str, overrides: Iterable[str] = (), option: str = "--set") -> Recipe:
    """Validate a recipe from YAML text, as `load_recipe`.

    `source` and `option` are the names of the text and of `overrides` in error messages.
    """
    data, locations = parse_yaml(text, source)
    if data is None:
        raise RecipeError(
            f"{source}: a recipe must be a mapping with name, data, layers, ...; the text is empty"
        )
    if not isinstance(data, dict):
        raise RecipeError(
            f"{source}: a recipe must be a mapping with name, data, layers, ..., got {show(data)}"
        )
    known: dict[KeyPath, str] = {(): source, **locations}
    overrides = tuple(overrides)
    apply_overrides(data, known, overrides, model=Recipe, option=option)
    resolve_own_data(data, known, source, option)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(describe_problems(error, data, known, Recipe)) from None
    _check_used(recipe, overrides, option)
    return recipe


def _check_used(recipe: Recipe, overrides: Iterable[str], option: str) -> None:
    """Raise RecipeError if an override changes a key of the paper's readout, which the recipe does not use."""
    if recipe.readout.solver == "paper" or recipe.controls.paper_readout:
        return
    for change in overrides:
        section, _, key = change.partition("=")[0].strip().partition(".")
        if section == "readout" and key in PAPER_READOUT_KEYS:
            raise RecipeError(
                f"{option} {change}: readout.{key} must come with readout.solver paper, the only one that uses it. Got "
                f"{recipe.readout.solver} instead; type also: {option} readout.solver=paper"
            )


@cache
def recipe_names() -> tuple[str, ...]:
    """Return the names of the packaged recipes, sorted."""
    folder = files("scff_hw.recipes")
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def list_recipes() -> dict[str, str]:
    """Return the descriptions of the packaged recipes by name, sorted by name."""
    return {name: load_recipe(name).description for name in recipe_names()}


def dump_recipe(recipe: Recipe) -> str:
    """Format a recipe as YAML text with every key; loading the text gives an equal recipe."""
    return dump_yaml(recipe.model_dump(mode="json"))


def dump_yaml(value: dict[str, Any]) -> str:
    """Format plain values as YAML text, with short mappings on one line."""
    yaml = YAML(typ="rt")
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_styled(value), stream)
    return stream.getvalue()


_BREAKS = frozenset("\x85\u2028\u2029")
"""Unicode line breaks. Readers turn them into spaces unless they are escaped in double quotes. In a one-line mapping,
text that starts with a colon or question mark also needs quotes, which ruamel.yaml does not write."""


def _styled(value: Any) -> Any:
    """Return `value` with short mappings and lists of scalars marked for one line."""
    if isinstance(value, str):
        misread = not _BREAKS.isdisjoint(value) or value.startswith((":", "?"))
        return DoubleQuotedScalarString(value) if misread else value
    if not isinstance(value, dict | list):
        return value
    styled = (
        CommentedMap((_styled(key), _styled(inner)) for key, inner in value.items())
        if isinstance(value, dict)
        else CommentedSeq(_styled(inner) for inner in value)
    )
    inner_values = list(value.values()) if isinstance(value, dict) else value
    short = isinstance(value, list) or len(value) <= 5
    if short and not any(isinstance(inner, dict | list) and inner for inner in inner_values):
        styled.fa.set_flow_style()
    return styled


def _read(name_or_path: str | Path) -> tuple[str, str]:
    """Return the text of a recipe, and its name for error messages."""
    folder = files("scff_hw.recipes")
    return read_document(name_or_path, "recipe", {name: folder / f"{name}.yaml" for name in recipe_names()})
