"""All keys of a recipe or profile, from its pydantic schema, for error messages, `--set` and key tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

ANY = "*"
"""Wildcard for the layer number in a dotted key."""

REGISTRY = "registry"
"""Key in the JSON schema of a value whose allowed words are the names in a registry, a key of `REGISTRIES`."""

REGISTRIES: dict[str, Callable[[], Sequence[str]]] = {}
"""Functions that return a registry's names, called at each use, because packages add names at any time."""


@dataclass(frozen=True)
class Key:
    """One key of a document, e.g. `layers.*.learn.epochs`.

    Attributes:
        path: parts of the dotted key; layer numbers are `*`.
        layer_kind: kind of layer that has the key; None outside layers.
        values: allowed values, as a noun phrase; empty if the names in a registry are allowed.
        words: allowed words; empty if the values are not words, or if the names in a registry are allowed.
        nullable: whether null is allowed.
        default: YAML text of the default; None for a required key.
        description: unit, meaning and source.
        registry: key of `REGISTRIES`; empty for none.
    """

    path: tuple[str, ...]
    layer_kind: str | None
    values: str
    words: tuple[str, ...]
    nullable: bool
    default: str | None
    description: str
    registry: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """Words that are allowed now (registries change); empty if the values are not words."""
        return tuple(REGISTRIES[self.registry]()) if self.registry else self.words

    @property
    def allowed(self) -> str:
        """Values that are allowed now, as a noun phrase."""
        values = _one_of(self.choices) if self.registry else self.values
        return values + (" or null" if self.nullable else "")

    @property
    def dotted(self) -> str:
        """Key as a user writes it, with `*` for the layer number."""
        return ".".join(self.path)


@cache
def keys_of(model: type[BaseModel]) -> tuple[Key, ...]:
    """Return all keys of a document in schema order; a key of several layer kinds occurs once per kind."""
    schema = model.model_json_schema()
    return tuple(_keys(schema, schema.get("$defs", {}), (), None))


@cache
def find_key(path: tuple[str, ...], layer_kind: str | None, model: type[BaseModel]) -> Key | None:
    """Return the key at `path` (`*` for the layer number), or None."""
    for key in keys_of(model):
        if key.path == path and key.layer_kind in (None, layer_kind):
            return key
    return None


@cache
def child_names(
    path: tuple[str, ...], layer_kind: str | None, model: type[BaseModel]
) -> tuple[str, ...]:
    """Return the names allowed directly below `path`; empty for a value and for a free mapping."""
    return tuple(
        key.path[-1]
        for key in keys_of(model)
        if key.path[:-1] == path and key.path[-1] != ANY and key.layer_kind in (None, layer_kind)
    )


def _keys(
    node: Mapping[str, Any], definitions: Mapping[str, Any], path: tuple[str, ...], layer_kind: str | None
) -> Iterator[Key]:
    required = node.get("required", ())
    for name, entry in node.get("properties", {}).items():
        inner_path = (*path, name)
        core, nullable = _core(entry, definitions)
        yield Key(
            path=inner_path,
            layer_kind=layer_kind,
            values="" if REGISTRY in core else _allowed(core, definitions),
            words=() if REGISTRY in core else _choices(core),
            nullable=nullable,
            default=None if name in required else _default(entry, core),
            description=entry.get("description", ""),
            registry=core.get(REGISTRY, ""),
        )
        items = core.get("items", {})
        for kind, reference in items.get("discriminator", {}).get("mapping", {}).items():
            yield from _keys(_resolve({"$ref": reference}, definitions), definitions, (*inner_path, ANY), kind)
        yield from _keys(core, definitions, inner_path, layer_kind)


def _resolve(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    return definitions[node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node


def _core(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Return the JSON schema of a value without null, and whether null is allowed."""
    options = [option for option in node.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        return _resolve(options[0], definitions), True
    return _resolve(node, definitions), False


def _choices(node: Mapping[str, Any]) -> tuple[str, ...]:
    return (node["const"],) if "const" in node else tuple(node.get("enum", ()))


def with_unit(value: float, core: Mapping[str, Any]) -> str:
    """Format `value` with the unit of its key's schema `core`, as in a document, e.g. "25 uS"."""
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
        return _one_of(choices)
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


def _one_of(choices: tuple[str, ...]) -> str:
    return str(choices[0]) if len(choices) == 1 else "one of " + ", ".join(map(str, choices))


def _plural(allowed: str) -> str:
    noun = allowed.split(" ", 1)[1]
    return noun.replace("integer", "integers").replace("number", "numbers").replace("line of text", "lines of text")


def _lengths(node: Mapping[str, Any]) -> str:
    if node.get("minItems", 0) == node.get("maxItems"):
        return f", exactly {node['minItems']}"
    least = "at least one" if node.get("minItems") == 1 else ""
    most = f"at most {node['maxItems']}" if "maxItems" in node else ""
    limits = " and ".join(filter(None, (least, most)))
    return f", {limits}" if limits else ""


def _bounds(node: Mapping[str, Any]) -> str:
    words = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
    limits = [f"{sign} {node[word]:.12g}" for word, sign in words if word in node]
    return " " + " and ".join(limits) if limits else ""
