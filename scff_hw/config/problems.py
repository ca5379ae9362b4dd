"""Conversion of a pydantic validation error to sentences: location, key, value, allowed values, nearest match."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scff_hw.config.keys import ANY, Key, child_names, find_key
from scff_hw.config.yamltext import KeyPath, show
from scff_hw.errors import nearest

LAYER_KINDS = ("dense", "conv2d", "recurrent")


def describe_problems(
    error: ValidationError,
    data: Mapping[str, Any],
    locations: Mapping[KeyPath, str],
    model: type[BaseModel],
) -> str:
    """Describe each problem of a validation error in one line: wrong values in file order, then missing keys.

    Args:
        error: validation error of `data`.
        data: plain values that were validated.
        locations: `file:line` or command-line option of every value.
        model: model that validated `data`.
    """
    order: dict[str, tuple[bool, int]] = {}
    items = error.errors(include_url=False)
    for item in items:
        if item["type"] == "too_short" and any(_is_below(other["loc"], item["loc"]) for other in items):
            continue  # pydantic counts valid entries only; invalid entries have their own sentence
        path = _path(item["loc"])
        if item["type"].startswith("union_tag_"):
            path = (*path, "kind")
        if item["type"] == "cross_field":
            context = item.get("ctx", {})
            path = (*path, *context["key"].split("."))
            sentence = f"{'.'.join(path)} {context['sentence']}"
        else:
            sentence = _sentence(item, path, layer_kind(data, path), model)
        location = find_location(locations, path)
        order.setdefault(f"{location}: {sentence}", (item["type"] == "missing", _line(location)))
    return "\n".join(sorted(order, key=lambda sentence: order[sentence]))


def unknown_key(path: KeyPath, kind: str | None, model: type[BaseModel]) -> str:
    """Describe an unknown key in one sentence; `path` has layer numbers, not `*`."""
    parent = path[:-1]
    allowed = child_names(as_pattern(parent), kind, model)
    dotted = ".".join(path)
    if not allowed:
        return f"unknown key '{dotted}', {'.'.join(parent)} holds one value, without keys below it"
    owner = f"{kind} layer" if kind and len(parent) == 2 else ".".join(parent) or model.__name__.lower()
    return f"unknown key '{dotted}', allowed in {owner}: {', '.join(allowed)}{nearest(path[-1], allowed)}"


def as_pattern(path: KeyPath) -> KeyPath:
    """Return `path` with `*` in place of the layer number."""
    return (path[0], ANY, *path[2:]) if len(path) > 1 and path[0] == "layers" else path


def layer_kind(data: Mapping[str, Any], path: KeyPath) -> str | None:
    """Return the kind of the layer that contains `path`; None outside layers and for an unknown kind."""
    layers = data.get("layers")
    if path[:1] != ("layers",) or len(path) < 2 or not isinstance(layers, list):
        return None
    layer = layers[int(path[1]) - 1]
    kind = layer.get("kind") if isinstance(layer, dict) else None
    return kind if kind in LAYER_KINDS else None


def find_location(locations: Mapping[KeyPath, str], path: KeyPath) -> str:
    """Return the location of `path`, or of the nearest enclosing value."""
    while path and path not in locations:
        path = path[:-1]
    return locations[path]


def _path(loc: tuple[int | str, ...]) -> KeyPath:
    """Convert pydantic's location to a key path, without a layer's union tag and the types of a free value."""
    parts = [str(part + 1) if isinstance(part, int) else part for part in loc]
    if parts[:1] == ["layers"] and len(parts) > 2 and parts[2] in LAYER_KINDS:
        del parts[2]
    if parts[:3] == ["training", "rule", "options"]:
        del parts[4:]
    return tuple(parts)


def _is_below(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _line(location: str) -> int:
    match = re.search(r":(\d+)$", location)
    return int(match[1]) if match else 0


def _sentence(item: ErrorDetails, path: KeyPath, kind: str | None, model: type[BaseModel]) -> str:
    problem, value = item["type"], item["input"]
    if problem == "extra_forbidden":
        return unknown_key(path, kind, model)
    if problem == "union_tag_not_found":
        return f"{'.'.join(path)} is missing, it must be one of {', '.join(LAYER_KINDS)}"
    if problem == "union_tag_invalid":
        kind_name = value["kind"]
        hint = nearest(kind_name, LAYER_KINDS)
        return f"{'.'.join(path)} must be one of {', '.join(LAYER_KINDS)}, got {show(kind_name)}{hint}"
    key, rest = _enclosing_key(path, kind, model)
    if key is None:
        return f"{'.'.join(path) or f'the {model.__name__.lower()}'} must be a mapping, got {show(value)}"
    dotted = ".".join(path[: len(path) - len(rest)])
    if problem == "missing":
        return f"{dotted} is missing, it must be {key.allowed}"
    where = f" at {'place ' if rest[0].isdecimal() else ''}{'.'.join(rest)}" if rest else ""
    hint = item.get("ctx", {}).get("hint")
    return f"{dotted} must be {key.allowed}, got {show(value)}{where}{_hint(key, value) if hint is None else hint}"


def _enclosing_key(path: KeyPath, kind: str | None, model: type[BaseModel]) -> tuple[Key | None, KeyPath]:
    """Return the key at `path` or its nearest ancestor, and the parts of `path` below that key."""
    if len(path) == 2 and path[0] == "layers":
        return None, ()
    for length in range(len(path), 0, -1):
        if key := find_key(as_pattern(path[:length]), kind, model):
            return key, path[length:]
    return None, ()


def _hint(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        return ""
    if key.choices:
        return nearest(value, key.choices)
    if " number" in key.allowed or "integer" in key.allowed:
        try:
            float(value)
        except ValueError:
            return ""
        return "; it is text here: write the number without quotes"
    return ""
