"""Texts from outside in generated files: they stay text, whatever they hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scff_hw import escaping
from scff_hw.export.c.model import export_c
from scff_hw.export.c.text import file_name
from scff_hw.export.crossbar.model import export_crossbar
from scff_hw.hardware import load_profile
from scff_hw.paths import export
from scff_hw.recipes import load_recipe
from scff_hw.report._page import environment
from scff_hw.training.run_folder import RunFolder

HOSTILE = [
    "x */ int evil(void){return 42;} /* y",
    "a trigraph ??/",
    "ends with a backslash \\",
    "*/",
    "/",
    "*",
    "\\",
    "???/??/",
    'quoted " text \\" %s %n',
    "\u202ereversed\u2066",
    "two\nlines\r\n#error\n",
    "$(shell touch made) $$ # x",
    "<script>alert(1)</script> &amp; <b>bold</b>",
    "`code` **bold** _it_ [link](http://x) ![i](j) | cell | \\* ~~s~~",
    "# heading",
    "- list",
    "1. list",
    "``` fence",
    "\udcff lone surrogate, zw\u00f6lf, \u6570\u5b57, \x00",
]
WARNINGS = ["-std=c99", "-trigraphs", "-Wall", "-Wextra", "-Wbidi-chars=any", "-Werror"]


def test_c_compiles_to_nothing_but_its_strings(tmp_path: Path, tool: Any, call: Any) -> None:
    """All in one file: comments change nothing, and strings are printed as the bytes of the visible text."""
    parts = ["#include <stdio.h>\n"]
    for number, text in enumerate(HOSTILE):
        parts.append(f"/*\n * name - {escaping.c_comment(text)}\n */\n/*{escaping.c_comment(text)}*/\n")
        parts.append(f"/* {escaping.c(text)} */\nstatic const char *const bare{number} = \"{escaping.c(text)}\";\n")
        parts.append(f"static const char *const text{number} = {escaping.c_string(text)};\n")
    prints = "".join(f"    puts(text{n}); puts(bare{n});\n" for n in range(len(HOSTILE)))
    (tmp_path / "texts.c").write_text("".join(parts) + f"int main(void)\n{{\n{prints}    return 0;\n}}\n", "utf-8")
    call(tool("gcc"), *WARNINGS, "texts.c", "-o", "texts", cwd=tmp_path)
    symbols = call(tool("nm"), "texts", cwd=tmp_path)
    assert " T main" in symbols and "evil" not in symbols
    said = subprocess.run([tmp_path / "texts"], capture_output=True, check=True).stdout.decode().split("\n")
    assert said[:-1:2] == [escaping.visible(text) for text in HOSTILE]


@given(st.text(st.sampled_from('*/\\?"x \n'), max_size=12))
@example("/*/*/**//")
def test_a_comment_of_c_neither_ends_nor_opens_another(text: str) -> None:
    found = f"/*{escaping.c_comment(text)}*/\n"
    assert found.index("*/", 2) == len(found) - 3
    assert not re.search(r"/\*|\?\?|\\\n|\n.", found[2:])


def test_make_and_cmake_take_texts_as_texts(tmp_path: Path, tool: Any, call: Any) -> None:
    values = "\n".join(f"V{n} := x{escaping.make(text)}\n# {escaping.make(text)}" for n, text in enumerate(HOSTILE))
    shown = "".join(f"\t@printf '%s\\n' '$(subst ',,$(V{n}))'\n" for n in range(len(HOSTILE)))
    (tmp_path / "Makefile").write_text(f"{values}\nall:\n{shown}", "utf-8")
    said = call(tool("make"), cwd=tmp_path).splitlines()
    expected = [escaping.visible(text).replace("\\", "<U+005C>").replace("'", "") for text in HOSTILE]
    assert said == [f"x{text}" for text in expected]
    lists = "\n".join(f'# {escaping.cmake(text)}\nmessage(STATUS "{escaping.cmake(text)}")' for text in HOSTILE)
    (tmp_path / "texts.cmake").write_text(lists + "\n", "utf-8")
    told = call(tool("cmake"), "-P", "texts.cmake", cwd=tmp_path).splitlines()
    assert told == [f"-- {escaping.visible(text)}" for text in HOSTILE]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Makefile", "texts.cmake"]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_and_html_show_the_text_and_nothing_else(text: str) -> None:
    shown = escaping.visible(text).strip()
    page = MarkdownIt("gfm-like", {"linkify": False}).render(
        f"{escaping.markdown(text)}\n\n| a | {escaping.markdown_code(text)} | {escaping.markdown(text)} |\n"
        f"| --- | --- | --- |\n| b | {escaping.markdown_code(text)} | {escaping.markdown(text)} |\n"
    )
    reader = Reader()
    reader.feed(page)
    assert set(reader.tags) <= {"p", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert [part for part in reader.texts if part.strip() and part not in "ab"] == [shown] * 5
    reader = Reader()
    reader.feed(f'<p title="{escaping.html(text)}">{escaping.html(text)}</p>')
    assert reader.tags == ["p"] and "".join(reader.texts) == escaping.visible(text, "\n\t")
    assert reader.attributes == [("title", escaping.visible(text, "\n\t"))]


class Reader(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        self.texts = [*self.texts[:-1], (self.texts or [""])[-1] + data]


@pytest.mark.parametrize("text", HOSTILE[:1] + HOSTILE[9:11])
def test_a_template_escapes_what_it_prints_by_itself(text: str, tmp_path: Path) -> None:
    for name, escape in escaping.LANGUAGES.items():
        file = name if name[0] != "." else f"file{name}"
        (tmp_path / f"{file}.jinja").write_text("{{ text }}|{{ code }}|{{ number }}|{{ text | string }}")
        made = escaping.template(tmp_path, file).render(text=text, code=escaping.Code(text), number=3)
        assert made == f"{escape(text)}|{text}|3|{escaping.c_string(text)}"
    page = environment().from_string("{{ text }}").render(text=text)
    assert page == escaping.html(text)
    (tmp_path / "file.sh.jinja").write_text("")
    with pytest.raises(KeyError):
        escaping.template(tmp_path, "file.sh")


def test_every_template_is_of_a_language_that_is_escaped() -> None:
    for path in export().rglob("*.jinja"):
        escaping.template(path.parent, path.name.removesuffix(".jinja"))


@pytest.fixture(scope="module")
def hostile(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a hostile description, in a folder of a hostile name."""
    run = tmp_path_factory.mktemp("hostile") / 'run $(touch made) "\u202e`*\n'
    shutil.copytree(finished("digits-100"), run)
    files = ("weights.safetensors", "initial.safetensors", "checkpoint.safetensors")
    tensors = {name: RunFolder(run).tensors(name) for name in files if (run / name).exists()}
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["description"] = f"{HOSTILE[0]} {HOSTILE[12]} {HOSTILE[13]} \u202e ??/"
    recipe["name"] = "stdint"
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for name, found in tensors.items():  # as a run of that recipe writes them: they name their run
        RunFolder(run).write_tensors(name, found)
    return run


def test_an_exported_folder_of_hostile_names_builds_and_proves_itself(
    hostile: Path, tmp_path: Path, tool: Any, call: Any
) -> None:
    """A recipe named as a system's header, too."""
    manifest = export_c(hostile, tmp_path / "out")
    said = call(tool("make"), "run", f"CFLAGS={' '.join(WARNINGS[1:])}", "OPTIMISE=-O0", cwd=tmp_path / "out")
    assert "PASS model_stdint" in said
    symbols = call(tool("nm"), tmp_path / "out" / "selftest")
    assert "evil" not in symbols
    assert {"model_stdint.h", "model_stdint.c"} <= {*manifest["files"]}
    page = MarkdownIt("gfm-like", {"linkify": False}).render((tmp_path / "out" / "README.md").read_text("utf-8"))
    assert "<script" not in page and "<b>" not in page and "<a " not in page and "\u202e" not in page
    assert "\u202e" not in (tmp_path / "out" / "model_stdint.h").read_text("utf-8")
    described = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert described["run"] == hostile.name


def test_a_crossbar_program_of_hostile_names_builds_and_is_solved(hostile: Path, tmp_path: Path, tool: Any) -> None:
    for name in ("gcc", "ngspice"):
        tool(name)
    profile = load_profile("pcm", ["device.g_min=1 uS", "device.g_max=25 uS"])
    export_crossbar(hostile, profile, tmp_path / "out", learning_rate=0.1, check=True)
    for path in (tmp_path / "out").iterdir():
        if path.suffix not in (".npz", ""):
            assert "\u202e" not in path.read_text("utf-8"), path
    assert load_recipe(str(tmp_path / "out" / "recipe.yaml")).description == load_recipe(
        str(hostile / "recipe.yaml")
    ).description


def test_a_models_files_and_names_are_none_of_the_system_or_the_runtime() -> None:
    sources = "".join(path.read_text() for path in export().rglob("*.[ch]"))
    assert "scff_model" not in sources.lower()
    taken = {path.name for path in [*export().rglob("*"), *Path("/usr/include").glob("*.h")]}
    for name in ("stdint", "stddef", "stdio", "features", "semihosting", "scff", "rnn", "layer", "learn", "main"):
        assert file_name(name) == f"model_{name}"
    assert not [name for name in taken if name.startswith("model_")]


@pytest.mark.parametrize("text", HOSTILE)
def test_visible_text_is_one_line_that_can_be_written(text: str) -> None:
    found = escaping.visible(text)
    assert found.encode().decode() == found and len(found.splitlines()) == 1
