"""Escaping of user text in generated files: one function per language, applied by the templates.

A description or the name of a run folder or class may contain any character. Each function returns text that its
language reads as plain text. Invisible characters and those that reorder a line are written as `<U+202E>`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories: controls, format characters (also bidirectional), surrogates, line breaks."""


class Code(str):
    """Text already escaped for the language of its file; templates print it unchanged."""

    __slots__ = ()


def visible(text: str, allowed: str = "") -> str:
    """Return `text` with invisible characters escaped, except those in `allowed`, e.g. line breaks."""
    return "".join(
        f"<U+{ord(letter):04X}>" if unicodedata.category(letter) in INVISIBLE and letter not in allowed else letter
        for letter in text
    )


def c_comment(text: str) -> Code:
    """Escape `text` for a C block comment: it cannot end or open a comment, form a trigraph or join lines."""
    text = visible(text).replace("*/", "* /").replace("/*", "/ *")
    text = re.sub(r"\?(?=\?)", "? ", text)
    text = re.sub(r"([*/])$", r"\1 ", re.sub("^/", " /", text))
    return Code(text.removesuffix("\\") + "<U+005C>" if text.endswith("\\") else text)


def c_string(text: str) -> Code:
    """Return `text` as a C string literal with its quotes; UTF-8 bytes beyond ASCII are octal escapes."""
    plain = {ord(letter): chr(ord(letter)) for letter in map(chr, range(0x20, 0x7F)) if letter not in '"\\?'}
    escaped = {ord(letter): f"\\{letter}" for letter in '"\\?'}
    known = plain | escaped
    return Code('"' + "".join(known.get(byte, f"\\{byte:03o}") for byte in visible(text).encode()) + '"')


def c(text: str) -> Code:
    """Escape `text` for use both in a C comment and inside a C string literal."""
    return Code(c_comment(text).replace("\\", "<U+005C>").replace('"', "<U+0022>"))


def linker(text: str) -> Code:
    """Escape `text` for any place in a linker script, whose strings have no escapes."""
    return c(text)


def make(text: str) -> Code:
    """Escape `text` for a Make comment or variable value."""
    return Code(visible(text).replace("\\", "<U+005C>").replace("$", "$$").replace("#", r"\#"))


def cmake(text: str) -> Code:
    """Escape `text` for a CMake comment or quoted argument."""
    return Code(re.sub(r'([\\"$])', r"\\\1", visible(text)))


def markdown(text: str) -> Code:
    """Escape `text` for Markdown: no mark-up, no HTML, and no block at the start of a line."""
    text = visible(text).strip()
    text = re.sub(r"([\\`*\[\]<>&|~$!])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", lambda match: f"\\{match[0]}", text)
    return Code(re.sub(r"^(\d*)([#+=.)-])", lambda match: f"{match[1]}\\{match[2]}", text))


def markdown_code(text: str) -> Code:
    """Return `text` as a Markdown code span with its backticks; `|` is escaped, as tables require."""
    text = visible(text).strip().replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text or not text else ""
    return Code(f"{fence}{space}{text}{space}{fence}")


def html(text: str) -> Markup:
    """Escape `text` for HTML or a quoted attribute; line breaks, tabs and `Markup` are unchanged."""
    return text if isinstance(text, Markup) else Markup.escape(visible(text, "\n\t"))


def spice(text: str) -> Code:
    """Escape `text` for the title or a comment of a SPICE netlist, in ASCII."""
    return Code("".join(letter if letter.isascii() else f"<U+{ord(letter):04X}>" for letter in visible(text)))


LANGUAGES: dict[str, Callable[[str], Code]] = {
    ".c": c,
    ".h": c,
    ".ld": linker,
    ".md": markdown,
    "CMakeLists.txt": cmake,
    "Makefile": make,
}
"""Escaping function per generated file, keyed by file name or suffix."""


@lru_cache(maxsize=64)
def template(folder: Path, name: str) -> Template:
    """Return the template `{name}.jinja` in `folder`, compiled once per process.

    Strings are escaped for the language of the file `name`; an undefined name is an error.

    Numbers and `Code` are printed unchanged. Filters: `comment` and `string` of C, `code` of Markdown.
    """
    escape = LANGUAGES[name if name in LANGUAGES else Path(name).suffix]

    def finish(value: Any) -> Any:
        return escape(value) if isinstance(value, str) and not isinstance(value, Code) else value

    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        finalize=finish,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"comment": c_comment, "string": c_string, "code": markdown_code}
    return environment.get_template(f"{name}.jinja")
