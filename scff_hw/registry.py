"""Rules and backends of other packages: found by entry points, loaded, and named where they fail."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points, packages_distributions
from traceback import walk_tb
from typing import Any

from scff_hw.errors import ScffError

_PLUGINS: dict[str, str] = {}
"""By the package, or the module outside packages, of its code, what a plug-in is: "the rule 'mine'"."""


class PluginError(ScffError):
    """A part of another package that cannot be loaded, or is not what its entry point says."""


def plugin_names(kind: str) -> list[str]:
    """Names of the entry points in the group `scff_hw.{kind}s`, of all installed packages."""
    return [point.name for point in _points(kind)]


def load_plugin(kind: str, name: str) -> Any:
    """What the entry point `name` of the group `scff_hw.{kind}s` refers to, or None where there is none.

    Args:
        kind: "rule" or "backend".

    Raises:
        PluginError: the code it refers to cannot be imported, for whatever reason.
    """
    for point in _points(kind):
        if point.name == name:
            try:
                loaded = point.load()
            except Exception as error:
                package = point.dist.name if point.dist else point.value
                raise PluginError(
                    f"The {kind} '{name}' of the package {package} cannot be loaded from {point.value}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            remember_plugin(kind, name, point.module)
            return loaded
    return None


def remember_plugin(kind: str, name: str, module: str) -> None:
    """Note that the code of `module` and of what lies beside it is a plug-in's; nothing for modules of scff-hw."""
    if module.partition(".")[0] != "scff_hw":
        _PLUGINS[module.rpartition(".")[0] or module] = f"the {kind} '{name}'"


def failed_plugin(error: BaseException) -> str | None:
    """The plug-in whose code `error` passed through, e.g. "the rule 'mine' of the package my-rules", or None."""
    for frame, _ in reversed(list(walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__", ""))
        for place, plugin in _PLUGINS.items():
            if f"{module}.".startswith(f"{place}."):
                top = place.partition(".")[0]
                return f"{plugin} of the package {', '.join(packages_distributions().get(top, (top,)))}"
    return None


def _points(kind: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"scff_hw.{kind}s"))
