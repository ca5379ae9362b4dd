"""The studies there are: those of scff-hw, and those of other packages by entry points of the group `scff_hw.studies`.

Worker processes find a study by its name, so one that a script registers is measured with `jobs=1`.
"""

from __future__ import annotations

from typing import Any

from scff_hw.errors import UsageError
from scff_hw.registry import Registry
from scff_hw.studies.study import Study


def _checked(found: object) -> type[Study[Any]]:
    if not (isinstance(found, type) and issubclass(found, Study) and isinstance(getattr(found, "name", None), str)):
        raise UsageError(f"A study must be a subclass of scff_hw.studies.Study with a name. Got {found!r} instead.")
    return found


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
    """Names of all studies, those of installed packages included."""
    return STUDIES.names()


def find_study(name: str) -> Study[Any]:
    """The study of that name.

    Raises:
        UsageError: no such study, or the entry point of that name gives none.
        PluginError: the package of the study cannot be imported.
    """
    return STUDIES.get(name)()
