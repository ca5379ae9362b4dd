"""The wheel, installed in another folder, has its own folders and recipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scff_hw import paths
from scff_hw.errors import ScffError

ROOT = Path(__file__).parents[2]

USE = """
import json
from scff_hw import paths
from scff_hw.recipes import list_recipes, load_recipe
print(json.dumps({
    "module": paths.__file__,
    "hardware_profiles": str(paths.hardware_profiles()),
    "export": str(paths.export()),
    "recipe": load_recipe("digits-mlp", []).name,
    "recipes": len(list(list_recipes())),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("elsewhere")
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT))
    (wheel,) = wheels.glob("*.whl")
    python("-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def python(*arguments: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run Python and return its output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_elsewhere_has_both_folders_and_the_recipes(installed: Path, tmp_path: Path) -> None:
    found = json.loads(python("-c", USE, cwd=tmp_path, PYTHONPATH=str(installed)))
    assert Path(found["module"]).is_relative_to(installed)
    for name in ("hardware_profiles", "export"):
        folder = Path(found[name])
        assert folder.is_relative_to(installed)
        assert sorted(_files(folder)) == sorted(_files(ROOT / name))
    assert found["recipe"] == "digits-mlp"
    assert found["recipes"] >= 6


def test_the_wheel_is_typed_and_has_nothing_of_the_tests(installed: Path) -> None:
    assert (installed / "scff_hw" / "py.typed").exists()
    folders = {path.name for path in installed.iterdir() if path.is_dir()} - {"bin"}
    assert folders == {"scff_hw", "scff_hw-0.1.0.dist-info"}
    assert (installed / "bin" / "scff-hw").exists()


def test_a_checkout_uses_its_own_folders() -> None:
    assert paths.hardware_profiles() == ROOT / "hardware_profiles"
    assert paths.export() == ROOT / "export"


def test_a_broken_installation_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "scff_hw")
    with pytest.raises(ScffError, match=r"'export' of scff-hw is neither .*_shipped/export nor .*/export;"):
        paths.export()


def _files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
