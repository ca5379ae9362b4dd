"""Backends by name: those of scff-hw, each imported when it is asked for, and those of installed packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scff_hw.core.backend import Backend
from scff_hw.errors import UsageError
from scff_hw.registry import Registry

if TYPE_CHECKING:
    from scff_hw.hardware import Profile


def _checked(found: object) -> type[Backend]:
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise UsageError(f"A backend must be a subclass of scff_hw.core.backend.Backend. Got {found!r} instead.")
    return found


BACKENDS: Registry[type[Backend]] = Registry(
    "backend",
    _checked,
    {
        "analog": "scff_hw.backends.analog:AnalogBackend",
        "fixed": "scff_hw.backends.fixed.backend:FixedBackend",
        "float": "scff_hw.backends.float:FloatBackend",
    },
)
"""Backends by name, those of installed packages included."""


def backend_names() -> list[str]:
    """Names of the backends known here, those of installed packages included."""
    return BACKENDS.names()


def backend_class(name: str) -> type[Backend]:
    """The backend of that name, to ask what it can do.

    Raises:
        UsageError: no such backend.
        MissingPartError: what the backend needs is not installed.
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
    """The backend of that name, made as its `make` says.

    Args:
        profile: the hardware of a backend that simulates some; None for its default.
        seed: of the run; decides the devices of a simulated chip.
        options: the recipe's section for this backend; None for its defaults.

    Raises:
        UsageError: no such backend, or it does not know the dtype, the device or profiles.
        MissingPartError: what the backend needs is not installed.
        PluginError: the package of the backend cannot be imported.
    """
    return backend_class(name).make(dtype=dtype, device=device, profile=profile, seed=seed, options=options)
