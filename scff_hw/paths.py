"""Paths of the folders outside the Python package.

In a checkout `hardware_profiles/` and `export/` are beside the package; a wheel has them inside it,
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
    candidates = (_PACKAGE / "_shipped" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    tried = " nor ".join(str(candidate) for candidate in candidates)
    raise ScffError(
        f"The folder '{name}' of scff-hw is neither {tried}; "
        "install the package again from its source folder: pip install --force-reinstall --no-deps ."
    )
