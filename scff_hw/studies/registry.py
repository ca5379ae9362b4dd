"""Studies by name: those of scff-hw, and those of other packages by entry points of the group `scff_hw.studies`.

Worker processes look a study up by its name, so a study registered by a script needs `jobs=1`.
"""

from __future__ import annotations

from typing import Any

from scff_hw.errors import UsageError
from scff_hw.registry import Registry
from scff_hw.studies.study import Study


def _checked(entry: object) -> type[Study[Any]]:
    if not (isinstance(entry, type) and issubclass(entry, Study) and isinstance(getattr(entry, "name", None), str)):
        raise UsageError(f"A study must be a subclass of scff_hw.studies.Study with a name. Got {entry!r} instead.")
    return entry


STUDIES: Registry[type[Study[Any]]] = Registry(
    "study",
    _checked,
    {
        "noise": "scff_hw.studies.noise:NoiseStudy",
        "drift": "scff_hw.studies.drift:DriftStudy",
        "faults": "scff_hw.studies.faults:FaultsStudy",
        "bits": "scff_hw.studies.bits:BitsStudy",
        "controls": "scff_hw.studies.controls:ControlsStudy",
    },
    group="scff_hw.studies",
)


def study_names() -> list[str]:
    """Return the names of all studies, including those of installed packages."""
    return STUDIES.names()


def find_study(name: str) -> Study[Any]:
    """Return an instance of the study with this name.

    Raises:
        UsageError: no such study, or its entry point is not a study.
        PluginError: the package of the study cannot be imported.
    """
    return STUDIES.get(name)()
