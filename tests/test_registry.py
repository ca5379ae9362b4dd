"""The registry: lazy built-ins, registration, and entry points of a package installed on the spot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scff_hw.core import rules
from scff_hw.errors import ScffError, UsageError
from scff_hw.registry import PluginError, Registry

Install = Callable[..., Path]

RULE = """
from dataclasses import dataclass
from scff_hw.core import Rule, SCFF

@dataclass(frozen=True)
class Slow(SCFF):
    name = "slow"

not_a_rule = 3
"""


def checked(found: object) -> type[Any]:
    if not isinstance(found, type):
        raise UsageError(f"A shape must be a class. Got {found!r} instead.")
    return found


def test_a_rule_of_an_installed_package_is_listed_without_its_import_and_loaded_by_name(install: Install) -> None:
    install(RULE, rules={"slow": "Slow"})
    assert "slow" in rules.rule_names() and "slow" in rules.RULES
    assert "shop" not in sys.modules
    rule = rules.rule_class("slow")
    assert (rule.__module__, rule.name) == ("shop", "slow")
    assert rules.rule_class("slow") is rule


@pytest.mark.parametrize(
    ("points", "name", "error", "sentence"),
    [
        (
            {"fast": "Slow"},
            "fast",
            UsageError,
            "The entry point 'fast' of scff_hw.rules must give a rule of that name. Got 'slow' instead.",
        ),
        (
            {"three": "not_a_rule"},
            "three",
            UsageError,
            "A rule must be a subclass of scff_hw.core.Rule with a name. Got 3 instead.",
        ),
        (
            {"gone": "Gone"},
            "gone",
            PluginError,
            "The rule 'gone' of the package shop cannot be loaded from shop:Gone: "
            "AttributeError: module 'shop' has no attribute 'Gone'",
        ),
        (
            {"slow": "Slow"},
            "slwo",
            UsageError,
            "The rule must be one of forward-forward, forward-forward-supervised, scff, scff-shuffled, slow. "
            "Got 'slwo' instead; did you mean 'slow'?",
        ),
    ],
    ids=["name", "type", "import", "unknown"],
)
def test_an_entry_point_that_gives_no_such_rule_is_refused(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    points: dict[str, str],
    name: str,
    error: type[ScffError],
    sentence: str,
) -> None:
    install(RULE, rules=points)
    # other tests of this process register rules of their own
    own = {key: rule for key, rule in rules.RULES._items.items() if rule.__module__.startswith("scff_hw.")}
    monkeypatch.setattr(rules.RULES, "_items", own)
    with pytest.raises(error) as caught:
        rules.rule_class(name)
    assert str(caught.value) == sentence


def test_built_ins_are_imported_at_their_first_use() -> None:
    sys.modules.pop("colorsys", None)
    shapes = Registry("shape", checked, {"path": "pathlib:Path", "gone": "colorsys:Gone"})
    assert shapes.names() == ["path", "gone"] and "colorsys" not in sys.modules
    assert shapes.get("path") is Path
    with pytest.raises(AttributeError):
        shapes.get("gone")
    shapes.register(dict, "dict")
    assert shapes.names() == ["path", "gone", "dict"]


def test_registration_takes_a_name_once() -> None:
    shapes = Registry("shape", checked)

    @shapes.register
    class Cube:
        name = "cube"

    class Ball:
        pass

    assert shapes.get("cube") is Cube and shapes.register(Cube) is Cube
    assert shapes.register(Ball, "ball") is Ball and shapes.names() == ["ball", "cube"]
    with pytest.raises(UsageError, match=r"^Shape 'cube' is already registered, by .*test_registry\.$"):
        shapes.register(Ball, "cube")
    with pytest.raises(UsageError, match=r"^A shape must have a name to be registered. Got "):
        shapes.register(Ball)
    with pytest.raises(UsageError, match=r"^A shape must be a class. Got 3 instead.$"):
        shapes.register(3)  # pyright: ignore[reportArgumentType]
