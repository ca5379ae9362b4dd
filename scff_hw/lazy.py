"""Public names of a package that are imported at their first use (PEP 562).

So importing one module of a package does not import the others:

    if TYPE_CHECKING:
        from scff_hw.core.network import Network

    __all__ = ["Network"]
    __getattr__ = lazy(__name__, {"scff_hw.core.network": ["Network"]})
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    Args:
        package: its full name.
        modules: public names by the module that has them. No name may be that of a module of the package.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        found = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, found)
        return found

    return __getattr__
