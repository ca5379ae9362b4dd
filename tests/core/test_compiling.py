"""Layers learn where nothing can be compiled: slower, with one warning."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from scff_hw.core import compiling
from scff_hw.core.compiling import CACHE, WORTH_COMPILING, compiled_if_large, usable_cache

LARGE = torch.linspace(-1, 1, WORTH_COMPILING)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A torch.compile that fails as soon as its result is called; the names of what it was asked for."""
    asked: list[str] = []

    def compile(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def fail(*arguments: Any) -> Any:
            asked.append(function.__name__)
            raise RuntimeError("no compiler works\nand many lines of advice")

        return fail

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(compiling, "compiler_missing", lambda: None)
    monkeypatch.setattr(compiling, "_failed", [])
    compiling._compiled.cache_clear()
    yield asked
    compiling._compiled.cache_clear()


def doubled(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def halved(x: torch.Tensor) -> torch.Tensor:
    return x / 2


def test_where_compiling_fails_layers_run_as_they_are_after_one_warning(broken: list[str]) -> None:
    with pytest.warns(RuntimeWarning) as seen:
        for function in (doubled, halved, doubled):
            assert torch.equal(compiled_if_large(function, LARGE)(LARGE), function(LARGE))
    (warning,) = seen
    assert str(warning.message) == (
        "Large layers run uncompiled, slower: torch.compile failed (RuntimeError: no compiler works); "
        "type: scff-hw doctor --deep"
    )
    assert broken == ["doubled"], "nothing is compiled after the first failure"


def test_an_error_of_the_function_itself_is_raised(broken: list[str]) -> None:
    def refuses(x: torch.Tensor) -> torch.Tensor:
        raise KeyError("of the function")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyError, match="of the function"):
            compiled_if_large(refuses, LARGE)(LARGE)


def test_a_cache_that_cannot_be_written_gives_way_to_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    assert usable_cache() is None
    assert os.environ[CACHE] == str(tmp_path / "cache")

    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setenv(CACHE, str(tmp_path / "file" / "cache"))
    with pytest.warns(RuntimeWarning, match=f"compiled anew in each process: the cache .*; name another.* {CACHE}="):
        assert usable_cache() == f"the cache {tmp_path}/file/cache cannot be written (Not a directory)"
    with tempfile.TemporaryFile(dir=os.environ[CACHE]):
        pass


def test_the_default_cache_is_torch_s() -> None:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    assert str(compiling._default_cache()) == default_cache_dir()
