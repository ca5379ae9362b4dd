"""The rooms of scff_hw: imports run one way, from the last room down to the first, and never in a circle."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import scff_hw

ROOMS = """
    errors lazy paths files escaping workers registry documents tensor_file config core data recipes hardware backends
    training estimators module report export studies notebook bench doctor cli __main__
"""

ROOT = Path(scff_hw.__file__).parent
PACKAGE = ROOT.name
FLOORS = {room: floor for floor, room in enumerate(ROOMS.split())}


def modules() -> dict[str, Path]:
    """The file of every module by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> dict[str, set[str]]:
    """What every module imports of the package: inside functions and for type checkers as well as at the top."""
    files = modules()
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        targets: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = _base(node, name, path)
                submodules = {f"{base}.{each.name}" for each in node.names}
                # a name that is no module is an attribute of the package that it comes from
                targets |= submodules & files.keys()
                if submodules - files.keys():
                    targets.add(base)
        found[name] = {target for target in targets if target in files and target != name}
    return found


def _base(node: ast.ImportFrom, name: str, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    parts = package[: len(package) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def room(name: str) -> str:
    return name.split(".")[1]


def boot(name: str) -> bool:
    """Of the package itself: its `__init__` names every room's public parts."""
    return name == PACKAGE


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += graph[name]
        return seen

    reach = {name: reached(name) for name in graph}
    groups = {frozenset({name, *(other for other in reach[name] if name in reach[other])}) for name in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def test_every_module_lies_in_a_room() -> None:
    assert {room(name) for name in modules() if not boot(name)} == FLOORS.keys()


def test_no_import_runs_upwards() -> None:
    upwards = [
        f"{name} imports {target}"
        for name, targets in imports().items()
        for target in sorted(targets)
        if not boot(name) and not boot(target) and FLOORS[room(target)] > FLOORS[room(name)]
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: {target for target in targets if not boot(target)} for name, targets in imports().items()}
    del graph[PACKAGE]
    assert circles(graph) == []


def test_a_circle_and_an_arrow_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d2"}, "d2": set()}) == [["b", "c"]]
    found = imports()
    assert "scff_hw.registry" in found["scff_hw.core.rules.registry"]  # at the top
    assert "scff_hw.training.calibration" in found["scff_hw.studies.bits"]  # inside a function
    assert "scff_hw.backends.fixed" in found["scff_hw.studies.bits"]  # for type checkers
