"""Checks of the installation, with a command that fixes each problem: `scff-hw doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import psutil

from scff_hw import paths
from scff_hw.errors import DataError, MissingPartError, ScffError
from scff_hw.export.toolchain import PACKAGES

Status = Literal["ok", "warn", "fail"]

GIB = 2**30
ENOUGH_MEMORY_BYTES = 4 * GIB
ENOUGH_DISK_BYTES = 2 * GIB
COMPILE_LIMIT_S = 180.0

_CPUINFO = Path("/proc/cpuinfo")
_REPORTED_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
_BFLOAT16_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_COMPILE_TRIAL = """
import torch
compiled = torch.compile(lambda x: torch.relu(x) * 2 + 1)
x = torch.linspace(-1, 1, 64)
torch.testing.assert_close(compiled(x), torch.relu(x) * 2 + 1)
"""


_PROGRAMS = {
    "arm-none-eabi-gcc": "building exported C for a Cortex-M, bench kernels",
    "qemu-system-arm": "running exported C on an emulated Cortex-M, bench kernels",
    "cppcheck": "checking the C runtime against MISRA C, which only its tests do",
    "ngspice": "simulating netlists of crossbars",
}
"""External programs for building, running and checking exports, with their purpose."""


@dataclass(frozen=True)
class Check:
    """Result of one check: "warn" costs speed, a data set or an optional part, "fail" blocks all work.

    `found` is what the check found; `advice` is the fix.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def diagnose(deep: bool = False, data_dir: Path | None = None) -> list[Check]:
    """Check this machine and return the results in order.

    The C++ compiler compiles one line; `deep` also compiles a small function with torch.compile, which takes some
    seconds, at most COMPILE_LIMIT_S. `data_dir` is the folder of the data sets, as in `scff_hw.data.data_root`. No
    exception is raised: a check that fails to run is also a result.
    """
    checks = [_python(), _package_files(), _torch()]
    if checks[-1].status == "fail":
        return checks
    checks += [_gpu(), *_cpu(), _compiler()]
    if deep and checks[-1].status == "ok":
        checks.append(_compile_trial())
    checks += [_fixed(), _onnx(), _nir(), _audio(), _tables(), *_programs(), _analog()]
    return [*checks, _memory(), _disk(data_dir), *_data(data_dir)]


def _python() -> Check:
    return Check("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def _package_files() -> Check:
    try:
        folders = (paths.hardware_profiles(), paths.export())
    except ScffError as error:
        return Check("package files", "fail", str(error), _pip("--force-reinstall --no-deps ."))
    return Check("package files", "ok", ", ".join(str(folder) for folder in folders))


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("PyTorch", "fail", f"does not import: {error}", _pip("--force-reinstall torch"))
    threads, cores = torch.get_num_threads(), _cores()
    found = f"{torch.__version__}, {threads} of {cores} {'core' if cores == 1 else 'cores'}"
    if threads >= cores or "OMP_NUM_THREADS" not in os.environ:
        return Check("PyTorch", "ok", found)
    found += f", since OMP_NUM_THREADS is {threads}: slower"
    return Check("PyTorch", "warn", found, "unset OMP_NUM_THREADS")


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("GPU", "ok", f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}")
    if not _nvidia_driver():
        return Check("GPU", "ok", "no NVIDIA GPU; everything runs on the CPU")
    if torch.version.cuda is None:
        release = torch.__version__.split("+")[0]
        found = f"an NVIDIA driver, but torch {torch.__version__} is built without CUDA"
        return Check("GPU", "warn", found, _pip(f"--force-reinstall torch=={release}"))
    found = f"an NVIDIA driver that torch's CUDA {torch.version.cuda} cannot use"
    return Check("GPU", "warn", found, "nvidia-smi   # prints the version and the errors of the driver")


def _nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _cpu() -> Iterator[Check]:
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    flags = _cpu_flags()
    known = ", ".join(flag for flag in _REPORTED_CPU_FLAGS if flag in flags)
    found = f"{platform.machine()}, torch uses {capability}" + (f" (has {known})" if known else "")
    if platform.machine() == "x86_64" and "avx2" not in flags and flags:
        advice = "use a machine with AVX2; in a virtual machine, pass the host's CPU through (-cpu host)"
        yield Check("CPU", "warn", f"{found}: no AVX2, slower", advice)
    else:
        yield Check("CPU", "ok", found)

    if not flags:
        yield Check("bfloat16", "ok", "this system does not report bfloat16 support of the CPU")
    elif native := sorted(_BFLOAT16_CPU_FLAGS & flags):
        yield Check("bfloat16", "ok", f"in hardware ({', '.join(native)})")
    else:
        yield Check(
            "bfloat16",
            "warn",
            "emulated here, slower than float32",
            "scff-hw train RECIPE --set training.dtype=float32",
        )


def _cpu_flags() -> set[str]:
    """Return the CPU's feature flags with their Linux names; empty on other systems."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    flag_lists = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(flag_lists, "").split())


def _compiler() -> Check:
    from scff_hw.core.compiling import CACHE, cache_refused, compiler, compiler_missing

    missing = compiler_missing()
    if missing is None:
        failure = _compile_failure(compiler())
        if failure is not None:
            found = f"'{compiler()}' does not compile a line of C++ ({failure}): large layers run uncompiled, slower"
            advice = "unset CXX" if "CXX" in os.environ else _compiler_command()
            return Check("C++ compiler", "warn", found, advice)
        if cache_refused is not None:
            found = f"{cache_refused}: large layers are compiled anew in each process"
            return Check("C++ compiler", "warn", found, f"export {CACHE}=/path/that/can/be/written")
        return Check("C++ compiler", "ok", f"{shutil.which(compiler())} compiles, so large layers run compiled")
    found = f"{missing}: large layers run uncompiled, slower"
    if "SCFF_HW_COMPILE" in missing:
        return Check("C++ compiler", "warn", found, "unset SCFF_HW_COMPILE")
    return Check("C++ compiler", "warn", found, _compiler_command())


def _compile_failure(compiler: str) -> str | None:
    """Return the error of `compiler` for a shared library of one line, or None if it compiles."""
    with tempfile.TemporaryDirectory(prefix="scff-hw-doctor-") as folder:
        target = Path(folder, "trial.so")
        try:
            trial = subprocess.run(
                [compiler, "-x", "c++", "-shared", "-fPIC", "-o", str(target), "-"],
                input="#include <cmath>\ndouble trial(double x) { return std::sqrt(x); }\n",
                capture_output=True,
                text=True,
                timeout=COMPILE_LIMIT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if trial.returncode == 0 and target.exists():
            return None
    lines = [line for line in trial.stderr.splitlines() if line.strip()]
    return _cause(lines) if lines else f"exit code {trial.returncode}, no message"


def _compiler_command() -> str:
    if sys.platform == "darwin":
        return "xcode-select --install"
    headers = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    if shutil.which("apt-get"):
        return f"{_sudo()}apt-get install g++ {headers}"
    if shutil.which("dnf"):
        return f"{_sudo()}dnf install gcc-c++ python3-devel"
    return f"install g++ and the headers of Python {platform.python_version()}"


def _compile_trial() -> Check:
    with tempfile.TemporaryDirectory(prefix="scff-hw-doctor-") as cache:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        try:
            trial = subprocess.run(
                [sys.executable, "-c", _COMPILE_TRIAL],
                env=environment,
                cwd=cache,
                capture_output=True,
                text=True,
                timeout=COMPILE_LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            found = f"a small function was not compiled within {COMPILE_LIMIT_S:.0f} s"
            return Check("torch.compile", "warn", found, "export SCFF_HW_COMPILE=0   # run uncompiled")
    if trial.returncode == 0:
        return Check("torch.compile", "ok", "compiled and ran a small function")
    lines = [line for line in trial.stderr.splitlines() if line.strip()]
    found = f"failed on a small function: {_cause(lines)}"
    return Check("torch.compile", "warn", found, f"{_compiler_command()}   # or: export SCFF_HW_COMPILE=0")


def _cause(lines: list[str]) -> str:
    """Return the last line of a traceback that names an exception; torch prints hints below it."""
    errors = [line for line in lines if "Error:" in line or "error:" in line]
    return (errors or lines or ["no message"])[-1].strip()


def _fixed() -> Check:
    try:
        import scff_hw.backends.fixed  # noqa: F401 - imports brevitas
    except MissingPartError as error:
        return Check("brevitas", "warn", str(error).split("; type")[0], _pip("'scff-hw[fixed]'"))
    return Check("brevitas", "ok", f"{version('brevitas')}: the fixed backend works")


def _onnx() -> Check:
    try:
        from scff_hw.export.onnx.dependencies import onnx, onnxruntime
    except MissingPartError as error:
        return Check("onnx", "warn", str(error).split("; type")[0], _pip("'scff-hw[export]'"))
    return Check("onnx", "ok", f"{onnx.__version__}, onnxruntime {onnxruntime.__version__}: export onnx works")


def _nir() -> Check:
    try:
        from scff_hw.export.nir.dependencies import nir
    except MissingPartError as error:
        return Check("nir", "warn", str(error).split("; type")[0], _pip("'scff-hw[nir]'"))
    return Check("nir", "ok", f"{nir.version}: export nir works")


def _audio() -> Check:
    from scff_hw.data.torchaudio_import import load_torchaudio

    try:
        load_torchaudio()
    except MissingPartError as error:
        return Check("torchaudio", "warn", str(error).split("; type")[0], _pip("'scff-hw[audio]'"))
    return Check("torchaudio", "ok", f"{version('torchaudio')}: features of audio work")


def _tables() -> Check:
    try:
        import pandas as pd
        import pyarrow as pa
    except ImportError as error:
        return Check("pandas", "warn", f"{error.name} is missing: no tables of your own", _pip("'scff-hw[table]'"))
    return Check("pandas", "ok", f"{pd.__version__}, pyarrow {pa.__version__}: tables of your own work")


def _programs() -> Iterator[Check]:
    for name, purpose in _PROGRAMS.items():
        if found := shutil.which(name):
            yield Check(name, "ok", f"{found}, for {purpose}")
        else:
            advice = f"{_sudo()}apt-get install {PACKAGES[name]}"
            yield Check(name, "warn", f"not installed; needed for {purpose}", advice)


def _analog() -> Check:
    from scff_hw.hardware.available import aihwkit_version, build_command, try_in_subprocess

    version = aihwkit_version()
    if version is None:
        return Check("aihwkit", "warn", "not installed: no analog backend", build_command())
    failure = try_in_subprocess()
    if failure is None:
        return Check("aihwkit", "ok", f"{version}, a tile test passed: the analog backend works")
    import torch

    found = f"{version} does not work with torch {torch.__version__}, it was built against another one ({failure})"
    return Check("aihwkit", "fail", found, build_command())


def _memory() -> Check:
    available = psutil.virtual_memory().available
    found = f"{available / GIB:.1f} GiB available"
    if available >= ENOUGH_MEMORY_BYTES:
        return Check("memory", "ok", found)
    needed = f"{ENOUGH_MEMORY_BYTES / GIB:.0f} GiB"
    advice = "close other programs, or: scff-hw train RECIPE --set training.batch_size=20"
    return Check("memory", "warn", f"{found}; the convolutional recipes need {needed}", advice)


def _disk(data_dir: Path | None) -> Check:
    from scff_hw.data import data_root

    root = data_root(data_dir).absolute()
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    try:
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Check("disk", "warn", f"{existing}: {error.strerror}", "export SCFF_HW_DATA=/path/with/space")
    found = f"{free / GIB:.1f} GiB free for data under {root}"
    if free >= ENOUGH_DISK_BYTES:
        return Check("disk", "ok", found)
    advice = "free some space, or store the data elsewhere: export SCFF_HW_DATA=/path/with/space"
    return Check("disk", "warn", found, advice)


def _data(data_dir: Path | None) -> Iterator[Check]:
    from scff_hw.data import NAMES, info, verify

    at = f" --data-dir {data_dir}" if data_dir is not None else ""
    for name in NAMES:
        if info(name).bundled:
            yield Check(f"data: {name}", "ok", f"comes with {info(name).comes_with}")
            continue
        try:
            verified = verify(name, data_dir, recorded=False)
        except (DataError, OSError) as error:
            yield Check(f"data: {name}", "warn", str(error).split("; ")[0], f"scff-hw data fetch {name}{at}")
        else:
            size = sum(part.size_bytes for part in verified)
            yield Check(f"data: {name}", "ok", f"whole, {size / 1e6:.0f} MB")


def _sudo() -> str:
    return "" if hasattr(os, "geteuid") and os.geteuid() == 0 else "sudo "


def _pip(arguments: str) -> str:
    return f"{sys.executable} -m pip install {arguments}"
