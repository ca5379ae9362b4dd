"""Every key a recipe or another document can hold, read off its pydantic schema: for errors, `--set`, key tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

ANY = "*"
"""Stands for every layer number in a dotted key."""


@dataclass(frozen=True)
class Key:
    """One key: `layers.*.learn.epochs`.

    Attributes:
        path: the key's parts; layer numbers are `*`.
        layer_kind: the kind of layer it belongs to, or None outside layers.
        allowed: what the value may be, as a noun phrase.
        choices: the allowed words, where there are only some.
        default: YAML text of the default, or None where the key must be given.
        description: unit, meaning and source.
    """

    path: tuple[str, ...]
    layer_kind: str | None
    allowed: str
    choices: tuple[str, ...]
    default: str | None
    description: str

    @property
    def dotted(self) -> str:
        """The key as a user writes it, with `*` for a layer's number."""
        return ".".join(self.path)


@cache
def keys_of(model: type[BaseModel]) -> tuple[Key, ...]:
    """Every key of a document, in the order of the schema; a key of several layer kinds occurs once a kind."""
    schema = model.model_json_schema()
    return tuple(_walk(schema, schema.get("$defs", {}), (), None))


@cache
def find_key(path: tuple[str, ...], layer_kind: str | None, model: type[BaseModel]) -> Key | None:
    """The key at `path` (`*` for a layer's number), or None."""
    for key in keys_of(model):
        if key.path == path and key.layer_kind in (None, layer_kind):
            return key
    return None


@cache
def child_names(
    path: tuple[str, ...], layer_kind: str | None, model: type[BaseModel]
) -> tuple[str, ...]:
    """Names allowed directly below `path`: empty for a value and for a free mapping."""
    return tuple(
        key.path[-1]
        for key in keys_of(model)
        if key.path[:-1] == path and key.path[-1] != ANY and key.layer_kind in (None, layer_kind)
    )


def _walk(
    node: Mapping[str, Any], definitions: Mapping[str, Any], path: tuple[str, ...], layer_kind: str | None
) -> Iterator[Key]:
    required = node.get("required", ())
    for name, entry in node.get("properties", {}).items():
        here = (*path, name)
        core, nullable = _core(entry, definitions)
        yield Key(
            path=here,
            layer_kind=layer_kind,
            allowed=_allowed(core, definitions) + (" or null" if nullable else ""),
            choices=_choices(core),
            default=None if name in required else _default(entry, core),
            description=entry.get("description", ""),
        )
        items = core.get("items", {})
        for kind, reference in items.get("discriminator", {}).get("mapping", {}).items():
            yield from _walk(_resolve({"$ref": reference}, definitions), definitions, (*here, ANY), kind)
        yield from _walk(core, definitions, here, layer_kind)


def _resolve(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    return definitions[node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node


def _core(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The schema of a value that is not null, and whether null is allowed too."""
    options = [option for option in node.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        return _resolve(options[0], definitions), True
    return _resolve(node, definitions), False


def _choices(node: Mapping[str, Any]) -> tuple[str, ...]:
    return (node["const"],) if "const" in node else tuple(node.get("enum", ()))


def with_unit(value: float, core: Mapping[str, Any]) -> str:
    """A figure as a document writes it, from the number that Python keeps and the schema of its key."""
    return f"{value / core['unit']['size']:.12g} {core['unit']['name']}"


def _default(entry: Mapping[str, Any], core: Mapping[str, Any]) -> str:
    value = entry.get("default", {})
    if "unit" in core and isinstance(value, float):
        return with_unit(value, core)
    if isinstance(value, dict):
        return "the defaults below"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _allowed(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "allowed" in node:
        return node["allowed"]
    if choices := _choices(node):
        return str(choices[0]) if len(choices) == 1 else "one of " + ", ".join(map(str, choices))
    match node.get("type"):
        case "boolean":
            return "true or false"
        case "integer":
            return "an integer" + _bounds(node)
        case "number":
            return "a finite number" + _bounds(node)
        case "array":
            items = _resolve(node["items"], definitions)
            kind = "layers" if "discriminator" in items else _plural(_allowed(items, definitions))
            return f"a list of {kind}{_lengths(node)}"
        case "object":
            return "a mapping"
    return "text"


def _plural(allowed: str) -> str:
    noun = allowed.split(" ", 1)[1]
    return noun.replace("integer", "integers").replace("number", "numbers")


def _lengths(node: Mapping[str, Any]) -> str:
    least = "at least one" if node.get("minItems") == 1 else ""
    most = f"at most {node['maxItems']}" if "maxItems" in node else ""
    found = " and ".join(filter(None, (least, most)))
    return f", {found}" if found else ""


def _bounds(node: Mapping[str, Any]) -> str:
    words = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
    found = [f"{sign} {node[word]:.12g}" for word, sign in words if word in node]
    return " " + " and ".join(found) if found else ""
