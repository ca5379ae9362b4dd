"""The C runtime's recurrent layer against the integer reference: the same integers at every step it learns from."""

from __future__ import annotations

import ctypes
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scff_hw import paths
from scff_hw.backends.fixed.reference.recurrent import IntegerRecurrent, StreamingRecurrent
from scff_hw.export.c.targets import TARGETS
from scff_hw.export.toolchain import rendered

from .recurrent_golden import KINDS, golden
from .recurrent_kernels import CRecurrent, Sequences, layer_of, sequences_of

BAD_ARGUMENT, SCRATCH, TOO_LARGE, UNALIGNED = 1, 2, 3, 8
STEPS = 1000
SIMD = ("cortex-m4", "cortex-m55")

FORMATS: dict[str, dict[str, Any]] = {
    "int8 through int16": {},
    "half_up, without means": {"rounding": "half_up", "averages": False},
    "int8 at random": {"shadow_bits": 0, "stochastic": True},
    "int4 at random": {"weight_bits": 4, "shadow_bits": 0, "stochastic": True, "rounding": "half_up"},
    "int4 through int8": {"weight_bits": 4, "shadow_bits": 8},
    "int8 through int32": {"shadow_bits": 32, "error_bits": 12},
    "int16 at random": {"stochastic": True},
    "errors of 16 bits": {"error_bits": 16, "off": {"error": 1}},
    "activations of 5 bits": {"activation_bits": 5},
    "a scale a unit": {"channel": True},
    "a scale a unit at random": {"channel": True, "shadow_bits": 0, "stochastic": True},
}


@pytest.fixture
def in_c(library: ctypes.CDLL, c_layer: Any, structs: Any) -> Any:
    """Return a function that makes an `IntegerRecurrent` one in C."""
    return lambda layer: CRecurrent(library, layer, c_layer, structs)


def learn_in_both(
    layer: IntegerRecurrent, c: CRecurrent, sequences: Sequences, partner_shift: int, rate_shift: int
) -> None:
    """One batch; every integer that is kept is compared after every step."""
    streamed, (direction,) = StreamingRecurrent(layer), layer.directions
    streamed.begin(len(sequences))
    assert c.begin(len(sequences)) == 0
    for k, own in enumerate(sequences):
        other = sequences[(k + partner_shift) % len(sequences)]
        streamed.begin_pair()
        assert c.begin_pair() == 0
        for t, frame in enumerate(own):
            second = other[t] if t < len(other) else None
            streamed.learn(frame, second)
            assert c.learn(frame, second) == 0
            assert np.array_equal(streamed.states, [c.positive, c.negative]), f"states at step {t} of pair {k}"
            assert np.array_equal(streamed.total, c.total)
            assert np.array_equal(direction._of_inputs, c.of_inputs), f"sums of W at step {t} of pair {k}"
            assert np.array_equal(direction._of_hidden, c.of_hidden), f"sums of U at step {t} of pair {k}"
            assert np.array_equal(direction._of_bias, c.of_bias)
        passed = streamed.transmitted()
        assert np.array_equal(passed, c.output())
        assert np.array_equal(layer.features(passed), c.features(passed))
    streamed.apply(rate_shift)
    assert c.apply(rate_shift) == 0
    assert not (c.of_inputs.any() or c.of_hidden.any() or c.of_bias.any() or c.sums.steps)
    for array, ours in ((direction.inputs, c.inputs), (direction.hidden, c.hidden)):
        assert np.array_equal(array.stored, ours.stored), "what updates change"
        assert np.array_equal(array.weight, ours.weight)
        assert np.array_equal(array.bias, ours.bias)
        if array.spec.formats.stochastic:
            assert np.array_equal(array.states, ours.states)


def step_in_both(layer: IntegerRecurrent, c: CRecurrent, sequence: np.ndarray) -> None:
    """What a sequence alone passes on, at every step."""
    streamed = StreamingRecurrent(layer)
    streamed.begin_pair()
    assert c.begin_pair() == 0
    for frame in sequence:
        streamed.step(frame)
        assert c.step(frame) == 0
        assert np.array_equal(streamed.states[0], c.positive)
        assert np.array_equal(streamed.transmitted(), c.output())
    assert np.array_equal(layer.forward([sequence])[0], c.output())


@pytest.mark.parametrize("formats", FORMATS.values(), ids=FORMATS)
def test_a_thousand_steps_are_learned_the_same_in_c(formats: dict[str, Any], in_c: Any) -> None:
    """Of sequences of 1 to 12 frames, in batches of 2 to 5, at several rates; sizes that vectors leave a rest of."""
    layer = layer_of(13, 18, 3, **formats)
    c, draw = in_c(layer), np.random.default_rng(1)
    (direction,) = layer.directions
    before = [array.stored.copy() for array in (direction.inputs, direction.hidden)]
    steps, ended = 0, []
    while steps < STEPS:
        sequences = sequences_of([int(n) for n in draw.integers(1, 13, draw.integers(2, 6))], 13, seed=steps)
        learn_in_both(layer, c, sequences, int(draw.integers(1, len(sequences))), int(draw.integers(-2, 3)))
        steps += sum(map(len, sequences))
        ended.append((c.positive.any(), c.negative.any()))
    step_in_both(layer, c, sequences_of([9], 13, seed=99)[0])
    assert np.mean(ended, axis=0).min() > 0.8, "silent units: the test would see nothing"
    for array, start in zip((direction.inputs, direction.hidden), before, strict=True):
        assert (array.stored != start).mean() > 0.3, "hardly a weight moved: the test would see nothing"


def test_other_formats_and_shapes_give_the_same_too(in_c: Any) -> None:
    """Formats that cut values off or are coarse, of any sizes."""
    near = st.integers(-3, 3)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        formats=st.fixed_dictionaries(
            {
                "weight_bits": st.integers(2, 8),
                "activation_bits": st.integers(4, 8),
                "error_bits": st.integers(4, 16),
                "rounding": st.sampled_from(["half_even", "half_up"]),
                "stochastic": st.booleans(),
                "averages": st.booleans(),
                "channel": st.booleans(),
                "penalty": st.sampled_from([0.0, 1e-3, 0.3]),
                "off": st.fixed_dictionaries(
                    dict.fromkeys(("standardised", "pre_activation", "output", "transmitted", "error", "feature"), near)
                ),
            }
        ),
        shadow=st.sampled_from([0, 8, 16, 32]),
        features=st.integers(1, 40),
        units=st.integers(2, 40),
        lengths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
        rate=st.integers(-8, 8),
        seed=st.integers(0, 1000),
    )
    def check(
        formats: dict[str, Any], shadow: int, features: int, units: int, lengths: list[int], rate: int, seed: int
    ) -> None:
        shadow_bits = shadow if shadow > formats["weight_bits"] else 0
        layer = layer_of(features, units, len(lengths), seed=seed, shadow_bits=shadow_bits, **formats)
        c = in_c(layer)
        for shift in (1, len(lengths) - 1):
            sequences = sequences_of(lengths, features, seed + shift)
            learn_in_both(layer, c, sequences, shift, rate)
        step_in_both(layer, c, sequences_of([3], features, seed)[0])

    check()


def test_what_cannot_be_learned_from_changes_nothing(in_c: Any) -> None:
    layer = layer_of(5, 6, 2)
    c, (frame, other) = in_c(layer), sequences_of([2], 5, 1)[0]
    assert c.learn(frame, other) == BAD_ARGUMENT  # no batch was begun
    assert c.begin(0) == BAD_ARGUMENT
    assert c.begin(1_000_001) == BAD_ARGUMENT
    assert c.begin(2) == 0 and c.begin_pair() == 0 and c.learn(frame, other) == 0
    before = c.learned_state()
    assert c.learn(frame, other, lacking=1) == SCRATCH
    assert c.learn(frame, other, off=2) == UNALIGNED
    assert c.step(frame, lacking=1) == SCRATCH
    assert c.apply(41) == BAD_ARGUMENT
    assert c.apply(-17) == BAD_ARGUMENT
    kept, c.sequence.negative = c.sequence.negative, None
    assert c.learn(frame, other) == BAD_ARGUMENT
    c.sequence.negative, kept, c.sequence.total = kept, c.sequence.total, None
    assert c.learn(frame, other) == BAD_ARGUMENT
    assert c.step(frame) == BAD_ARGUMENT
    c.sequence.total, kept, c.state[1].shadow = kept, c.state[1].shadow, None
    assert c.apply(0) == BAD_ARGUMENT
    c.state[1].shadow = kept
    for wanted, found in zip(before, c.learned_state(), strict=True):
        assert np.array_equal(wanted, found)
    c.sequence.steps = 0
    assert c.runtime.scff_rnn_output(*map(ctypes.byref, (c.rnn, c.sequence)), c.sequence.positive) == BAD_ARGUMENT
    assert c.learn(frame, other) == 0 and c.apply(0) == 0


def test_sums_that_could_overflow_are_refused(in_c: Any) -> None:
    """Four of the largest products a step for a weight of W; that many steps fit, one more does not."""
    layer = layer_of(5, 6, 2, error_bits=16)
    c, (frame, other) = in_c(layer), sequences_of([2], 5, 1)[0]
    assert c.most_steps == (2**31 - 1) // (4 * 32767 * 127) == 129
    assert c.begin(2) == 0 and c.begin_pair() == 0
    for _ in range(129):
        assert c.learn(frame, other) == 0
    before = c.learned_state()
    assert c.learn(frame, other) == TOO_LARGE
    assert c.step(frame) == 0
    assert c.apply(0) == 0 and c.learn(frame, other) == 0
    c.sequence.steps = 65_536
    assert c.learn(frame, other) == c.step(frame) == TOO_LARGE
    assert not np.array_equal(before[0], c.learned_state()[0])


def test_a_device_may_listen_for_ever_where_no_mean_is_wanted(in_c: Any) -> None:
    layer = layer_of(5, 6, 2, averages=False)
    c, (frame, _) = in_c(layer), sequences_of([2], 5, 1)[0]
    assert c.begin_pair() == 0
    c.sequence.steps, c.sequence.total, c.sequence.negative = 65_536, None, None
    assert c.step(frame) == 0 and c.sequence.steps == 65_536
    assert c.positive.any()


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function to a folder with the `golden.h` of a kind."""
    known: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in known:
            known[kind] = tmp_path_factory.mktemp("golden")
            (known[kind] / "golden.h").write_text(golden(kind), encoding="utf-8")
        return known[kind]

    return make


def sources(board: bool) -> list[Path]:
    c = paths.export() / "c"
    found = [Path(__file__).parent / "recurrent_steps.c", *sorted((c / "src").glob("*.c"))]
    return [*found, c / "board" / "startup.c"] if board else found


def compiled(
    compiler: str, options: list[str], golden: Path, board: bool, folder: Path, objects: Any
) -> list[Path]:
    """Objects of the program; only its own file reads the golden values."""
    c = paths.export() / "c"
    shared = [*options, *(part for path in (c / "include", c / "board") for part in ("-I", path))]
    program, *runtime = sources(board)
    return [
        *objects(compiler, [*shared, "-I", golden], [program], folder),
        *objects(compiler, shared, runtime, folder / "runtime"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_steps_under_sanitizers(
    kind: str, goldens: Any, tmp_path: Path, call: Any, tool: Any, objects: Any, warnings: list[str]
) -> None:
    image = tmp_path / "steps"
    options = [*warnings, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    parts = compiled(tool("gcc"), options, goldens(kind), False, tmp_path / "objects", objects)
    call(tool("gcc"), *options, *parts, "-o", image)
    assert call(image) == "PASS\n"


def cross_compile(target: str, golden: Path, image: Path, call: Any, tool: Any, objects: Any, *flags: str) -> Path:
    """The program for an emulated board, without a warning."""
    board, link = TARGETS[target], image.with_suffix(".ld")
    chip = {"name": target, "board": board.board, "flash": board.flash, "ram": board.ram}
    text = rendered("c", "link.ld", {"target": chip | {"limits": {"ram_reserved": 0}}})
    link.write_text(text, encoding="utf-8")
    compiler, options = tool("arm-none-eabi-gcc"), [*board.flags.split(), "-O2", "-ffreestanding", *flags]
    sections = ["-ffunction-sections", "-fdata-sections"]
    parts = compiled(compiler, [*options, *sections], golden, True, image.with_suffix(".objects"), objects)
    call(compiler, *options, *parts, "-nostartfiles", "-Wl,--gc-sections", "-T", link, "-o", image)
    return image


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_steps_on_an_emulated_board(
    kind: str, target: str, goldens: Any, tmp_path: Path, call: Any, tool: Any, objects: Any, warnings: list[str]
) -> None:
    """With the vector instructions of the core and without."""
    for path in ["", "-DSCFF_SCALAR"] if target in SIMD else [""]:
        flags = [*warnings, path] if path else warnings
        image = cross_compile(target, goldens(kind), tmp_path / f"steps{path}.elf", call, tool, objects, *flags)
        said = call(
            *(tool("qemu-system-arm"), "-M", TARGETS[target].board),
            *("-nographic", "-monitor", "none", "-serial", "none"),
            *("-semihosting-config", "enable=on,target=native", "-kernel", image),
            timeout=300,
        )
        assert said == "PASS\n"


def test_memory_is_what_the_page_says(goldens: Any, tmp_path: Path, call: Any, tool: Any, objects: Any) -> None:
    image = cross_compile("cortex-m4", goldens("shadow"), tmp_path / "steps.elf", call, tool, objects)
    lines = [line.split() for line in call(tool("arm-none-eabi-nm"), "-S", "-t", "d", image).splitlines()]
    size = {parts[3]: int(parts[1]) for parts in lines if len(parts) == 4}
    found = {
        "weights": size["inputs_weight"] + size["hidden_weight"],
        "shadow": size["inputs_shadow"] + size["hidden_shadow"],
        "biases": size["inputs_bias"] + size["hidden_bias"],
        "sums of gradients": size["of_inputs"] + size["of_hidden"] + size["of_bias"],
        "states of a pair": size["positive"] + size["negative"] + size["total"],
        "scratch": size["scratch"],
    }
    page = (paths.export() / "c" / "README.md").read_text(encoding="utf-8")
    table = re.findall(
        r"^\| (weights|shadow|biases|sums of gradients|states of a pair|scratch)[^|]*\| (\d+) \|", page, re.M
    )
    assert {name: int(number) for name, number in table} == found


def test_a_number_that_is_not_the_reference_s_is_noticed(
    goldens: Any, tmp_path: Path, call: Any, tool: Any, objects: Any, warnings: list[str]
) -> None:
    """A frame's value is another: states differ in the first batch that reads it."""
    shutil.copy(goldens("shadow") / "golden.h", tmp_path)
    text = (tmp_path / "golden.h").read_text(encoding="utf-8")
    first, rest = text.split("static const int8_t frames[] = {\n    ")
    number, rest = rest.split(",", 1)
    changed = f"{first}static const int8_t frames[] = {{\n    {int(number) ^ 64},{rest}"
    (tmp_path / "golden.h").write_text(changed, encoding="utf-8")
    parts = compiled(tool("gcc"), [*warnings, "-O2"], tmp_path, False, tmp_path / "objects", objects)
    call(tool("gcc"), *parts, "-o", tmp_path / "steps")
    with pytest.raises(AssertionError, match="FAIL: states or sums"):
        call(tmp_path / "steps")
