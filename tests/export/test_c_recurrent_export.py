"""Runs of a recurrent layer exported as C: the selftest of the folder, on the host and on emulated boards."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scff_hw.cli import main
from scff_hw.errors import UsageError
from scff_hw.export.c.model import export_c
from scff_hw.export.c.recurrent import recurrent_golden
from scff_hw.export.fixed_recurrent_run import RecurrentRun
from scff_hw.recipes import load_recipe
from scff_hw.training import train
from scff_hw.training.finished import FinishedRun

SMALL = [
    *("layers.1.directions=1", "layers.1.units=21", "layers.1.learn.epochs=1", "layers.1.learn.learning_rate=0.03125"),
    *("layers.1.learn.optimiser=sgd", "layers.1.learn.weight_decay=0", "layers.1.learn.momentum=0"),
    *("training.batch_size=20", "readout.solver=ridge", "controls.backprop=null", "controls.untrained=false"),
]
RANDOM = ("fixed_point.shadow_bits=0", "fixed_point.rounding=half_up", "layers.1.output=final-and-mean")


@pytest.fixture(scope="module")
def recurrent(spoken: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function to a finished run of one direction on tones, in fixed point."""
    known: dict[tuple[str, ...], Path] = {}

    def make(*overrides: str) -> Path:
        if overrides not in known:
            known[overrides] = tmp_path_factory.mktemp("recurrent") / "run"
            recipe = load_recipe("fsdd-birnn-best", [*SMALL, *overrides])
            train(recipe, known[overrides], backend="fixed", data_dir=spoken)
        return known[overrides]

    return make


def test_the_integers_of_a_run_recognise_as_many_as_the_run(recurrent: Any, spoken: Path) -> None:
    run = recurrent()
    network = RecurrentRun.of(FinishedRun.open(run, spoken))
    labels = network.run.dataset.part("test").labels
    assert labels is not None
    found = network.logits(network.sequences("test", range(len(labels)))).argmax(axis=1)
    wanted = json.loads((run / "summary.json").read_text())["metrics"]["test_accuracy"]
    assert (found == labels.numpy()).mean() == pytest.approx(wanted)
    assert wanted > 0.5


@pytest.mark.parametrize("formats", [(), RANDOM], ids=["shadow", "at random"])
@pytest.mark.parametrize("target", ["host", "cortex-m0", "cortex-m4", "cortex-m55"])
def test_a_run_answers_and_learns_in_c(
    target: str, formats: tuple[str, ...], recurrent: Any, spoken: Path, tmp_path: Path, call: Any, tool: Any
) -> None:
    run, out = recurrent(*formats), tmp_path / "out"
    manifest = export_c(run, out, target, spoken)
    if target == "host":
        options = ["CFLAGS=-g -fsanitize=address,undefined -fno-sanitize-recover"]
    else:
        options = []
        tool("arm-none-eabi-gcc")
        tool("qemu-system-arm")
    said = call(tool("make"), "run", *options, cwd=out, timeout=300)
    header = (tmp_path / "out" / "model_fsdd_birnn_best.h").read_text()
    assert "MFCC 1 to 39 of a frame, in dB" in header and "16000 Hz" in header and "one per coefficient" in header
    assert header.count("f,") == 2 * 38 and '"0", "1", "2"' in (
        tmp_path / "out" / "model_fsdd_birnn_best.c"
    ).read_text()
    assert "PASS model_fsdd_birnn_best: 3 answers and 3 updates as in the integer reference" in said
    assert manifest["ram_bytes"] == sum(row["bytes"] for row in manifest["memory"] if row["where"] == "RAM")
    assert manifest == json.loads((out / "manifest.json").read_text())
    if target == "cortex-m4":
        symbols = call(tool("arm-none-eabi-nm"), out / "selftest.elf")
        assert "scff_rnn_learn" in symbols
        assert not re.search(r"malloc|printf|__aeabi_[fd](add|mul|sub|div|cmp)|__aeabi_[iul]+2[fd]", symbols)


@pytest.mark.parametrize("name", ["main", "scff"])
def test_a_recipe_may_be_called_like_a_file_of_the_folder(
    name: str, recurrent: Any, spoken: Path, tmp_path: Path, call: Any, tool: Any
) -> None:
    out = tmp_path / "out"
    export_c(recurrent(f"name={name}", "readout.solver=ridge"), out, data_dir=spoken)
    assert (out / f"model_{name}.h").is_file()
    assert f"PASS model_{name}: 3 answers" in call(tool("make"), "run", cwd=out, timeout=300)


@pytest.fixture(scope="module")
def exported(recurrent: Any, spoken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of C for this machine."""
    out = tmp_path_factory.mktemp("exported") / "out"
    export_c(recurrent(), out, data_dir=spoken)
    return out


@pytest.mark.parametrize(
    ("table", "said"),
    [("logits", "answers from flash"), ("crcs", "learned weights"), ("classes", "answers from flash")],
)
def test_a_selftest_that_finds_another_number_fails(
    table: str, said: str, exported: Path, tmp_path: Path, tool: Any
) -> None:
    out = Path(shutil.copytree(exported, tmp_path / "out"))
    text = (out / "selftest.c").read_text()
    start = re.search(rf"static const \w+ {table}\[.*?= \{{[\s{{]*", text)
    assert start is not None
    number = re.match(r"-?\d+", text[start.end() :])
    assert number is not None
    rest = text[start.end() + number.end() :]
    (out / "selftest.c").write_text(f"{text[: start.end()]}{int(number[0]) ^ 1}{rest}")
    done = subprocess.run([tool("make"), "run"], cwd=out, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and f"FAIL model_fsdd_birnn_best: {said}" in done.stdout


def test_the_command_says_what_it_takes(recurrent: Any, spoken: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["export", "c", str(recurrent()), "--data-dir", str(spoken), "--out", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["max_steps"] == (2**31 - 1) // (127 * 127) // 4
    assert {"sums of gradients", "scratch of a step"} < {row["buffer"] for row in found["memory"]}
    small = ["--target", "cortex-m4", "--profile-set", "memory.ram=4KiB"]
    assert main([*command[:-1], str(tmp_path / "small"), *small]) == 2
    assert "bytes of RAM more than" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "said"), [(["--batch", "4"], "--batch"), (["--learn", "10"], "--learn")])
def test_a_stream_of_samples_is_refused(
    options: list[str], said: str, recurrent: Any, spoken: Path, tmp_path: Path, capsys: Any
) -> None:
    command = ["export", "c", str(recurrent()), "--data-dir", str(spoken), "--out", str(tmp_path / "out")]
    assert main([*command, *options]) == 2
    message = capsys.readouterr().err
    assert "takes one step at a time, and no stream of samples is written for it. Got " + said in message
    assert not (tmp_path / "out").exists()


def test_two_directions_are_refused(recurrent: Any, spoken: Path, tmp_path: Path, capsys: Any) -> None:
    run = recurrent("layers.1.directions=2", "readout.solver=ridge")
    assert main(["export", "c", str(run), "--data-dir", str(spoken), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "The layers to export as C must be feed-forward. Got the recurrent layer of" in message
    assert "have one direction: train it with --set layers.1.directions=1" in message.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_sequences_that_the_sums_do_not_hold_are_refused(recurrent: Any, spoken: Path) -> None:
    network = RecurrentRun.of(FinishedRun.open(recurrent(), spoken))
    with pytest.raises(UsageError, match=r"must hold the sums of \d+ steps, of two sequences\. They hold those of 5;"):
        recurrent_golden(network, 5)
