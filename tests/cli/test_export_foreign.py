"""An exporter of another package: listed by `scff-hw export --help`, with its own options, and used by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXPORTERS = '''
from dataclasses import dataclass, field
from pathlib import Path
from pydantic import BaseModel, Field
from scff_hw.documents import SCHEMA, Manifest
from scff_hw.errors import UsageError
from scff_hw.export.exporter import Exporter

class NamesManifest(Manifest):
    recipe: str
    files: dict[str, str] = {}

@dataclass(frozen=True)
class NamesOptions:
    most: int = field(default=9, metadata={"description": "number of names at most"})
    between: str | None = None
    upper: bool = False
    out: str = "not an option"
    tags: tuple[str, ...] = ()

    def __post_init__(self):
        if self.most < 1:
            raise UsageError(f"--most must be at least 1. Got {self.most} instead.")

class Names(Exporter):
    """Exports the names of a run's weights [as text].

    A second paragraph.
    """
    name = "names"
    Options = NamesOptions

    def check(self, run, options):
        pass

    def write(self, run, options, out, progress):
        assert options.out == "not an option" and options.tags == ()
        text = (options.between or " ").join(sorted(run.weights)[: options.most])
        (out / "names.txt").write_text(text.upper() if options.upper else text)
        return NamesManifest(schema=SCHEMA, recipe=run.recipe.name)

class LineOptions(BaseModel):
    ending: str = Field(description="text at the end")
    share: float = Field(default=0.5, gt=0, description="a share")

class Line(Names):
    name = "line"
    Options = LineOptions
    writes_file = True

    def write(self, run, options, out, progress):
        out.write_text(f"{run.recipe.name} {options.share}{options.ending}")
        return NamesManifest(schema=SCHEMA, recipe=run.recipe.name)
'''
POINTS = {"names": "Names", "line": "Line", "gone": "Gone"}


@pytest.fixture(autouse=True)
def installed(install: Callable[..., Path]) -> None:
    install(EXPORTERS, exporters=POINTS)


def text_of(help: str) -> str:
    return " ".join(help.replace("│", " ").split())


def test_the_help_lists_it_with_its_options(cli: Any) -> None:
    shown = text_of(cli("export", "--help").out)
    for text in ("Export a finished run as ONNX files", "names Exports the names of a run's weights [as", "gone"):
        assert text in shown
    shown = text_of(cli("export", "names", "--help").out)
    for text in ("--most <int> number of names at most. [9]", "--between", "--upper", "--out", "--data-dir", "--json"):
        assert text in shown
    assert "--tags" not in shown and "second paragraph" not in shown


def test_it_exports_a_run_with_its_options(cli: Any, trained: Path) -> None:
    result = cli("export", "names", trained, "--out", "a", "--most", "2", "--between", "+", "--upper")
    assert result.code == 0, result.err
    assert Path("a/names.txt").read_text() == "LAYERS.1.BIAS+LAYERS.1.WEIGHT" and "Exported to a." in result.err
    result = cli("export", "names", trained, "--out", "b", "--json")
    assert json.loads(result.out)["folder"] == "b" and list(json.loads(result.out)["files"]) == ["names.txt"]
    result = cli("export", "line", trained, "--out", "c.txt", "--ending", "!", "--json")
    assert json.loads(result.out)["file"] == "c.txt" and Path("c.txt").read_text() == "iris-mlp 0.5!"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["names", "run", "--out", "x", "--most", "0"], 2, "--most must be at least 1. Got 0 instead."),
        (["names", "run", "--out", "x", "--most", "few"], 2, "'--most': Input should be a valid integer"),
        (["names", "run"], 2, "Missing option '--out'"),
        (["line", "run", "--out", "x"], 2, "Missing option '--ending'"),
        (["line", "run", "--out", "x", "--ending", "", "--share", "-1"], 2, "exporter line are not valid: Input"),
        (["name", "run"], 2, "onnx, crossbar, nir, c, gone, line, names. Got 'name' instead; did you mean"),
        (["gone", "run", "--out", "x"], 1, "The exporter 'gone' of the package shop cannot be loaded from shop:Gone"),
        (["names", "nowhere", "--out", "x"], 2, "holds no run.json"),
    ],
)
def test_wrong_use_is_one_sentence(arguments: list[str], code: int, message: str, cli: Any) -> None:
    result = cli("export", *arguments)
    assert result.code == code and message in result.err and not Path("x").exists()
