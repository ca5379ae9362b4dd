"""Data and settings of the tests of exports; the C runtime as a shared library, and its structs for ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scff_hw import paths
from scff_hw.backends.fixed.reference.layer import IntegerLayer
from scff_hw.core import compiling
from scff_hw.export.c.layer import LayerConstants, PoolConstants
from scff_hw.recipes import load_recipe
from scff_hw.training import train

WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
FROZEN = -128


@pytest.fixture(scope="package", autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Tiny networks take longer to compile than to train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCFF_HW_COMPILE", "0")
        compiling.compiler_missing.cache_clear()
        yield
    compiling.compiler_missing.cache_clear()


def tool(name: str) -> str:
    """The path of a program; where it is missing a test is skipped, and fails under CI=true."""
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed; try: apt-get install {name}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def run(*command: str | Path, cwd: Path | None = None, timeout: float = 600, **environment: str) -> str:
    """Run a program and return what it printed, on either output."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def objects(compiler: str, options: Sequence[str | Path], files: Sequence[Path], folder: Path) -> list[Path]:
    """Compile files one by one, as compiler caches need it; return the objects, which lie in a new folder."""
    folder.mkdir()
    found = [folder / f"{file.stem}.o" for file in files]
    for file, built in zip(files, found, strict=True):
        run(compiler, *options, "-c", file, "-o", built)
    return found


class Pool(ctypes.Structure):
    """`scff_pool_t`."""

    _fields_ = (("kind", ctypes.c_int), *((name, ctypes.c_uint32) for name in ["size", "stride", "padding", "h", "w"]))


class Layer(ctypes.Structure):
    """`scff_layer_t`."""

    _fields_ = (
        *(
            (name, ctypes.c_uint32)
            for name in ["channels", "height", "width", "units", "kernel", "padding", "out_height", "out_width"]
        ),
        ("pool", Pool),
        ("readout_pool", Pool),
        ("rounding", ctypes.c_int),
        *(
            (name, ctypes.c_uint8)
            for name in [
                "stochastic",
                "makes_pairs",
                "triangle",
                "weight_bits",
                "shadow_bits",
                "standardised_bits",
                "output_bits",
                "transmitted_bits",
                "error_bits",
                "feature_bits",
            ]
        ),
        *(
            (name, ctypes.c_int8)
            for name in [
                "standardised_frac",
                "pre_activation_frac",
                "output_frac",
                "transmitted_frac",
                "error_frac",
                "feature_frac",
            ]
        ),
        ("weight_frac", ctypes.c_void_p),
        ("weight_fracs", ctypes.c_uint32),
        ("theta_pos", ctypes.c_int32),
        ("theta_neg", ctypes.c_int32),
        ("penalty", ctypes.c_int64),
        ("mean_factor", ctypes.c_int32),
        ("mean_shift", ctypes.c_int32),
        ("learned_positions", ctypes.c_uint32),
        ("root_factor", ctypes.c_int32),
        ("root_shift", ctypes.c_int32),
        ("max_rows", ctypes.c_uint32),
        ("fingerprint", ctypes.c_uint32),
    )


class Params(ctypes.Structure):
    """`scff_params_t`."""

    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p))


class State(ctypes.Structure):
    """`scff_state_t`."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("weight", "shadow", "bias", "states"))


class Batch(ctypes.Structure):
    """`scff_batch_t`."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("second", ctypes.c_void_p),
        ("chosen", ctypes.c_void_p),
        ("count", ctypes.c_uint32),
        ("partner_shift", ctypes.c_uint32),
        ("rate_shift", ctypes.c_int32),
    )


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The runtime, compiled without a warning for this machine."""
    built = tmp_path_factory.mktemp("library") / "libscff.so"
    sources = sorted((paths.export() / "c" / "src").glob("*.c"))
    options = [*WARNINGS, "-O2", "-I", paths.export() / "c" / "include", "-fPIC"]
    run(tool("gcc"), "-shared", *objects(tool("gcc"), options, sources, built.parent / "objects"), "-o", built)
    found = ctypes.CDLL(str(built))
    for name in ("scff_forward_scratch", "scff_learn_scratch", "scff_save_size"):
        getattr(found, name).restype = ctypes.c_size_t
    for name in ("scff_shift_right", "scff_shift_right_at_random", "scff_divide"):
        getattr(found, name).restype = ctypes.c_int64
    for name in ("scff_xorshift32", "scff_first_state", "scff_isqrt", "scff_bit_length", "scff_crc32"):
        getattr(found, name).restype = ctypes.c_uint32
    return found


class CLayer:
    """One layer in C, driven through ctypes, that starts from what an `IntegerLayer` holds."""

    def __init__(self, library: ctypes.CDLL, layer: IntegerLayer, shape: tuple[int, ...]) -> None:
        self.runtime, self.shape = library, shape
        self.constants = LayerConstants.of(layer.spec, len(layer.stored), shape)
        values = dict(self.constants.initialisers())
        self._fracs = np.array(values["weight_frac"], np.int8)
        self.struct = Layer()
        for name, value in values.items():
            if isinstance(value, PoolConstants):
                value = Pool(value.kind, value.size, value.stride, value.padding, value.out_height, value.out_width)
            setattr(self.struct, name, address(self._fracs) if name == "weight_frac" else value)
        self.weight = layer.weight.astype(np.int8)
        self.shadow = layer.stored.astype(f"i{self.constants.stored_bytes}")
        self.bias, self.states = layer.bias.astype(np.int32), layer.states.astype(np.uint32)
        self.state = State(
            address(self.weight),
            address(self.shadow) if self.constants.shadow_bits else None,
            address(self.bias),
            address(self.states) if self.constants.stochastic else None,
        )

    @property
    def stored(self) -> NDArray[Any]:
        return self.shadow if self.constants.shadow_bits else self.weight

    def learn(
        self,
        views: list[NDArray[np.int64]],
        partner_shift: int,
        rate_shift: int,
        chosen: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """`scff_learn`; what is passed on, flat."""
        narrow = [np.ascontiguousarray(view, np.int8) for view in views]
        mask = None if chosen is None else np.ascontiguousarray(chosen, np.uint8)
        n = len(narrow[0])
        second = narrow[1] if len(narrow) > 1 else None
        batch = Batch(address(narrow[0]), address(second), address(mask), n, partner_shift, rate_shift)
        found = np.empty((2, n, self.constants.transmitted), np.int8)
        size = self.runtime.scff_learn_scratch(ctypes.byref(self.struct), n, int(second is not None))
        scratch = np.empty(size, np.int8)
        status = self.runtime.scff_learn(
            ctypes.byref(self.struct),
            ctypes.byref(self.state),
            ctypes.byref(batch),
            ctypes.c_void_p(address(found[0])),
            ctypes.c_void_p(address(found[1])),
            ctypes.c_void_p(address(scratch)),
            ctypes.c_size_t(size),
        )
        assert status == 0, status
        return found[0], found[1]

    def forward(self, x: NDArray[np.int64]) -> NDArray[np.int8]:
        """`scff_forward` of samples, flat."""
        size = self.runtime.scff_forward_scratch(ctypes.byref(self.struct))
        scratch = np.empty(size, np.int8)
        found = np.empty((len(x), self.constants.transmitted), np.int8)
        for sample, y in zip(np.ascontiguousarray(x, np.int8), found, strict=True):
            status = self.runtime.scff_forward(
                ctypes.byref(self.struct),
                Params(address(self.weight), address(self.bias)),
                ctypes.c_void_p(address(sample)),
                ctypes.c_void_p(address(y)),
                ctypes.c_void_p(address(scratch)),
                ctypes.c_size_t(size),
            )
            assert status == 0, status
        return found

    def features(self, passed_on: NDArray[np.int64]) -> NDArray[np.int8]:
        """`scff_features` of what samples passed on."""
        found = np.empty((len(passed_on), self.constants.features), np.int8)
        for sample, y in zip(np.ascontiguousarray(passed_on, np.int8), found, strict=True):
            status = self.runtime.scff_features(
                ctypes.byref(self.struct), ctypes.c_void_p(address(sample)), ctypes.c_void_p(address(y))
            )
            assert status == 0, status
        return found

    def save(self, part: int | None = None) -> bytes:
        """`scff_save`, in parts of so many bytes or at once."""
        size = self.runtime.scff_save_size(ctypes.byref(self.struct))
        found = np.empty(size, np.uint8)
        for offset in range(0, size, part or size):
            status = self.runtime.scff_save(
                ctypes.byref(self.struct),
                ctypes.byref(self.state),
                ctypes.c_size_t(offset),
                ctypes.c_void_p(address(found[offset:])),
                ctypes.c_size_t(min(part or size, size - offset)),
            )
            assert status == 0, status
        return found.tobytes()

    def load(self, saved: bytes) -> int:
        """The status of `scff_load`."""
        buffer = np.frombuffer(saved, np.uint8)
        return self.runtime.scff_load(
            ctypes.byref(self.struct),
            ctypes.byref(self.state),
            ctypes.c_void_p(address(buffer)),
            ctypes.c_size_t(len(saved)),
        )


def address(x: NDArray[Any] | None) -> int | None:
    """Where an array's values lie; None for None."""
    return None if x is None else x.ctypes.data


@pytest.fixture
def c_layer(library: ctypes.CDLL) -> Callable[[IntegerLayer, tuple[int, ...]], CLayer]:
    """Return a function that makes an `IntegerLayer` one in C."""
    return partial(CLayer, library)


@pytest.fixture(scope="session")
def structs() -> Any:
    """The runtime's structs by name."""
    return SimpleNamespace(Layer=Layer, Params=Params, State=State, Batch=Batch)


SHORT = {
    "digits-100": [
        *("layers.1.units=24", "layers.1.learn.epochs=1"),
        *("readout.solver=ridge", "controls.backprop=null", "controls.untrained=false"),
    ],
    "digits-mlp": [
        *("layers.*.learn.optimiser=sgd", "layers.*.learn.learning_rate=0.125", "layers.*.learn.weight_decay=0"),
        *("layers.1.units=25", "layers.2.units=16", "layers.*.learn.epochs=1"),
        *("readout.solver=ridge", "controls.backprop=null", "controls.untrained=false"),
    ],
}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function to a finished run of a recipe, made shorter, on the fixed backend."""
    known: dict[tuple[str, ...], Path] = {}

    def make(recipe: str, *overrides: str, backend: str = "fixed") -> Path:
        key = (recipe, backend, *overrides)
        if key not in known:
            known[key] = tmp_path_factory.mktemp("finished") / "run"
            train(load_recipe(recipe, [*SHORT.get(recipe, []), *overrides]), known[key], backend=backend)
        return known[key]

    return make


@pytest.fixture(name="tool")
def _tool() -> Callable[[str], str]:
    return tool


@pytest.fixture(name="call")
def _call() -> Callable[..., str]:
    """Return a function that runs a program and returns what it printed."""
    return run


@pytest.fixture(name="objects")
def _objects() -> Callable[..., list[Path]]:
    return objects


@pytest.fixture(scope="session")
def warnings() -> list[str]:
    """What gcc is to warn about."""
    return list(WARNINGS)
