"""YAML text to plain Python values, and the line every value came from.

ruamel.yaml's round-trip loader keeps line numbers and refuses duplicate keys. YAML 1.2, where `1e-3` is a
number and `yes` is text. Tags, endless aliases and anything beyond mappings, lists and scalars are refused.
"""

from __future__ import annotations

import datetime
import warnings
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.scalarbool import ScalarBoolean

from scff_hw.errors import RecipeError

KeyPath = tuple[str, ...]
"""Parts of a dotted key; places in a list are counted from 1."""

MAX_VALUES = 10_000
"""Values one document may hold, aliases expanded: far above any recipe, and a bound on memory."""


def parse_yaml(text: str, source: str, *, numbered: bool = True) -> tuple[Any, dict[KeyPath, str]]:
    """Parse one YAML document.

    Args:
        text: the document.
        source: what to call it in errors, such as a file's name.
        numbered: whether errors in the syntax name the line as well.

    Returns:
        The value, of dict, list, str, int, float, bool and None; and `source:line` of all below the root.

    Raises:
        RecipeError: not YAML 1.2, a duplicate key, or a kind of value recipes do not use.
    """
    if text.startswith("%YAML") and not text.startswith("%YAML 1.2"):
        raise RecipeError(f"{source}:1: the YAML version must be 1.2, got {show(text.splitlines()[0])}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", YAMLWarning)
            root = YAML(typ="rt").load(text)
    except (YAMLError, YAMLWarning, ValueError, RecursionError) as error:
        raise RecipeError(_syntax_sentence(error, text, source, numbered)) from None
    places: dict[KeyPath, str] = {}
    return _plain(root, (), places, source), places


def show(value: Any) -> str:
    """A value as an error shows it: YAML's words, shortened."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        shown = f"[{', '.join(show(item) for item in value)}]"
    elif isinstance(value, float) and (value != value or abs(value) == float("inf")):
        shown = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    else:
        shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


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
    place = f"{source}:{line}" if numbered else source
    return f"{place}: must be valid YAML, but {problem}{hint}"


def _plain(node: Any, path: KeyPath, places: dict[KeyPath, str], source: str) -> Any:
    if len(places) > MAX_VALUES or len(path) > 100:
        raise RecipeError(
            f"{source}: must hold at most {MAX_VALUES} values, aliases expanded, 100 levels deep"
        )
    if isinstance(node, CommentedMap):
        result: dict[str, Any] = {}
        for key, value in node.items():
            here = (*path, str(key))
            line = _line(node, key)
            places[here] = f"{source}:{line}" if line else places.get(path, source)
            if not isinstance(key, str):
                raise RecipeError(f"{places[here]}: a key must be text, got {show(key)}")
            result[str(key)] = _plain(value, here, places, source)
        return result
    if isinstance(node, CommentedSeq):
        items: list[Any] = []
        for index, value in enumerate(node):
            here = (*path, str(index + 1))
            line = _line(node, index)
            places[here] = f"{source}:{line}" if line else places.get(path, source)
            items.append(_plain(value, here, places, source))
        return items
    if isinstance(node, ScalarBoolean):
        return bool(node)
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    if node is None:
        return None
    found = "a date; quote it to make it text" if isinstance(node, datetime.date) else "a value with a tag"
    raise RecipeError(
        f"{places.get(path, source)}: {'.'.join(path) or 'the value'} must be a mapping, a list, a number, "
        f"text, true, false or null, got {found}"
    )


def _line(node: CommentedMap | CommentedSeq, key: Any) -> int | None:
    """Line of an entry, counted from 1, or None for one that a merge brought in."""
    position = (node.lc.data or {}).get(key)
    return position[0] + 1 if position else None
