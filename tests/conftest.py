"""Settings of the whole suite, and the publishers' files where this machine has them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from scipy.io import wavfile

# shared machines stall now and then: a deadline would test the machine, not the code
settings.register_profile("scff-hw", deadline=None, max_examples=30)
settings.load_profile("scff-hw")

# the suite may itself run below make, whose flags and level its own calls of make would take over
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def compiler_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile each source of the C runtime once per set of flags, where ccache is installed: exports share them."""
    ccache = shutil.which("ccache")
    if ccache is None:
        yield
        return
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    links = base / "compilers"
    links.mkdir()
    for name in ("gcc", "arm-none-eabi-gcc", "avr-gcc"):
        if shutil.which(name):
            (links / name).symlink_to(ccache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(links), prepend=os.pathsep)
        patch.setenv("CCACHE_DIR", str(folder / "ccache"))
        patch.setenv("CCACHE_BASEDIR", "/")
        patch.setenv("CCACHE_NOHASHDIR", "1")
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory of the publishers' files; without it a test skips, but fails where CI=true."""
    named = os.environ.get("SCFF_HW_DATA")
    if named:
        return Path(named)
    message = "SCFF_HW_DATA must name the directory that holds MNIST, CIFAR-10 and FSDD for this test"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a small FSDD: each digit two tones after each other, from two speakers, fifteen takes."""
    root = tmp_path_factory.mktemp("spoken")
    folder = root / "free-spoken-digit-dataset" / "recordings"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for digit in range(10):
        for pitch, speaker in ((1.0, "george"), (1.15, "theo")):
            for take in range(15):
                length = int(draw.integers(900, 1800))
                halves = 300 * pitch * (1 + np.array([digit, 9 - digit]) / 2)
                phase = 2 * np.pi * np.cumsum(np.repeat(halves, -(-length // 2))[:length]) / 8000
                sound = 8000 * np.sin(phase) + 800 * draw.standard_normal(length)
                wavfile.write(folder / f"{digit}_{speaker}_{take}.wav", 8000, sound.astype(np.int16))
    return root


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that puts a package `shop` of the given source on sys.path, with entry points by group.

    It returns the folder. Registered parts are what they were before, after the test.
    """
    from scff_hw.core.rules import RULES
    from scff_hw.data import DATASETS
    from scff_hw.export.registry import EXPORTERS
    from scff_hw.studies.registry import STUDIES

    root = tmp_path_factory.mktemp("site")

    def put(source: str, **groups: dict[str, str]) -> Path:
        info = root / "shop-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 0.1\n")
        lines: list[str] = []
        for group, points in groups.items():
            lines += [f"[scff_hw.{group}]", *(f"{name} = shop:{attribute}" for name, attribute in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (root / "shop.py").write_text(source)
        monkeypatch.syspath_prepend(str(root))
        monkeypatch.delitem(sys.modules, "shop", raising=False)
        monkeypatch.setattr("scff_hw.registry._PLUGINS", {})
        for registry in (DATASETS, EXPORTERS, RULES, STUDIES):
            monkeypatch.setattr(registry, "_items", dict(registry._items))
        return root

    return put
