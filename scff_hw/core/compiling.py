"""Fusing the elementwise work between two MVMs into one kernel, where a compiler is present and the work is large.

Eager PyTorch walks through memory once an operation. A convolutional layer's pre-activations are tens of
megabytes, and a learning step touches them in some thirty operations, which costs more than its MVM; compiled by
torch.compile they are read a few times. Small layers stay eager: they fit the cache, and compiling takes seconds.
"""

from __future__ import annotations

import functools
import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WORTH_COMPILING = 1 << 16
"""Elements of a batch from which the elementwise work on it is compiled."""


@functools.cache
def compiler_missing() -> str | None:
    """What torch.compile lacks on this machine, in words, or None where it can work.

    `SCFF_HW_COMPILE=0` in the environment turns compilation off.
    """
    if os.environ.get("SCFF_HW_COMPILE") == "0":
        return "turned off by SCFF_HW_COMPILE=0"
    compiler = os.environ.get("CXX", "g++")
    if not (shutil.which(compiler) or shutil.which("clang++")):
        return f"no C++ compiler ('{compiler}' is not on the PATH)"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return f"no Python headers (Python.h is not in {sysconfig.get_paths()['include']})"
    return None


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=False)


def compiled_where_it_pays(function: Callable[..., Any], like: Tensor) -> Callable[..., Any]:
    """`function` itself, or its compiled form if `like` is large and a compiler is present."""
    if like.numel() < WORTH_COMPILING or compiler_missing():
        return function
    return _compiled(function)
