"""Reading the text of a recipe or hardware profile, by shipped name or from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from scff_hw.config.yamltext import show
from scff_hw.errors import RecipeError, nearest

MAX_BYTES = 200_000
"""Largest document that is read, in bytes."""


def read_document(name_or_path: str | Path, noun: str, shipped: Mapping[str, Traversable]) -> tuple[str, str]:
    """Read the text of a shipped document by name, or of a file.

    Args:
        name_or_path: a key of `shipped`, or a path; a text that contains a separator or ends in .yaml is a path.
        noun: kind of document for error messages, e.g. "recipe".

    Returns:
        The text, and the name of the document for error messages.

    Raises:
        RecipeError: the name is unknown, or the file cannot be read, is too large or is not UTF-8.
    """
    name = str(name_or_path)
    if name in shipped:
        return shipped[name].read_text("utf-8"), f"{name}.yaml"
    is_path = isinstance(name_or_path, Path) or os.sep in name or name.endswith((".yaml", ".yml"))
    if not is_path and not Path(name).exists():
        raise RecipeError(
            f"unknown {noun} {show(name)}, allowed: {', '.join(shipped)}, or the path of a YAML file"
            f"{nearest(name, shipped)}"
        )
    try:
        with open(name, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"{name}: a {noun} must be a readable file, but: {reason}") from None
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{name}: a {noun} must have at most {MAX_BYTES} bytes, this file has more")
    try:
        return content.decode("utf-8-sig"), name
    except UnicodeDecodeError as error:
        raise RecipeError(f"{name}: a {noun} must be UTF-8 text, but byte {error.start} is not") from None
