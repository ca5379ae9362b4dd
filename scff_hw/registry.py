"""Plug-ins of every kind (rules, backends, studies, exporters, data sets): one registry class, and entry points.

    RULES: Registry[type[Rule]] = Registry("rule", _checked)     # group of entry points: scff_hw.rules

    @RULES.register                                              # in this process
    class Mine(Rule):
        name = "mine"

    [project.entry-points."scff_hw.rules"]                       # or in a package's pyproject.toml
    mine = "my_rules:Mine"

`RULES.get("mine")` imports the package at the first call. Listing names imports nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, packages_distributions
from traceback import walk_tb
from typing import Any, Generic, TypeVar

from scff_hw.errors import ScffError, UsageError, nearest

T = TypeVar("T")

_PLUGINS: dict[str, str] = {}
"""Descriptions such as "the rule 'mine'", keyed by the plug-in's package, or its module outside packages."""


class PluginError(ScffError):
    """A plug-in that cannot be loaded, or that does not match its entry point."""


class Registry(Generic[T]):
    """Objects of one kind by name: built in, registered in this process, or declared by installed packages.

    Args:
        kind: singular noun for messages, e.g. "rule".
        check: returns its argument as a `T`, or raises UsageError that names the expected type.
        built_in: "module:attribute" of the objects of scff-hw by name; imported at the first `get`.
        group: group of entry points; `scff_hw.{kind}s` by default.
    """

    def __init__(
        self, kind: str, check: Callable[[object], T], built_in: Mapping[str, str] | None = None, group: str = ""
    ) -> None:
        self.kind = kind
        self.group = group or f"scff_hw.{kind}s"
        self._check = check
        self._built_in = dict(built_in or {})
        self._items: dict[str, T] = {}

    def __contains__(self, name: object) -> bool:
        # loaded and built-in names first: looking up entry points reads all installed packages
        return name in self._items or name in self._built_in or name in _plugin_names(self.kind, self.group)

    def names(self) -> list[str]:
        """Return the built-in names in order, then all other names, sorted. Nothing is imported."""
        others = {*self._items, *_plugin_names(self.kind, self.group)} - self._built_in.keys()
        return [*self._built_in, *sorted(others)]

    def get(self, name: str) -> T:
        """Return the object with that name, imported at the first call; names of scff-hw precede entry points.

        Raises:
            UsageError: unknown name, or the entry point refers to an object of another kind.
            PluginError: the package of the entry point cannot be imported.
        """
        if name not in self._items:
            if name in self._built_in:
                module, _, attribute = self._built_in[name].partition(":")
                self.register(getattr(import_module(module), attribute), name)
            elif (loaded := _load_plugin(self.kind, name, self.group)) is not None:
                self._register_loaded(name, loaded)
            else:
                known = self.names()
                raise UsageError(
                    f"The {self.kind} must be one of {', '.join(known)}. "
                    f"Got '{name}' instead{nearest(name, known, '.')}"
                )
        return self._items[name]

    def register(self, item: T, name: str | None = None) -> T:
        """Register `item` under `name`, or under its attribute `name`, and return it; usable as a decorator.

        Raises:
            UsageError: not an object of this kind, or the name is taken.
        """
        item = self._check(item)
        key = getattr(item, "name", None) if name is None else name
        if not isinstance(key, str):
            raise UsageError(f"A {self.kind} must have a name to be registered. Got {item!r} instead.")
        if self._items.setdefault(key, item) is not item:
            raise UsageError(
                f"{self.kind.capitalize()} '{key}' is already registered, by {self._items[key].__module__}."
            )
        remember_plugin(self.kind, key, item.__module__)
        return item

    def _register_loaded(self, name: str, loaded: object) -> None:
        item = self._check(loaded)
        own = getattr(item, "name", name)
        if isinstance(own, str) and own != name:
            raise UsageError(
                f"The entry point '{name}' of {self.group} must give a {self.kind} of that name. Got '{own}' instead."
            )
        self.register(item, name)


def _plugin_names(kind: str, group: str = "") -> list[str]:
    """Return the names of the entry points in the group (default: `scff_hw.{kind}s`) of all installed packages."""
    return [point.name for point in _entry_points(kind, group)]


def _load_plugin(kind: str, name: str, group: str = "") -> Any:
    """Load the object of the entry point `name` in the group (default: `scff_hw.{kind}s`); None if there is none.

    Raises:
        PluginError: the import fails, for any reason.
    """
    for point in _entry_points(kind, group):
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
    """Record that `module` and its package belong to a plug-in; modules of scff-hw are ignored."""
    if module.partition(".")[0] != "scff_hw":
        _PLUGINS[module.rpartition(".")[0] or module] = f"the {kind} '{name}'"


def failed_plugin(error: BaseException) -> str | None:
    """Return the plug-in in the traceback of `error`, e.g. "the rule 'mine' of the package my-rules", or None."""
    for frame, _ in reversed(list(walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__", ""))
        for prefix, plugin in _PLUGINS.items():
            if f"{module}.".startswith(f"{prefix}."):
                top = prefix.partition(".")[0]
                return f"{plugin} of the package {', '.join(packages_distributions().get(top, (top,)))}"
    return None


def _entry_points(kind: str, group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group or f"scff_hw.{kind}s"))
