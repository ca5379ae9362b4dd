"""Templates of exported C print the fields of a dataclass: a name or an attribute that it lacks is an error."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from jinja2 import UndefinedError, meta

from scff_hw import paths
from scff_hw.escaping import template
from scff_hw.export.c.targets import device
from scff_hw.export.c.values import CommonValues, FeedForwardValues, RecurrentValues

TEMPLATES = sorted((paths.export() / "c" / "templates").glob("*.jinja"))
SHARED = {"Makefile", "CMakeLists.txt", "link.ld", "main.c", "selftest.h"}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_name_is_a_field(path: Path) -> None:
    name = path.name.removesuffix(".jinja")
    environment = template(path.parent, name).environment
    used = meta.find_undeclared_variables(environment.parse(path.read_text(encoding="utf-8")))
    model = RecurrentValues if name.startswith("recurrent") else FeedForwardValues
    assert used <= {field.name for field in fields(CommonValues if name in SHARED else model)}


@pytest.mark.parametrize("text", ["{{ taget }}", "{{ target.bord }}", "{% if target.emulatd %}{% endif %}"])
def test_a_misspelt_name_fails(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.c.jinja").write_text(text)
    with pytest.raises(UndefinedError):
        template(tmp_path, "model.c").render(target=device("host").values)
