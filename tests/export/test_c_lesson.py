"""Learning images: from random weights to what the integer reference ends with, on the host and on emulated boards."""

from __future__ import annotations

import ctypes
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scff_hw.backends.fixed.reference.layer import IntegerLayer
from scff_hw.backends.fixed.reference.readout import untrained
from scff_hw.cli import main
from scff_hw.errors import ProfileError, UsageError
from scff_hw.export.c.layer import LayerConstants
from scff_hw.export.c.model import export_c
from scff_hw.export.c.stream import STREAM, Lesson, write_stream
from scff_hw.export.c.targets import TARGETS
from scff_hw.export.fixed_run import IntegerRun
from scff_hw.recipes import load_recipe
from scff_hw.training import train
from scff_hw.training.finished import FinishedRun

LESSON = Lesson(samples=200, labels=150, tests=100)
THOUSAND = Lesson(samples=1000, labels=100, tests=50, epochs=2)
CORES = [target for target in TARGETS if target != "host"]
SIMD = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
RANDOM = ("fixed_point.shadow_bits=0", "fixed_point.weight_bits=4", "fixed_point.rounding=half_up")
WITHOUT_SHADOW = ["fixed_point.shadow_bits=0", "controls.backprop=null"]
SHORT = ["layers.1.learn.epochs=1", "readout.solver=ridge", "controls.backprop=null", "controls.untrained=false"]


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
def test_c_learns_a_thousand_labels_as_the_reference_does(rounding: Any, library: ctypes.CDLL, structs: Any) -> None:
    rng = np.random.default_rng(1)
    classes, features, frac, feature_frac = 7, 45, 6, 5
    readout = untrained(classes, features, frac, feature_frac, rounding)
    constants = LayerConstants.of_readout(classes, features, frac, feature_frac, rounding)
    fracs = np.array([frac], np.int8)
    struct = structs.Layer(
        **{
            name: value
            for name, value in constants.initialisers()
            if name not in ("pool", "readout_pool", "weight_frac")
        }
    )
    struct.weight_frac = fracs.ctypes.data
    weight, shadow = np.zeros((classes, features), np.int8), np.zeros((classes, features), np.int16)
    bias, logits = np.zeros(classes, np.int32), np.zeros(classes, np.int32)
    state = structs.State(weight.ctypes.data, shadow.ctypes.data, bias.ctypes.data, None)
    for _ in range(1000):
        x = rng.integers(-127, 128, features).astype(np.int8)
        label, rate_shift = int(rng.integers(classes)), int(rng.integers(0, 10))
        status = library.scff_learn_readout(
            ctypes.byref(struct),
            ctypes.byref(state),
            ctypes.c_void_p(x.ctypes.data),
            ctypes.c_uint32(label),
            ctypes.c_int32(rate_shift),
            ctypes.c_void_p(logits.ctypes.data),
        )
        assert status == 0
        readout.learn(x.astype(np.int64), label, rate_shift)
        assert np.array_equal(readout.stored, shadow) and np.array_equal(readout.quantised, weight)
        assert np.array_equal(readout.bias, bias)
    assert np.abs(shadow).max() == 2**15 - 1  # saturation was met


@pytest.mark.parametrize(
    "formats", [(), RANDOM, ("fixed_point.weight_scales=channel", "fixed_point.shadow_bits=32")], ids=str
)
def test_first_weights_are_the_same_in_c(
    formats: tuple[str, ...], finished: Any, c_layer: Any, library: ctypes.CDLL
) -> None:
    network = IntegerRun.of(FinishedRun.open(finished("digits-mlp", *formats)))
    for layer, shape in zip(network.layers, network.shapes, strict=True):
        assert isinstance(layer, IntegerLayer)
        c = c_layer(layer, shape)
        library.scff_start(ctypes.byref(c.struct), ctypes.byref(c.state), ctypes.c_uint32(99))
        layer.start(99)
        assert np.array_equal(layer.stored, c.stored) and np.array_equal(layer.weight, c.weight)
        assert np.array_equal(layer.bias, c.bias)
        if layer.spec.formats.stochastic:
            assert np.array_equal(layer.states, c.states)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`write_stream`, which lets the integer reference learn a run's lesson once, whichever the target."""
    folder = tmp_path_factory.mktemp("streams")
    known: dict[Any, Any] = {}

    def write(network: IntegerRun, lesson: Lesson, batch: int, path: Path, *others: Any) -> Any:
        key = (str(network.run.recipe), lesson, batch)
        stored = folder / str(list(known).index(key) if key in known else len(known))
        if key not in known:
            known[key] = write_stream(network, lesson, batch, stored, *others)
        shutil.copy(stored, path)
        return known[key]

    return write


def test_a_stream_does_not_depend_on_the_target(finished: Any, tmp_path: Path) -> None:
    for target in ("host", "cortex-m0", "cortex-m55"):
        export_c(finished("digits-100", *RANDOM), tmp_path / target, target, lesson=LESSON)
    assert len({(tmp_path / target / STREAM).read_bytes() for target in ("host", "cortex-m0", "cortex-m55")}) == 1


@pytest.mark.parametrize("formats", [(), RANDOM], ids=["shadow", "at random"])
@pytest.mark.parametrize("target", ["host", *CORES])
def test_a_device_ends_a_thousand_updates_with_the_weights_of_the_reference(
    target: str,
    formats: tuple[str, ...],
    finished: Any,
    streams: Any,
    tmp_path: Path,
    call: Any,
    tool: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two layers, with the vector instructions of the core and without."""
    monkeypatch.setattr("scff_hw.export.c.model.write_stream", streams)
    out = tmp_path / "out"
    manifest = export_c(finished("digits-mlp", *formats), out, target, lesson=THOUSAND, batch=2)
    if target != "host":
        tool("arm-none-eabi-gcc")
        tool("qemu-system-arm")
    taught = manifest["lesson"]
    assert taught["samples"] * taught["epochs"] // taught["batch"] == 1000
    assert STREAM in manifest["files"]
    for flags in ["", "-DSCFF_SCALAR"] if target in SIMD else [""]:
        call(tool("make"), "clean", cwd=out)
        said = call(tool("make"), "learn", f"CFLAGS={flags}", cwd=out)
        answer = f"{taught['correct']} of {taught['tests']} correct, the reference {taught['correct']}"
        assert f"PASS model_digits_mlp: {answer}; weights are the same" in said


@pytest.mark.parametrize(
    ("factors", "periods"),
    [((0.5, 1e-9), (1, 7)), ((0.8, 0.5), (13, 14))],
    ids=["every batch, and every 7 to a rate of almost 0", "before an epoch ends, and as it ends"],
)
def test_a_stream_has_the_rates_that_the_trainer_took_batch_by_batch(
    factors: tuple[float, float], periods: tuple[int, int], finished: Any, tmp_path: Path, call: Any, tool: Any
) -> None:
    """A device that learns in the recipe's batches has the trainer's rates, and ends with the reference's weights."""
    decays = [
        text
        for layer, (factor, period) in enumerate(zip(factors, periods, strict=True), start=1)
        for text in (
            f"layers.{layer}.learn.decay_factor={factor}",
            f"layers.{layer}.learn.decay_period_batches={period}",
            f"layers.{layer}.learn.epochs=2",
        )
    ]
    run = finished("digits-mlp", "training.batch_size=100", *decays)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    taken = [[row["learning_rate"] for row in rows if row["kind"] == "batch" and row["layer"] == k] for k in (1, 2)]
    manifest = export_c(run, tmp_path / "out", batch=100, lesson=Lesson(samples=1437, labels=8, tests=8, epochs=2))
    assert manifest["lesson"]["samples"] == 1437 and len(taken[0]) == len(taken[1]) == 2 * (1437 // 100)
    streamed = rates_of((tmp_path / "out" / STREAM).read_bytes())
    assert [tuple(2.0**-shift for shift in shifts) for shifts in streamed] == list(zip(*taken, strict=True))
    assert len({*map(tuple, streamed)}) > 2
    said = call(tool("make"), "learn", "OPTIMISE=-O1", cwd=tmp_path / "out")
    assert "PASS" in said and "weights are the same" in said


def rates_of(stream: bytes) -> list[tuple[int, ...]]:
    """The rate shifts of each batch of a stream."""
    inputs, layers = struct.unpack_from("<2I", stream, 8)
    at, found = 28, []
    while struct.unpack_from("<I", stream, at)[0] == 1:
        count = struct.unpack_from("<I", stream, at + 4)[0]
        found.append(struct.unpack_from(f"<{layers}i", stream, at + 12))
        at += 12 + 4 * layers + count * inputs
    return found


@pytest.mark.parametrize(
    ("recipe", "overrides", "ram_kib", "lesson"),
    [
        ("mnist-128", SHORT, 64, Lesson(samples=4000, labels=1500, tests=500)),
        pytest.param("mnist-128", [], 64, Lesson(60000, 60000, 10000), marks=pytest.mark.slow),
        pytest.param("mnist-500", WITHOUT_SHADOW, 512, Lesson(20000, 10000, 10000), marks=pytest.mark.slow),
    ],
    ids=["14 x 14", "14 x 14, all digits", "28 x 28"],
)
def test_mnist_is_learned_on_a_cortex_m4(
    recipe: str,
    overrides: list[str],
    ram_kib: int,
    lesson: Lesson,
    real_data: Path,
    tmp_path: Path,
    call: Any,
    tool: Any,
) -> None:
    """It ends with the accuracy that Python predicted, within the memories of the chip."""
    train(load_recipe(recipe, overrides), tmp_path / "run", backend="fixed", data_dir=real_data)
    memories = [f"memory.ram={ram_kib}KiB", "memory.flash=1MiB"]
    manifest = export_c(tmp_path / "run", tmp_path / "out", "cortex-m4", real_data, overrides=memories, lesson=lesson)
    tool("arm-none-eabi-gcc")
    tool("qemu-system-arm")
    said = call(tool("make"), "learn", cwd=tmp_path / "out", timeout=7200)
    taught = manifest["lesson"]
    answer = f"{taught['correct']} of {lesson.tests} correct, the reference"
    assert f"PASS model_{recipe.replace('-', '_')}: {answer}" in said
    assert taught["correct"] > taught["correct_untrained"] > 0.6 * lesson.tests
    text, _, bss = call(tool("arm-none-eabi-size"), tmp_path / "out" / "lesson.elf").splitlines()[1].split()[:3]
    assert manifest["ram_bytes"] - 64 <= int(bss) <= (ram_kib - 2) * 1024 and int(text) <= 2**20


def test_a_changed_stream_is_noticed(finished: Any, tmp_path: Path, tool: Any) -> None:
    out = tmp_path / "out"
    export_c(finished("digits-100"), out, lesson=LESSON)
    stream = out / STREAM
    whole = stream.read_bytes()
    at = 28 + 8 + 8 + 30  # a pixel of the first batch

    def said(content: bytes) -> str:
        stream.write_bytes(content)
        done = subprocess.run([tool("make"), "learn"], cwd=out, capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) == (content == whole)
        return done.stdout

    assert "PASS" in said(whole)
    assert "weights differ" in said(whole[:at] + bytes([whole[at] ^ 32]) + whole[at + 1 :])
    assert "the stream ended early" in said(whole[:-1])
    assert "a record of the stream" in said(whole[:1000])
    assert "not of this model" in said(whole[:8] + b"\1" + whole[9:])
    stream.unlink()
    done = subprocess.run([tool("make"), "learn"], cwd=out, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "there is no stream.bin here" in done.stdout


def test_a_target_too_small_is_refused_by_so_many_bytes(finished: Any, tmp_path: Path, capsys: Any) -> None:
    run = finished("digits-100")
    needed = export_c(run, tmp_path / "fits", "cortex-m4")["ram_bytes"]
    command = ["export", "c", str(run), "--target", "cortex-m4", "--out", str(tmp_path / "out")]
    small = ["--profile-set", "memory.ram=6KiB", "--profile-set", "memory.flash_reserved=1020KiB"]
    assert main([*command, *small]) == 2
    said = capsys.readouterr().err
    assert f"would need {6008 - 4096} bytes of flash more than the 4096" in said
    assert f"and {needed - 4096} bytes of RAM more than the 4096 that are left" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main([*command, "--profile-set", f"memory.ram={needed + 2048} B"]) == 0
    export_c(run, tmp_path / "small", "cortex-m4", overrides=[f"memory.ram={needed + 2048} B"], batch=2)


def test_an_image_larger_than_the_chip_does_not_link(finished: Any, tmp_path: Path, tool: Any) -> None:
    """The linker counts what the export cannot know: the program."""
    export_c(finished("digits-100"), tmp_path / "out", "cortex-m3", lesson=LESSON)
    tool("arm-none-eabi-gcc")
    text = (tmp_path / "out" / "Makefile").read_text()
    (tmp_path / "out" / "Makefile").write_text(text.replace("limit_ram=16384", "limit_ram=8192"))
    done = subprocess.run(
        [tool("make"), "lesson.elf"], cwd=tmp_path / "out", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "the image needs more RAM than cortex-m3 has" in done.stderr


def test_a_chip_of_ones_own_is_a_target(finished: Any, tmp_path: Path) -> None:
    chip = tmp_path / "my-chip.yaml"
    chip.write_text(
        "kind: digital\nname: my-chip\ndescription: a chip\npreset: cortex-m33\nsources: {memory: its data sheet}\n"
        "chip: mine\nmemory: {flash: 256 KiB, ram: 64 KiB}\n"
    )
    manifest = export_c(finished("digits-100"), tmp_path / "out", str(chip))
    assert (manifest["target"], manifest["core"]) == ("my-chip", "cortex-m33")
    assert "-mcpu=cortex-m33" in (tmp_path / "out" / "Makefile").read_text()


@pytest.mark.parametrize(
    ("target", "options", "error", "said"),
    [
        ("asic-int8.yaml", {}, UsageError, "must name its core: cortex-m0, .* 'asic-int8' does not"),
        ("nothing.yaml", {}, ProfileError, "nothing.yaml"),
        ("cortex-m4", {"overrides": ["memory.rom=1 B"]}, ProfileError, "rom"),
        ("host", {"batch": 1}, UsageError, r"The batch must be from 2 to \d+, .* Got 1 instead"),
        ("host", {"lesson": Lesson(4, 4, 4)}, UsageError, "must fill a batch of 8. Got 4 instead"),
    ],
    ids=["no core", "no file", "no such key", "batch", "lesson"],
)
def test_what_cannot_be_taught_is_refused_and_leaves_nothing(
    target: str, options: dict[str, Any], error: type[Exception], said: str, finished: Any, tmp_path: Path
) -> None:
    profiles = Path(__file__).parents[2] / "hardware_profiles"
    target = str(profiles / target) if target.endswith("yaml") else target
    with pytest.raises(error, match=said):
        export_c(finished("digits-100"), tmp_path / "out", target, **options)
    assert not list(tmp_path.iterdir())
