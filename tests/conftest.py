"""Settings of the whole suite, and the publishers' files where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# shared machines stall now and then: a deadline would test the machine, not the code
settings.register_profile("scff-hw", deadline=None, max_examples=40)
settings.load_profile("scff-hw")


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
