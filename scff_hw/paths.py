"""Where the folders that are not Python live: the one module that knows.

In a checkout `hardware_profiles/` and `export/` stand beside the package; a wheel carries them inside it,
under `scff_hw/_shipped/` (see `pyproject.toml`).
"""

from __future__ import annotations

from pathlib import Path

from scff_hw.errors import ScffError

_PACKAGE = Path(__file__).resolve().parent


def hardware_profiles() -> Path:
    """Return the folder of hardware profiles. Raises ScffError where it is missing."""
    return _folder("hardware_profiles")


def export() -> Path:
    """Return the folder of C sources, templates and harnesses. Raises ScffError where it is missing."""
    return _folder("export")


def _folder(name: str) -> Path:
    places = (_PACKAGE / "_shipped" / name, _PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    tried = " nor ".join(str(place) for place in places)
    raise ScffError(
        f"The folder '{name}' of scff-hw is neither {tried}; "
        "install the package again from its source folder: pip install --force-reinstall --no-deps ."
    )
