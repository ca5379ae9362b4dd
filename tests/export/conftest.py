"""Data and settings of the tests of exports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scff_hw.core import compiling


@pytest.fixture(scope="package", autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Tiny networks take longer to compile than to train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCFF_HW_COMPILE", "0")
        compiling.compiler_missing.cache_clear()
        yield
    compiling.compiler_missing.cache_clear()


@pytest.fixture(scope="package")
def data_dir() -> Path:
    """The directory with the real data sets; required in CI, otherwise the test is skipped."""
    named = os.environ.get("SCFF_HW_DATA")
    if named:
        return Path(named)
    message = "SCFF_HW_DATA must name the directory that holds MNIST for this test"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
