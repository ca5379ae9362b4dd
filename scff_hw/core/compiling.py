"""Fuses the elementwise work between two MVMs into one kernel, if a compiler is present and the tensors are large.

Eager PyTorch passes over memory once per operation. A convolutional layer's pre-activations are tens of megabytes, and
a learning step applies some thirty operations to them, which costs more than its MVM; compiled by torch.compile, the
step reads them a few times. Small layers run uncompiled: they fit in the cache, and compiling takes seconds.
"""

from __future__ import annotations

import atexit
import functools
import getpass
import os
import shutil
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""Name of the environment variable that sets torch's folder for compiled code."""

WORTH_COMPILING = 1 << 16
"""Minimum number of elements of a batch's tensor for which the elementwise work is compiled."""


@functools.cache
def compiler_missing() -> str | None:
    """Return why torch.compile cannot be used on this machine, or None if it can.

    `SCFF_HW_COMPILE=0` in the environment turns compilation off.
    """
    if os.environ.get("SCFF_HW_COMPILE") == "0":
        return "turned off by SCFF_HW_COMPILE=0"
    if not shutil.which(compiler()):
        return f"no C++ compiler ('{compiler()}' is not on the PATH)"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return f"no Python headers (Python.h is not in {sysconfig.get_paths()['include']})"
    return None


def compiler() -> str:
    """Return the command name of the C++ compiler used by torch.compile."""
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")


def usable_cache() -> str | None:
    """Use a temporary folder for torch's compiled code if its own is not writable; return the reason, else None.

    Without a folder, `torch._dynamo` cannot be imported, nor torch's optimisers created. The temporary folder is
    deleted when the process exits, so each process compiles layers anew; warns once (RuntimeWarning).
    """
    folder = Path(os.environ.get(CACHE) or _default_cache())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        refused = f"the cache {folder} cannot be written ({error.strerror or error})"
    other = tempfile.TemporaryDirectory(prefix="scff-hw-compiled-", ignore_cleanup_errors=True)
    atexit.register(other.cleanup)
    os.environ[CACHE] = other.name
    warnings.warn(
        f"Large layers are compiled anew in each process: {refused}; name another folder: "
        f"export {CACHE}=/path/that/can/be/written",
        RuntimeWarning,
        stacklevel=2,
    )
    return refused


def _default_cache() -> Path:
    """Return torch's default folder, as `torch._inductor.runtime.cache_dir_utils` does; its import needs the folder."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = f"uid_{os.getuid()}"
    return Path(tempfile.gettempdir(), f"torchinductor_{user}")


cache_refused = usable_cache()
"""Reason why this process does not use torch's own folder for compiled code, or None if it does."""


def compiled_if_large(function: Callable[..., Any], like: Tensor) -> Callable[..., Any]:
    """Return `function`, compiled if `like` has `WORTH_COMPILING` elements or more and a compiler is present.

    If compiling fails, `function` runs uncompiled, after one warning (RuntimeWarning) per process.
    """
    if like.numel() < WORTH_COMPILING or _failed or compiler_missing():
        return function
    return _compiled(function)


_failed: list[str] = []
"""Reason why compiling failed in this process, if it did; nothing is compiled after a failure."""


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled = torch.compile(function, dynamic=False)

    def run(*arguments: Any) -> Any:
        try:
            return compiled(*arguments)
        except Exception as error:  # compiler, linker, file system and torch each raise their own
            result = function(*arguments)  # raises the function's own errors
            _give_up(error)
            return result

    return run


def _give_up(error: Exception) -> None:
    if _failed:
        return
    _failed.append(next(iter(f"{type(error).__name__}: {error}".splitlines())))
    warnings.warn(
        f"Large layers run uncompiled, slower: torch.compile failed ({_failed[0]}); type: scff-hw doctor --deep",
        RuntimeWarning,
        stacklevel=3,
    )
