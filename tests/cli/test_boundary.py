"""Command line and system: signals, streams, names, memory, plug-ins, help."""

# ruff: noqa: E501 (one case a line, each message whole, so that it is found by searching for it)
from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from scff_hw import recipes
from scff_hw.cli._app import app, command
from scff_hw.cli._output import emit_json
from scff_hw.cli._progress import command_progress
from scff_hw.core import rules
from scff_hw.training.run_context import StopRequest

BRACKETED = re.compile(r"\[[^\[\]]+\]")


def commands(group: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """All commands and groups by their words."""
    found = {path: group}
    for name, inner in getattr(group, "commands", {}).items():
        found |= commands(inner, (*path, name))
    return found


def texts(part: Any) -> str:
    """The help texts in the source of a command."""
    params = [getattr(param, "help", None) or "" for param in part.params]
    return " ".join([part.help or "", *params])


@pytest.mark.parametrize("path", commands(typer.main.get_command(app)), ids=" ".join)
def test_help_shows_every_text_in_brackets(path: tuple[str, ...], cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    written = BRACKETED.findall(texts(commands(typer.main.get_command(app))[path]))
    result = cli(*path, "--help")
    assert result.code == 0
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.out).split())
    assert [text for text in written if " ".join(text.split()) not in shown] == []
    assert "\\[" not in shown


def test_the_help_that_is_asked_for_has_texts_in_brackets() -> None:
    assert sum(len(BRACKETED.findall(texts(part))) for part in commands(command()).values()) >= 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("instead", [False, True], ids=["as it is", "as a failed import"])
def test_a_run_that_has_not_begun_is_not_said_to_resume(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, instead: bool
) -> None:
    def interrupted(*_: Any) -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if instead:
                raise ImportError("initialization failed") from None
            raise

    monkeypatch.setattr("scff_hw.training.session.recipe_dataset", interrupted)
    result = cli("train", "iris-mlp", "--out", "run")
    assert (result.code, result.err) == (1, "Interrupted before anything was saved.\n")
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    monkeypatch.setattr("scff_hw.recipes.list_recipes", interrupted)
    result = cli("recipes", "list")
    assert (result.code, result.err) == (1, "Interrupted.\n")


@pytest.mark.parametrize("ignored", [False, True], ids=["closed terminal", "nohup"])
def test_a_closed_terminal_stops_a_command_that_does_not_ignore_it(
    cli: Any, monkeypatch: pytest.MonkeyPatch, ignored: bool
) -> None:
    inner = recipes.list_recipes

    def hung_up() -> Any:
        signal.raise_signal(signal.SIGHUP)
        return inner()

    monkeypatch.setattr("scff_hw.recipes.list_recipes", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        result = cli("recipes", "list")
        stop = StopRequest()
        with stop.catching_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.code == (0 if ignored else 1), result.err
    assert (result.err == "Interrupted.\n") == (not ignored)
    assert stop.requested == (not ignored), "a run in training is saved first"


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("scff_hw.cli._boundary", signal.SIGINT),  # before there is a handler, SIGTERM ends a process without a word
        ("typer", signal.SIGINT),
        ("typer", signal.SIGTERM),
        ("rich.console", signal.SIGTERM),
    ],
)
def test_a_signal_during_the_first_imports_is_one_line(module: str, number: signal.Signals) -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r} and Stop in map(type, sys.meta_path):\n"
        "            sys.meta_path.pop(0)\n"
        f"            signal.raise_signal({int(number)})\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from scff_hw.cli import main\n"
        "sys.exit(main(['--version']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Interrupted.\n")


def test_a_closed_standard_output_is_an_error_of_one_line() -> None:
    command = f"exec '{sys.executable}' -m scff_hw --version >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=120)
    sentence = "Error: Standard output is closed, so the result could not be printed there.\n"
    assert (done.returncode, done.stderr) == (1, sentence)


def test_json_needs_no_more_than_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    emit_json({"run": "é\u2028"})
    assert json.loads(written.getvalue()) == {"run": "é\u2028"} and written.getvalue().count(b"\n") == 1


def test_work_goes_on_where_standard_error_has_no_reader(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def shows_progress() -> dict[str, str]:
        with command_progress() as progress:
            progress.start("layer 1", 2)
            progress.note("a line")
            progress.finish()
        return {"mine": "done"}

    monkeypatch.setattr("scff_hw.recipes.list_recipes", shows_progress)
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", buffering=1) as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        assert cli("recipes", "list").code == 0
        result = cli("recipes", "list", "--json")
    assert (result.code, json.loads(result.out)["recipes"][0]["description"]) == (0, "done")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "iris-mlp", "--out", "a\nb"], "'a\\nb' must be a name on one line, without control characters."),
        (["export", "onnx", "run", "--out", "a\x1b"], "'a\\x1b' must be a name on one line"),
        (["train", "iris-mlp", "--out", "a\udcff"], "The arguments must be UTF-8 text. Got 'a\\udcff' instead."),
        (["train", "iris-mlp", "--seeds", str(10**9)], "1000000000 is more than 10000."),
        (["study", "noise", "iris-mlp", "--seeds", str(10**9)], "1000000000 is more than 10000."),
        (["train", "iris-mlp", "--seed", str(2**64)], "18446744073709551616 is more than 18446744073709551615."),
        (["train", "iris-mlp", "--seed", "1" * 4000], "... is more than 18446744073709551615."),
        (
            ["train", "iris-mlp", "--seed", str(2**64 - 1), "--seeds", "2"],
            "The last of the 2 seeds must be at most 18446744073709551615. Got 18446744073709551616 instead.",
        ),
        (["bench", "core", "--threads", str(10**9)], "1000000000 is more than 1024."),
    ],
    ids=lambda case: " ".join(case)[:40].encode("ascii", "backslashreplace").decode() if isinstance(case, list) else "",
)
def test_names_and_numbers_are_checked_first(cli: Any, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert sentence in result.err and len(result.err) < 300
    assert list(tmp_path.iterdir()) == []


def test_formats_that_the_backend_leaves_aside_are_said(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = cli("train", "iris-mlp", "--set", "fixed_point.weight_bits=4", "--out", "file")
    sentence = "Warning: --set fixed_point.weight_bits=4 changes nothing: fixed_point is for --backend fixed alone."
    assert (result.code, result.err.splitlines()[0]) == (2, sentence)


@pytest.mark.parametrize(
    ("allocate", "sentence"),
    [
        (lambda *_: torch.empty(2**50), "Not enough memory for 4194304.0 GiB; choose smaller layers"),
        (lambda *_: bytearray(2**62), "Not enough memory; choose smaller layers, smaller batches or fewer samples."),
    ],
)
def test_memory_that_cannot_be_had_is_no_bug(
    cli: Any, monkeypatch: pytest.MonkeyPatch, allocate: Any, sentence: str
) -> None:
    monkeypatch.setattr("scff_hw.recipes.list_recipes", allocate)
    result = cli("recipes", "list")
    assert result.code == 1
    assert result.err.startswith(f"Error: {sentence}") and result.err.count("\n") == 1


@pytest.fixture
def my_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with a failing rule and backend, and a rule that cannot be imported."""
    site = tmp_path / "site"
    info = site / "my_rules-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-rules\nVersion: 0.1\n")
    (info / "top_level.txt").write_text("my_rules\n")
    (info / "entry_points.txt").write_text(
        "[scff_hw.rules]\nmine = my_rules:Mine\nlost = my_rules:Lost\nother = my_rules:Mine\nodd = my_rules:odd\n"
        "[scff_hw.backends]\nchip = my_rules:Chip\n"
    )
    (site / "my_rules.py").write_text(
        "from dataclasses import dataclass\n"
        "from scff_hw.backends import Backend\n"
        "from scff_hw.core import Rule\n"
        "odd = 3\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Rule):\n"
        "    name = 'mine'\n"
        "    def errors(self, signals):\n"
        "        return 1 / 0\n"
        "class Chip(Backend):\n"
        "    name = 'chip'\n"
        "    def __init__(self, dtype, device):\n"
        "        {}['chip']\n"
        "    def array(self, weight, bias, geometry, optimisation, name=''):\n"
        "        raise NotImplementedError\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(rules.RULES, "_items", dict(rules.RULES._items))
    monkeypatch.setattr("scff_hw.registry._PLUGINS", {})
    monkeypatch.delitem(sys.modules, "my_rules", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--set", "training.rule.name=mine"], 1, "ZeroDivisionError: division by zero - raised in the rule 'mine' of the package my-rules; SCFF_HW_DEBUG=1 shows the traceback."),
        (["--backend", "chip"], 1, "KeyError: 'chip' - raised in the backend 'chip' of the package my-rules; SCFF_HW_DEBUG=1 shows the traceback."),
        (["--set", "training.rule.name=lost"], 1, "The rule 'lost' of the package my-rules cannot be loaded from my_rules:Lost: AttributeError: module 'my_rules' has no attribute 'Lost'"),
        (["--set", "training.rule.name=other"], 2, "The entry point 'other' of scff_hw.rules must give a rule of that name. Got 'mine' instead."),
        (["--set", "training.rule.name=odd"], 2, "A rule must be a subclass of scff_hw.core.Rule with a name. Got 3 instead."),
    ],
    ids=["rule", "backend", "import", "name", "type"],
)  # fmt: skip
def test_what_fails_in_another_package_is_named(
    my_package: Path, cli: Any, tiny: list[str], arguments: list[str], code: int, sentence: str
) -> None:
    result = cli("train", "iris-mlp", *tiny, "--out", "run", *arguments)
    assert (result.code, result.err.splitlines()[-1]) == (code, f"Error: {sentence}")
    assert list(my_package.glob("*.traceback")) == []


def test_the_traceback_of_another_package_is_shown_on_request(
    my_package: Path, cli: Any, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCFF_HW_DEBUG", "1")
    result = cli("train", "iris-mlp", *tiny, "--out", "run", "--set", "training.rule.name=mine")
    assert "in errors\n" in result.err and "return 1 / 0" in result.err
