"""Text from outside in generated files: one function per language, and templates that apply it by themselves.

A description, the name of a run's folder or of a class may hold anything. Each function here returns text that its
language takes for text alone. Characters that are invisible, or that reorder the line, are written as `<U+202E>`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of controls, format characters (bidirectional ones too), surrogates and line breaks."""


class Code(str):
    """Text that is in the language of its file already, which a template prints as it is."""

    __slots__ = ()


def visible(text: str, allowed: str = "") -> str:
    """One line of text a reader can see; characters `allowed`, e.g. line breaks, stay."""
    return "".join(
        f"<U+{ord(letter):04X}>" if unicodedata.category(letter) in INVISIBLE and letter not in allowed else letter
        for letter in text
    )


def c_comment(text: str) -> Code:
    """For a block comment of C, which it neither ends nor opens; no trigraph, no line joined to the next."""
    text = visible(text).replace("*/", "* /").replace("/*", "/ *")
    text = re.sub(r"\?(?=\?)", "? ", text)
    text = re.sub(r"([*/])$", r"\1 ", re.sub("^/", " /", text))
    return Code(text.removesuffix("\\") + "<U+005C>" if text.endswith("\\") else text)


def c_string(text: str) -> Code:
    """A string of C, with its quotes: UTF-8 in ASCII."""
    plain = {ord(letter): chr(ord(letter)) for letter in map(chr, range(0x20, 0x7F)) if letter not in '"\\?'}
    escaped = {ord(letter): f"\\{letter}" for letter in '"\\?'}
    known = plain | escaped
    return Code('"' + "".join(known.get(byte, f"\\{byte:03o}") for byte in visible(text).encode()) + '"')


def c(text: str) -> Code:
    """Anywhere in C: in a comment, or between the quotes of a string."""
    return Code(c_comment(text).replace("\\", "<U+005C>").replace('"', "<U+0022>"))


def linker(text: str) -> Code:
    """Anywhere in a linker script, whose strings have no escapes."""
    return c(text)


def make(text: str) -> Code:
    """For a comment or the value of a variable of Make."""
    return Code(visible(text).replace("\\", "<U+005C>").replace("$", "$$").replace("#", r"\#"))


def cmake(text: str) -> Code:
    """For a comment or a quoted argument of CMake."""
    return Code(re.sub(r'([\\"$])', r"\\\1", visible(text)))


def markdown(text: str) -> Code:
    """For text of Markdown: no mark-up, no HTML, and no block where it begins a line."""
    text = visible(text).strip()
    text = re.sub(r"([\\`*\[\]<>&|~$!])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", lambda found: f"\\{found[0]}", text)
    return Code(re.sub(r"^(\d*)([#+=.)-])", lambda found: f"{found[1]}\\{found[2]}", text))


def markdown_code(text: str) -> Code:
    """A code span of Markdown, with its backticks; `|` is escaped as tables want it."""
    text = visible(text).strip().replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text or not text else ""
    return Code(f"{fence}{space}{text}{space}{fence}")


def html(text: str) -> Markup:
    """For the text or a quoted attribute of HTML; line breaks and tabs stay."""
    return text if isinstance(text, Markup) else Markup.escape(visible(text, "\n\t"))


def spice(text: str) -> Code:
    """For a comment or the title of a SPICE netlist, in ASCII."""
    return Code("".join(letter if letter.isascii() else f"<U+{ord(letter):04X}>" for letter in visible(text)))


LANGUAGES: dict[str, Callable[[str], Code]] = {
    ".c": c,
    ".h": c,
    ".ld": linker,
    ".md": markdown,
    "CMakeLists.txt": cmake,
    "Makefile": make,
}
"""What a template applies to the texts that it prints, by the name or the end of the name of what it makes."""


def template(folder: Path, name: str) -> Template:
    """The template of the file `name`: what it prints is escaped for its language, and a name it lacks is an error.

    Numbers and `Code` are printed as they are. Filters: `comment` and `string` of C, `code` of Markdown.
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
