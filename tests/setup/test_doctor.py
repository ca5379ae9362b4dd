"""`scff_hw.doctor`: results and fixes on machines with missing parts."""

from __future__ import annotations

import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
import torch

from scff_hw import doctor, paths
from scff_hw.core import compiling
from scff_hw.doctor import Check, diagnose
from scff_hw.errors import MissingPartError
from scff_hw.hardware import available


@pytest.fixture(autouse=True)
def no_remembered_compiler():
    compiling.compiler_missing.cache_clear()
    yield
    compiling.compiler_missing.cache_clear()


@pytest.fixture
def find(tmp_path: Path):
    """Diagnose with an empty data directory and return one result."""

    def finding(name: str) -> Check:
        checks = {check.name: check for check in diagnose(data_dir=tmp_path)}
        return checks[name]

    return finding


def cpu_with(monkeypatch: pytest.MonkeyPatch, folder: Path, flags: str) -> None:
    cpuinfo = folder / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: a CPU\n{flags}\n")
    monkeypatch.setattr(doctor, "_CPUINFO", cpuinfo)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def test_every_finding_that_is_not_ok_says_how_to_mend_it(tmp_path: Path) -> None:
    checks = diagnose(data_dir=tmp_path)
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.status in ("ok", "warn", "fail")
        assert check.found
        assert bool(check.advice) == (check.status != "ok"), check


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, find) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("SCFF_HW_COMPILE", raising=False)
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text("#!/bin/sh\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(apt.parent))
    monkeypatch.setattr(sys, "platform", "linux")
    check = find("C++ compiler")
    assert check.status == "warn"
    assert "'g++' is not on the PATH" in check.found and "slower" in check.found
    headers = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    assert check.advice.removeprefix("sudo ") == f"apt-get install g++ {headers}"


@pytest.mark.parametrize("compiler", ["false", "true"])
def test_a_compiler_that_compiles_nothing(monkeypatch: pytest.MonkeyPatch, find, compiler: str) -> None:
    monkeypatch.delenv("SCFF_HW_COMPILE", raising=False)
    monkeypatch.setenv("CXX", f"/bin/{compiler}")
    check = find("C++ compiler")
    assert (check.status, check.advice) == ("warn", "unset CXX")
    assert f"'/bin/{compiler}' does not compile a line of C++ (exit code" in check.found and "slower" in check.found
    monkeypatch.delenv("CXX")
    compiling.compiler_missing.cache_clear()
    assert find("C++ compiler").status == "ok"


def test_a_cache_of_compiled_code_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, find) -> None:
    monkeypatch.delenv("SCFF_HW_COMPILE", raising=False)
    monkeypatch.setattr(compiling, "cache_refused", "the cache /x cannot be written (Read-only file system)")
    check = find("C++ compiler")
    assert check.status == "warn" and check.found.startswith("the cache /x cannot be written (Read-only file system): ")
    assert check.advice == "export TORCHINDUCTOR_CACHE_DIR=/path/that/can/be/written"


@pytest.mark.parametrize(
    ("name", "package", "purpose"),
    [
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi", "building exported C for a Cortex-M"),
        ("qemu-system-arm", "qemu-system-arm", "running exported C on an emulated Cortex-M"),
        ("cppcheck", "cppcheck", "checking the C runtime against MISRA C"),
        ("ngspice", "ngspice", "simulating netlists of crossbars"),
    ],
)
def test_programs_for_exports(
    name: str, package: str, purpose: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, find
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    check = find(name)
    assert check.status == "warn", "a part that is missing stops nothing else"
    assert check.found.startswith("not installed; needed for ") and purpose in check.found
    assert check.advice.removeprefix("sudo ") == f"apt-get install {package}"
    program = tmp_path / "bin" / name
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    check = find(name)
    assert (check.status, check.advice) == ("ok", "")
    assert check.found.startswith(f"{program}, for {purpose}")


def test_compilation_turned_off(monkeypatch: pytest.MonkeyPatch, find) -> None:
    monkeypatch.setenv("SCFF_HW_COMPILE", "0")
    check = find("C++ compiler")
    assert (check.status, check.advice) == ("warn", "unset SCFF_HW_COMPILE")


def test_deep_compiles_where_there_is_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiling, "compiler_missing", lambda: None)
    monkeypatch.setattr(doctor, "_compile_trial", lambda: Check("torch.compile", "ok", "tried"))
    names = [check.name for check in diagnose(deep=True, data_dir=tmp_path)]
    assert "torch.compile" in names
    monkeypatch.setattr(compiling, "compiler_missing", lambda: "no C++ compiler")
    names = [check.name for check in diagnose(deep=True, data_dir=tmp_path)]
    assert "torch.compile" not in names


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_COMPILE_TRIAL", "raise OSError('cc1plus: no memory')")
    check = doctor._compile_trial()
    assert check.status == "warn"
    assert check.found == "failed on a small function: OSError: cc1plus: no memory"
    assert check.advice.endswith("# or: export SCFF_HW_COMPILE=0")


def test_a_compiler_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_COMPILE_TRIAL", "import time; time.sleep(600)")
    monkeypatch.setattr(doctor, "COMPILE_LIMIT_S", 0.5)
    check = doctor._compile_trial()
    assert check.status == "warn"
    assert "not compiled within" in check.found


def test_torch_that_does_not_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    checks = diagnose(data_dir=tmp_path)
    assert checks[-1].name == "PyTorch" and checks[-1].status == "fail"
    assert checks[-1].advice == f"{sys.executable} -m pip install --force-reinstall torch"


def test_threads_held_back_by_the_environment(monkeypatch: pytest.MonkeyPatch, find) -> None:
    monkeypatch.setattr(doctor, "_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    check = find("PyTorch")
    assert (check.status, check.advice) == ("warn", "unset OMP_NUM_THREADS")
    assert "1 of 8 cores" in check.found
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert find("PyTorch").status == "ok"


def test_an_nvidia_gpu_and_the_cpu_build_of_torch(monkeypatch: pytest.MonkeyPatch, find) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "_nvidia_driver", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    check = find("GPU")
    assert check.status == "warn" and "built without CUDA" in check.found
    assert check.advice.endswith("pip install --force-reinstall torch==2.13.0")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "nvidia-smi" in find("GPU").advice


@pytest.mark.parametrize(
    ("flags", "cpu", "bfloat16"),
    [
        ("flags\t\t: fpu sse2 avx avx2 fma", "ok", "warn"),
        ("flags\t\t: fpu sse2 avx", "warn", "warn"),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16", "ok", "ok"),
        ("Features\t: fp asimd sve bf16", "ok", "ok"),
        ("", "ok", "ok"),
    ],
)
def test_instruction_sets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, find, flags: str, cpu: str, bfloat16: str
) -> None:
    cpu_with(monkeypatch, tmp_path, flags)
    if flags.startswith("Features"):
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert find("CPU").status == cpu
    assert find("bfloat16").status == bfloat16


def test_emulated_bfloat16_is_slower(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, find) -> None:
    cpu_with(monkeypatch, tmp_path, "flags\t: avx2")
    check = find("bfloat16")
    assert "emulated here, slower" in check.found
    assert "--set training.dtype=float32" in check.advice


def test_little_memory_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, find) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: namedtuple("M", "available")(2**30))
    monkeypatch.setattr("shutil.disk_usage", lambda path: namedtuple("D", "free")(2**20))
    assert find("memory").status == "warn" and "1.0 GiB available" in find("memory").found
    assert find("disk").status == "warn" and str(tmp_path) in find("disk").found
    assert "SCFF_HW_DATA" in find("disk").advice


def test_data_sets_missing_and_present(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, find) -> None:
    assert find("data: digits").status == "ok"
    check = find("data: mnist")
    assert check.status == "warn" and str(tmp_path) in check.found
    assert check.advice == f"scff-hw data fetch mnist --data-dir {tmp_path}"

    from scff_hw.data import Verified

    monkeypatch.setattr("scff_hw.data.verify", lambda *asked, **options: [Verified(tmp_path, 3_000_000, "MD5")])
    assert find("data: mnist") == Check("data: mnist", "ok", "whole, 3 MB")


def test_missing_package_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, find) -> None:
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "scff_hw")
    check = find("package files")
    assert check.status == "fail"
    assert "The folder 'hardware_profiles' of scff-hw is neither" in check.found
    assert "pip install --force-reinstall" in check.advice


def test_the_compile_trial_compiles() -> None:
    """Needs the compiler that `make setup` installs or names."""
    check = doctor._compile_trial()
    assert check.status == "ok", check


def test_aihwkit_that_is_missing_or_of_another_torch_is_told_apart(monkeypatch: pytest.MonkeyPatch, find) -> None:
    monkeypatch.setattr(available, "aihwkit_version", lambda: None)
    check = find("aihwkit")
    assert (check.status, check.found) == ("warn", "not installed: no analog backend")
    assert check.advice.startswith("make setup")
    monkeypatch.setattr(available, "aihwkit_version", lambda: "1.2.0")
    monkeypatch.setattr(available, "try_in_subprocess", lambda: "RuntimeError: Invalid weights dimensions")
    check = find("aihwkit")
    assert check.status == "fail"
    assert f"1.2.0 does not work with torch {torch.__version__}" in check.found
    assert "built against another one (RuntimeError: Invalid weights dimensions)" in check.found
    assert check.advice.startswith("make setup")


def test_the_mend_outside_a_checkout_is_a_whole_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(available, "__file__", str(tmp_path / "scff_hw" / "hardware" / "available.py"))
    assert "--no-build-isolation --no-binary aihwkit aihwkit==1.2.0" in available.build_command()


def test_a_tile_is_really_tried() -> None:
    """The analog backend must work wherever the tests run; its tests are not skipped."""
    assert available.aihwkit_version() is not None, available.build_command()
    assert available.try_in_subprocess() is None
    available.require_aihwkit()


def test_an_aihwkit_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("Invalid weights dimensions: expected [50,100] tensor")

    available.require_aihwkit.cache_clear()
    monkeypatch.setattr(available, "trial", broken)
    with pytest.raises(MissingPartError, match=r"built against another one \(RuntimeError: .*; type: make setup"):
        available.require_aihwkit()
    monkeypatch.setattr(available, "aihwkit_version", lambda: None)
    with pytest.raises(MissingPartError, match=r"needs aihwkit, which is not installed; type: make setup"):
        available.require_aihwkit()
