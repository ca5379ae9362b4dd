"""The Makefile and `make setup`, with a stand-in for Python that logs its calls."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = {"help", "setup", "demo", "lint", "test", "clean"}
TOOLS = ["sh", "make", "cat", "chmod", "cksum", "cp", "dirname", "env", "grep", "ln", "mkdir", "mv", "rm", "sed"]

STAND_IN = """#!/bin/sh
echo "$@" >>"$LOG"
case "$*" in
*version_info\\ \\<*) {recent} ;;
*"import ensurepip"*) {ensurepip} ;;
"-m venv .venv")
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    echo "#!$PWD/.venv/bin/python" >.venv/bin/pip
    ;;
*include*) echo "$INCLUDE" ;;
*python%d.%d-venv*) echo python3.11-venv ;;
*python%d.%d-dev*) echo python3.11-dev ;;
--version) echo "Python {version}" ;;
"-m pip"*torch==*+cpu) {torch} ;;
*'m.version("torch")'*) exit 1 ;;
*tile_trial*) {trial} ;;
esac
"""


class Machine:
    """A folder with the project's set-up files, and a PATH with only TOOLS and the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.log = folder / "project", folder / "bin", folder / "log"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or f"/missing/{tool}")
        (self.folder / ".ci").mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/setup", ".ci/tools"):
            shutil.copy(ROOT / name, self.folder / name)
        self.include = folder / "include"
        self.include.mkdir()
        (self.include / "Python.h").touch()
        self.command("id", "echo 1000")
        self.command("uname", "echo Linux")
        self.command("g++", "exit 0")
        self.python()

    def command(self, name: str, line: str) -> None:
        place = self.bin / name
        place.unlink(missing_ok=True)
        place.write_text(f"#!/bin/sh\n{line}\n")
        place.chmod(0o755)

    def python(
        self,
        version: str = "3.11.2",
        recent: str = ":",
        ensurepip: str = ":",
        torch: str = ":",
        trial: str = ":",
    ) -> None:
        """Put a stand-in on the PATH; the last four parameters define its responses."""
        place = self.bin / "python3"
        place.write_text(STAND_IN.format(version=version, recent=recent, ensurepip=ensurepip, torch=torch, trial=trial))
        place.chmod(0o755)

    def setup(self, *variables: str) -> subprocess.CompletedProcess[str]:
        """Run `make setup`; the calls of Python are then in `self.calls`."""
        self.log.write_text("")
        environment = {"PATH": str(self.bin), "LOG": str(self.log), "INCLUDE": str(self.include)}
        return subprocess.run(
            ["make", "setup", *variables], cwd=self.folder, env=environment, capture_output=True, text=True
        )

    @property
    def calls(self) -> str:
        return self.log.read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def make(*arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_help_lists_every_target() -> None:
    listed = set(re.findall(r"^make (\w+) +\S", make("help"), re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())
    assert listed == phony == TARGETS


def test_make_test_sets_up_then_checks_style_types_and_behaviour() -> None:
    steps = make("-n", "test")
    order = [steps.index(step) for step in (".ci/setup", "ruff check", "pyright", "pytest")]
    assert order == sorted(order)


def test_make_demo_sets_up_then_runs_the_demo() -> None:
    steps = make("-n", "demo")
    assert steps.index(".ci/setup") < steps.index("scff-hw demo")


def test_scripts_may_be_run() -> None:
    for name in (".ci/run", ".ci/setup", ".ci/tools"):
        assert os.access(ROOT / name, os.X_OK), name
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)


def test_setup_installs_what_is_pinned_and_is_quick_the_second_time(machine: Machine) -> None:
    first = machine.setup()
    assert first.returncode == 0, first.stderr
    pins = (ROOT / "constraints.txt").read_text()
    release = re.findall(r"^torch==(.*)$", pins, re.MULTILINE)[0]
    assert f"-m pip install -q --no-deps --no-index torch=={release}+cpu" in machine.calls
    assert "-m pip install -q -c constraints.txt --no-build-isolation -e .[dev]" in machine.calls

    second = machine.setup()
    assert (second.returncode, second.stdout) == (0, "")
    assert "pip" not in machine.calls


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_is_installed_into_the_same_environment(machine: Machine, changed: str) -> None:
    machine.setup()
    with (machine.folder / changed).open("a") as file:
        file.write("\n# changed\n")
    machine.setup()
    assert "-m pip install" in machine.calls and "-m venv" not in machine.calls


def test_a_killed_setup_is_begun_again(machine: Machine) -> None:
    machine.python(torch="kill -9 $PPID")
    assert machine.setup().returncode != 0
    assert (machine.folder / ".venv/.unfinished").exists()

    machine.python()
    assert machine.setup().returncode == 0
    assert "-m venv .venv" in machine.calls
    assert not (machine.folder / ".venv/.unfinished").exists()
    assert not list(machine.folder.glob(".setup.lock*")), "the lock of the killed one is taken over"


def test_of_two_at_once_one_sets_up_and_the_other_names_it(machine: Machine) -> None:
    """The second starts while the first installs torch; it must not remove the environment of the first."""
    machine.python(torch=": >.venv/of-the-first; [ -e $LOG.second ] || make setup >$LOG.second 2>&1 || :")
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    second = machine.log.with_name("log.second").read_text()
    assert re.search(r"setup: another setup \(process \d+\) is running in .*; wait until it ends\.", second)
    assert f"rm {machine.folder}/.setup.lock" in second and "Error 1" in second
    assert (machine.folder / ".venv/of-the-first").exists()
    assert machine.calls.count("-m venv .venv") == 1
    assert not list(machine.folder.glob(".setup.lock*"))


@pytest.mark.parametrize("name", ["HUP", "INT", "TERM"])
def test_a_stopped_setup_gives_its_lock_back(machine: Machine, name: str) -> None:
    machine.python(torch=f"kill -{name} $PPID")
    number = signal.Signals[f"SIG{name}"]
    before = signal.signal(number, signal.SIG_DFL)  # below nohup, children would ignore HUP
    try:
        assert machine.setup().returncode != 0
    finally:
        signal.signal(number, before)
    assert not list(machine.folder.glob(".setup.lock*"))


@pytest.mark.parametrize("name", ["with space", "with * star", "with'quote", "plain"])
def test_a_python_whose_path_is_unusual(machine: Machine, name: str) -> None:
    folder = machine.bin.parent / name
    folder.mkdir()
    python = (machine.bin / "python3").rename(folder / "python 3")
    done = machine.setup(f"PYTHON={python}")
    assert done.returncode == 0, done.stderr
    assert "-m venv .venv" in machine.calls


def test_the_python_that_was_named_is_the_one_that_is_too_old(machine: Machine) -> None:
    machine.python(version="3.9.2", recent="exit 1")
    old = (machine.bin / "python3").rename(machine.bin / "old python")
    machine.python()
    done = machine.setup(f"PYTHON={old}")
    assert done.returncode != 0 and "found is: Python 3.9.2." in done.stderr


def test_where_there_is_no_cpu_build_of_torch_the_general_one_is_taken(machine: Machine) -> None:
    machine.python(torch="exit 1")
    done = machine.setup()
    assert done.returncode == 0
    assert "no CPU build of torch" in done.stdout
    assert "https://download.pytorch.org/whl/cpu" in machine.calls


def test_where_there_is_an_nvidia_driver_torch_comes_with_cuda(machine: Machine) -> None:
    machine.command("nvidia-smi", "exit 0")
    assert machine.setup().returncode == 0
    assert "+cpu" not in machine.calls


def test_a_moved_checkout_gets_a_new_environment(machine: Machine) -> None:
    machine.setup()
    machine.folder = machine.folder.rename(machine.folder.with_name("moved"))
    assert machine.setup().returncode == 0
    assert "-m venv .venv" in machine.calls


def test_an_old_python_is_named(machine: Machine) -> None:
    machine.python(version="3.9.2", recent="exit 1")
    done = machine.setup()
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed, and found is: Python 3.9.2." in done.stderr
    assert "sudo apt-get install python3 python3-venv" in done.stderr
    assert not (machine.folder / ".venv").exists()


def test_a_missing_venv_module_is_installed_as_root_and_else_its_command_is_said(machine: Machine) -> None:
    machine.python(ensurepip="[ -e $LOG.venv ]")
    machine.command("apt-get", 'case "$*" in *python3.11-venv*) : >$LOG.venv ;; esac')
    done = machine.setup()
    assert done.returncode != 0
    assert "type: sudo apt-get install python3.11-venv" in done.stderr
    assert not (machine.folder / ".venv").exists()

    machine.command("id", "echo 0")
    assert machine.setup().returncode == 0


def test_a_missing_compiler_and_headers_are_optional(machine: Machine) -> None:
    (machine.bin / "g++").unlink()
    (machine.include / "Python.h").unlink()
    done = machine.setup()
    assert done.returncode == 0
    assert "works without a C++ compiler" in done.stdout
    assert "type: sudo apt-get install g++ python3.11-dev" in done.stdout


def test_an_aihwkit_that_does_not_work_is_built_and_else_left_out(machine: Machine) -> None:
    machine.python(trial="exit 1")
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    assert "the analog backend does not work here, everything else does: aihwkit" in done.stdout
    assert "--no-build-isolation --no-binary aihwkit --no-deps" in machine.calls or "libopenblas-dev" in done.stdout
    assert not (machine.folder / ".venv/.aihwkit-key").exists()

    # tried again the next time, and when it works, never more
    machine.setup()
    assert "tile_trial" in machine.calls
    (machine.folder / ".venv" / "bin" / "python").unlink()
    machine.python()
    assert machine.setup().returncode == 0
    assert (machine.folder / ".venv/.aihwkit-key").exists()
    machine.setup()
    assert "pip" not in machine.calls and "tile_trial" not in machine.calls
