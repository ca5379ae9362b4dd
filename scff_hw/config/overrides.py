"""`--set key=value`: change of any key of a recipe, before validation."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from scff_hw.config.keys import ANY, child_names, keys_of
from scff_hw.config.problems import as_pattern, layer_kind, unknown_key
from scff_hw.config.yamltext import KeyPath, parse_yaml, show
from scff_hw.errors import LONGEST_NAME, RecipeError, nearest

_FREE_MAPPINGS = (("training", "rule", "options"), ("sources",))


def apply_overrides(
    data: dict[str, Any],
    locations: dict[KeyPath, str],
    overrides: Iterable[str],
    *,
    model: type[BaseModel],
    option: str = "--set",
    example: str = "layers.1.learn.epochs=3",
) -> None:
    """Apply `key=value` texts in order to `data`, the plain values of a document, in place.

    Keys are dotted: `training.batch_size`, `layers.2.learn.epochs` (layers count from 1), or `layers.*.learn.epochs`
    for every layer. Values are YAML: `3`, `1e-3`, `true`, `null`, `[1, 2]`, `{epochs: 2}`.
    `model` defines the allowed keys. `locations` is updated, so that later errors name the option.

    Raises:
        RecipeError: no `=`, an unknown key (the message has the nearest key), or a value that is not YAML.
    """
    for text in overrides:
        dotted, equals, value_text = text.partition("=")
        path = tuple(dotted.strip().split("."))
        if not equals or not all(path) or not dotted.isprintable() or len(dotted) > LONGEST_NAME:
            raise RecipeError(f"{option} must be key=value, such as {example}, got {show(text)}")
        location = f"{option} {'.'.join(path)}"
        value, _ = parse_yaml(value_text, location, numbered=False)
        for concrete in _expand(data, path, location):
            _check_key(data, concrete, location, model)
            _put(data, locations, concrete, deepcopy(value), location)


def _expand(data: dict[str, Any], path: KeyPath, location: str) -> list[KeyPath]:
    """Return one path per layer that `path` selects; `[path]` outside layers."""
    if path[0] != "layers" or len(path) == 1:
        return [path]
    layers = data.get("layers")
    if not isinstance(layers, list) or not layers:
        raise RecipeError(f"{location}: layers must be a list of layers, got {show(layers)}")
    if path[1] == ANY:
        return [("layers", str(number), *path[2:]) for number in range(1, len(layers) + 1)]
    number = path[1].lstrip("0")
    if number not in map(str, range(1, len(layers) + 1)):
        raise RecipeError(f"{location}: a layer must be * or a number from 1 to {len(layers)}, got '{path[1]}'")
    return [("layers", number, *path[2:])]


def _check_key(data: dict[str, Any], path: KeyPath, location: str, model: type[BaseModel]) -> None:
    """Raise RecipeError for a key that is not in the schema; validation reports a layer of unknown kind."""
    kind = layer_kind(data, path)
    if kind is None and path[0] == "layers":
        return
    for length in range(1, len(path) + 1):
        prefix = path[:length]
        if prefix[:-1] == ("layers",) or prefix[:-1] in _FREE_MAPPINGS:
            continue
        if prefix[-1] not in child_names(as_pattern(prefix[:-1]), kind, model):
            sentence = unknown_key(prefix, kind, model)
            if "did you mean" not in sentence:
                sentence += nearest(".".join(as_pattern(path)), [key.dotted for key in keys_of(model)])
            raise RecipeError(f"{location}: {sentence}")


def _put(data: dict[str, Any], locations: dict[KeyPath, str], path: KeyPath, value: Any, location: str) -> None:
    """Store `value` at `path` and its `location`; create parent mappings that are null or missing."""
    node: Any = data
    for depth, part in enumerate(path[:-1], start=1):
        inner = node[int(part) - 1] if isinstance(node, list) else node.get(part)
        if inner is None and isinstance(node, dict):
            inner = node[part] = {}
            locations[path[:depth]] = location
        if not isinstance(inner, dict | list):
            raise RecipeError(f"{location}: {'.'.join(path[:depth])} must be a mapping, got {show(inner)}")
        node = inner
    for known in [known for known in locations if known[: len(path)] == path]:
        del locations[known]
    locations[path] = location
    if isinstance(node, list):
        node[int(path[-1]) - 1] = value
    else:
        node[path[-1]] = value
