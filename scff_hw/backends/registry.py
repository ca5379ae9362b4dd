"""Backends by name: built into scff-hw (imported at first use) or declared by installed packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scff_hw.core.backend import Backend
from scff_hw.errors import UsageError
from scff_hw.registry import Registry

if TYPE_CHECKING:
    from scff_hw.hardware import Profile


def _checked(item: object) -> type[Backend]:
    if not (isinstance(item, type) and issubclass(item, Backend)):
        raise UsageError(f"A backend must be a subclass of scff_hw.core.backend.Backend. Got {item!r} instead.")
    return item


BACKENDS: Registry[type[Backend]] = Registry(
    "backend",
    _checked,
    {
        "analog": "scff_hw.backends.analog:AnalogBackend",
        "fixed": "scff_hw.backends.fixed.backend:FixedBackend",
        "float": "scff_hw.backends.float:FloatBackend",
    },
)
"""Backends by name, including those of installed packages."""


def backend_names() -> list[str]:
    """Return the names of the available backends, including those of installed packages."""
    return BACKENDS.names()


def backend_class(name: str) -> type[Backend]:
    """Return the backend class called `name`, e.g. for its declared properties.

    Raises:
        UsageError: no such backend.
        MissingPartError: a package that the backend requires is not installed.
        PluginError: the package of the backend cannot be imported.
    """
    return BACKENDS.get(name)


def make_backend(
    name: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    profile: Profile | None = None,
    seed: int = 0,
    options: Any = None,
) -> Backend:
    """Return the backend called `name`, created by its `make`.

    Args:
        profile: hardware profile of a backend that simulates hardware; None for its default.
        seed: seed of the run; determines the devices of a simulated chip.
        options: the recipe's section for this backend; None for its defaults.

    Raises:
        UsageError: no such backend, or it does not support the dtype, the device or profiles.
        MissingPartError: a package that the backend requires is not installed.
        PluginError: the package of the backend cannot be imported.
    """
    return backend_class(name).make(dtype=dtype, device=device, profile=profile, seed=seed, options=options)
