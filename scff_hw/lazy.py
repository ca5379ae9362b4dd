"""Public names of a package, imported at first use (PEP 562).

Importing one module of a package then does not import the others:

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
    """Return the `__getattr__` of a package, which imports names at first use.

    Args:
        package: full name of the package.
        modules: public names per module. No public name may equal the name of a module of the package.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        value = getattr(import_module(module_of[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__
