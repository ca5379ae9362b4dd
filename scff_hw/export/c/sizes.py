"""Code and stack bytes of the runtime's functions, as compiled for a target."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from scff_hw.documents.manifests import CodeSizes, FunctionSize
from scff_hw.export.c.targets import Device

OPTIMISE = "-O2"
LIMIT_S = 120.0


def function_sizes(folder: Path, to: Device) -> CodeSizes:
    """Return the code and stack bytes of each function of an exported runtime.

    An inlined function counts towards its caller. The stack is the function's own, without that of its callees. The
    functions of the model's file, which are wrappers of these, are not included.

    Args:
        folder: an exported folder.

    Returns:
        `compiler` with its flags, and `functions`: `flash_bytes` and `stack_bytes` by name. `left_out`: the reason,
        where the target's compiler is not installed or fails.
    """
    prefix = "" if to.profile is None else "arm-none-eabi-"
    compiler, nm = shutil.which(f"{prefix}gcc"), shutil.which(f"{prefix}nm")
    if compiler is None or nm is None:
        return CodeSizes(left_out=f"{prefix}gcc or {prefix}nm is not installed")
    flags = ("-std=c99", OPTIMISE, *to.build.flags.split(), *(["-ffreestanding"] if to.profile else []))
    files = sorted(path for part in ("include", "src") for path in (folder / "scff" / part).glob("*.[ch]"))
    sources = tuple((path.name, path.read_text(encoding="utf-8")) for path in files)
    try:
        return _compiled(compiler, nm, flags, sources)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).strip().splitlines()
        return CodeSizes(left_out=f"{Path(error.cmd[0]).name} failed: {lines[0] if lines else error.returncode}")
    except subprocess.TimeoutExpired:
        return CodeSizes(left_out=f"{prefix}gcc was not done within {LIMIT_S:g} s")


@lru_cache(maxsize=32)
def _compiled(compiler: str, nm: str, flags: Sequence[str], sources: Sequence[tuple[str, str]]) -> CodeSizes:
    """Sizes of the functions in `sources`, files by name; once per process: every export has the same runtime."""
    with tempfile.TemporaryDirectory() as build:
        for name, text in sources:
            (Path(build) / name).write_text(text, encoding="utf-8")
        stems = [name.removesuffix(".c") for name, _ in sources if name.endswith(".c")]
        # one compiler per file, since compiler caches take no more
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda stem: _run(build, compiler, *flags, "-fstack-usage", "-c", f"{stem}.c"), stems))
        version = _run(build, compiler, "--version").splitlines()[0]
        symbols = _run(build, nm, "-S", "-t", "d", *(f"{stem}.o" for stem in stems))
        stacks = {
            line.split("\t")[0].rsplit(":", 1)[1]: int(line.split("\t")[1])
            for path in Path(build).glob("*.su")
            for line in path.read_text(encoding="utf-8").splitlines()
        }
    functions = {}
    for line in symbols.splitlines():
        parts = line.split()
        if len(parts) == 4 and parts[2] in "tT":
            # a clone such as f.isra.0 is listed as f.isra in the stack file
            name = parts[3] if parts[3] in stacks else parts[3].rpartition(".")[0]
            functions[parts[3]] = FunctionSize(flash_bytes=int(parts[1]), stack_bytes=stacks.get(name))
    return CodeSizes(compiler=version, flags=" ".join(flags), functions=dict(sorted(functions.items())))


def _run(folder: str, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    return done.stdout
