"""constraints.txt pins all direct and indirect dependencies of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
ASKED = [Requirement(line) for group in GROUPS for line in group]

NAMED_ONLY = {"torchvision"}
"""aihwkit requires it but never imports it; `make setup` installs aihwkit without its dependencies."""


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_requirement_is_pinned_inside_its_range() -> None:
    pinned = pins()
    for requirement in ASKED:
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version), f"{version} is outside {requirement}"


def test_what_the_requirements_need_is_pinned_too() -> None:
    """Excludes torch's CUDA packages: torch pins them itself, and its CPU build has none."""
    needed = {name for name in closure(ASKED) if not re.match(r"nvidia-|cuda-|triton", name)}
    assert needed <= pins().keys()


def test_the_build_backend_is_pinned() -> None:
    assert "hatchling" in pins()


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of `requirements` and of all their dependencies in this environment."""
    found: set[str] = set()
    waiting = [(requirement, "") for requirement in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        seen = name in found
        if name in NAMED_ONLY:
            continue
        found.add(name)
        if seen and not requirement.extras:
            continue
        for line in metadata.requires(name) or ():
            waiting += [(Requirement(line), extra) for extra in ("", *requirement.extras)]
    return found
