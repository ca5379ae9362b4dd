"""Parser of YAML text into plain Python values, with the line of every value.

ruamel.yaml's round-trip loader keeps line numbers and rejects duplicate keys. The text is YAML 1.2: `1e-3` is a
number and `yes` is text. Tags, endless aliases and anything except mappings, lists and scalars are rejected.
"""

from __future__ import annotations

import re
import warnings
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.scalarbool import ScalarBoolean

from scff_hw.errors import RecipeError

KeyPath = tuple[str, ...]
"""Parts of a dotted key; list entries are numbered from 1."""

MAX_VALUES = 10_000
"""Largest number of values in a document, with aliases expanded, to limit the memory; far above any recipe."""

MAX_DIGITS = 250
"""Largest number of characters of an integer, in any base; every such integer is in the range of a float."""

TOO_MANY = f"must hold at most {MAX_VALUES} values, aliases expanded, 100 levels deep"
KINDS = "a mapping, a list, a number, text, true, false or null"
_TAG = "tag:yaml.org,2002:"


_NO_DIGITS = re.compile(r"^[+-]?(?:0[xob])?[._]*$")
"""Matches text that is a number by YAML's rules but has no digits, e.g. `+_` and `0x_`."""


class _Refused(Exception):
    """An unsupported value or key, as sentence and line number; 0 for the whole document."""

    def __init__(self, sentence: str, line: int = 0) -> None:
        super().__init__(sentence)
        self.line = line


class _Composer(Composer):
    """Composer that rejects more nodes than MAX_VALUES keys and values have, so that parsing takes seconds at most."""

    nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nodes += 1
        if self.nodes > 2 * MAX_VALUES + 1:
            raise _Refused(TOO_MANY)
        return super().compose_node(parent, index)


class _Constructor(RoundTripConstructor):
    """Constructor that first checks tags, keys and integers.

    ruamel.yaml does not check these: `!!float ''` or `{[[1]]}` would raise an IndexError or a TypeError.
    """

    def construct_document(self, node: Node) -> Any:
        _check(node, (), self.resolver, set())
        return super().construct_document(node)


def parse_yaml(text: str, source: str, *, numbered: bool = True) -> tuple[Any, dict[KeyPath, str]]:
    """Parse one YAML document.

    Args:
        text: the document.
        source: name of the document in error messages, such as a file name.
        numbered: whether syntax errors name the line.

    Returns:
        The value, built of dict, list, str, int, float, bool and None; and `source:line` per key path below the root.

    Raises:
        RecipeError: not YAML 1.2, a duplicate key, or an unsupported type of value.
    """
    if text.startswith("%YAML") and not text.startswith("%YAML 1.2"):
        raise RecipeError(f"{source}:1: the YAML version must be 1.2, got {show(text.splitlines()[0])}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", YAMLWarning)
            reader = YAML(typ="rt")
            reader.Composer, reader.Constructor = _Composer, _Constructor
            root = reader.load(text)
    except _Refused as refused:
        raise RecipeError(f"{f'{source}:{refused.line}' if numbered and refused.line else source}: {refused}") from None
    except (YAMLError, YAMLWarning, ValueError, RecursionError) as error:
        raise RecipeError(_syntax_sentence(error, text, source, numbered)) from None
    locations: dict[KeyPath, str] = {}
    return _plain(root, (), locations, source), locations


def show(value: Any) -> str:
    """Format a value as YAML text for error messages, shortened to 60 characters."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        text = f"[{', '.join(show(item) for item in value)}]"
    elif isinstance(value, float) and (value != value or abs(value) == float("inf")):
        text = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    else:
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _syntax_sentence(error: Exception, text: str, source: str, numbered: bool) -> str:
    if isinstance(error, RecursionError):
        return f"{source}: must be nested less deeply"
    if not isinstance(error, MarkedYAMLError):
        return f"{source}: must be YAML text, but {str(error).strip().splitlines()[0]}"
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = str(error.problem or error.context).strip().splitlines()[0].removeprefix("but ")
    lines = text.splitlines()
    tabbed = (
        line <= len(lines) and "\t" in lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]
    )
    hint = "; indent with spaces, not tabs" if tabbed else ""
    location = f"{source}:{line}" if numbered else source
    return f"{location}: must be valid YAML, but {problem}{hint}"


def _plain(node: Any, path: KeyPath, locations: dict[KeyPath, str], source: str) -> Any:
    if len(locations) > MAX_VALUES or len(path) > 100:
        raise RecipeError(f"{source}: {TOO_MANY}")
    if isinstance(node, CommentedMap):
        result: dict[str, Any] = {}
        for key, value in node.items():
            inner_path = (*path, str(key))
            line = _line(node, key)
            locations[inner_path] = f"{source}:{line}" if line else locations.get(path, source)
            result[str(key)] = _plain(value, inner_path, locations, source)
        return result
    if isinstance(node, CommentedSeq):
        items: list[Any] = []
        for index, value in enumerate(node):
            inner_path = (*path, str(index + 1))
            line = _line(node, index)
            locations[inner_path] = f"{source}:{line}" if line else locations.get(path, source)
            items.append(_plain(value, inner_path, locations, source))
        return items
    if isinstance(node, ScalarBoolean):
        return bool(node)
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    assert node is None, f"a checked document gave {type(node).__name__}"
    return None


def _check(node: Node, path: KeyPath, resolver: Any, known: set[int]) -> None:
    """Raise _Refused for tags, dates, keys that are not text and endless integers; `known`: ids of visited nodes."""
    if id(node) in known:
        return  # an alias
    known.add(id(node))
    name, tag = ".".join(path) or "the value", str(node.ctag).removeprefix(_TAG)
    scalar = isinstance(node, ScalarNode)
    quoted = scalar and node.style is not None
    implied = resolver.resolve(type(node), node.value if scalar else None, (not quoted, quoted))
    if tag == "timestamp":
        _refuse(f"{name} must be {KINDS}, got a date; quote it to make it text", node)
    if node.ctag != implied or tag not in ("map", "seq", "str", "int", "float", "bool", "null"):
        _refuse(f"{name} must be {KINDS}, got a value with a tag", node)
    if scalar:
        if tag == "int" and len(node.value) > MAX_DIGITS:
            _refuse(f"{name} must be a number of at most {MAX_DIGITS} digits, got one of {len(node.value)}", node)
        if tag in ("int", "float") and _NO_DIGITS.match(node.value):
            no_digits = f"got {node.value}, a number without digits; quote it to make it text"
            _refuse(f"{name} must be {KINDS}, {no_digits}", node)
        return
    if not isinstance(node, MappingNode):
        for index, item in enumerate(node.value, start=1):
            _check(item, (*path, str(index)), resolver, known)
        return
    for key, value in node.value:
        merge = str(key.ctag) == f"{_TAG}merge"
        if not merge:
            if not isinstance(key, ScalarNode) or str(key.ctag) != f"{_TAG}str":
                kind = "a mapping" if isinstance(key, MappingNode) else "a list"
                key_text = (key.value[:57] or "null") if isinstance(key, ScalarNode) else kind
                _refuse(f"a key must be text, got {key_text}", key)
            _check(key, path, resolver, known)
        _check(value, path if merge else (*path, key.value), resolver, known)


def _refuse(sentence: str, node: Node) -> NoReturn:
    raise _Refused(sentence, node.start_mark.line + 1)


def _line(node: CommentedMap | CommentedSeq, key: Any) -> int | None:
    """Return the line of entry `key`, counted from 1; None for an entry of a merge."""
    position = (node.lc.data or {}).get(key)
    return position[0] + 1 if position else None
