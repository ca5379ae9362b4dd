"""Backends: who owns the weights, reads them and changes them. See `protocol` for the two calls a layer makes.

`analog` needs an extra and is imported when it is asked for. Further backends declare an entry point in the group
`scff_hw.backends`: a callable taking `dtype` and `device`, and where a run names hardware, `profile` and `seed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from scff_hw.backends.float import FloatBackend
from scff_hw.core.arrays import Backend, Metered, Optimisation, OwnArithmetic, SynapticArray
from scff_hw.core.geometry import Conv2d, Dense, Geometry
from scff_hw.errors import UsageError, nearest
from scff_hw.registry import load_plugin, plugin_names

if TYPE_CHECKING:
    from scff_hw.hardware import Profile

__all__ = [
    "Backend",
    "Conv2d",
    "Dense",
    "FloatBackend",
    "Geometry",
    "Metered",
    "Optimisation",
    "OwnArithmetic",
    "SynapticArray",
    "backend_names",
    "make_backend",
]

BUILT_IN = ("analog", "fixed", "float")


def backend_names() -> list[str]:
    """Names of the backends known here, those of installed packages included."""
    return sorted({*BUILT_IN, *plugin_names("backend")})


def make_backend(
    name: str, *, dtype: str = "float32", device: str = "cpu", profile: Profile | None = None, seed: int = 0
) -> Backend:
    """The backend of that name.

    Args:
        profile: the hardware of a backend that simulates some; None for its default.
        seed: of the run; decides the devices of a simulated chip.

    Raises:
        UsageError: no such backend, or it does not know the dtype, the device or profiles.
        MissingPartError: what the backend needs is not installed.
        PluginError: the package of the backend cannot be imported.
    """
    if name == "float":
        if profile is not None:
            raise UsageError(
                f"The float backend has no hardware, so it takes no profile. Got '{profile.name}'; "
                "type: --backend analog"
            )
        return FloatBackend(dtype, device)
    if name == "analog":
        from scff_hw.backends.analog import DEFAULT_PROFILE, AnalogBackend
        from scff_hw.hardware import load_profile

        return AnalogBackend(profile or load_profile(DEFAULT_PROFILE), seed, dtype, device)
    if name == "fixed":
        from scff_hw.backends.fixed import FixedBackend

        if profile is not None:
            raise UsageError(
                f"The fixed backend has no devices, so it takes no profile of them. Got '{profile.name}'; "
                "type: --backend analog"
            )
        for key, found, allowed in (("dtype", dtype, "float32"), ("device", device, "cpu")):
            if found != allowed:
                raise UsageError(
                    f"The fixed backend computes in integers on the cpu, so training.{key} must be {allowed}. "
                    f"Got '{found}' instead; type: --set training.{key}={allowed}"
                )
        return FixedBackend(seed=seed)
    hardware: dict[str, Any] = {} if profile is None else {"profile": profile, "seed": seed}
    if (loaded := load_plugin("backend", name)) is not None:
        return cast(Backend, loaded(dtype=dtype, device=device, **hardware))
    known = ", ".join(backend_names())
    raise UsageError(f"The backend must be one of {known}. Got '{name}' instead{nearest(name, backend_names(), '.')}")
