"""The exporters' base class and registry: another package's exporter, and what is written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from scff_hw.documents import MANIFEST, SCHEMA, Manifest
from scff_hw.errors import BusyError, CheckpointError, UsageError
from scff_hw.export import exporter
from scff_hw.export.exporter import Exporter
from scff_hw.export.registry import EXPORTERS
from scff_hw.files import exclusive
from scff_hw.training.finished import FinishedRun
from scff_hw.training.progress import Progress

from .onnx_runs import DENSE, tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return FinishedRun.open(tiny_run(tmp_path_factory.mktemp("runs") / "run", DENSE), purpose="exported")


class SizesManifest(Manifest):
    recipe: str
    numbers: int
    files: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class OtherOptions:
    samples: int = 3


@dataclass(frozen=True)
class SizesOptions:
    most: int = 10**6
    fails: bool = False


class Sizes(Exporter[SizesOptions, SizesManifest]):
    """Shapes of a run's weights as text."""

    name = "sizes"
    Options = SizesOptions

    def check(self, run: FinishedRun, options: SizesOptions) -> None:
        numbers = sum(tensor.numel() for tensor in run.weights.values())
        if numbers > options.most:
            raise UsageError(f"The numbers of a run must be at most {options.most}. Got {numbers} instead.")

    def write(self, run: FinishedRun, options: SizesOptions, out: Path, progress: Progress) -> SizesManifest:
        lines = [f"{name} {list(tensor.shape)}" for name, tensor in sorted(run.weights.items())]
        (out / "shapes.txt").write_text("\n".join(lines), encoding="utf-8")
        if options.fails:
            raise UsageError("It failed.")
        numbers = sum(tensor.numel() for tensor in run.weights.values())
        return SizesManifest(schema=SCHEMA, recipe=run.recipe.name, numbers=numbers)


class OneFile(Sizes):
    name = "one-file"
    writes_file = True

    def write(self, run: FinishedRun, options: SizesOptions, out: Path, progress: Progress) -> SizesManifest:
        assert out.name == "out.txt" and not out.exists()
        out.write_text("whole", encoding="utf-8")
        if options.fails:
            raise UsageError("It failed.")
        return SizesManifest(schema=SCHEMA, recipe=run.recipe.name, numbers=0)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(EXPORTERS, "_items", {})
    EXPORTERS.register(Sizes)
    yield


def test_a_foreign_exporter_exports_a_run(registered: None, run: FinishedRun, tmp_path: Path) -> None:
    assert EXPORTERS.names() == ["c", "crossbar", "nir", "onnx", "sizes"]
    manifest = EXPORTERS.get("sizes")().export(run, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"shapes.txt", MANIFEST}
    text = (tmp_path / "out" / "shapes.txt").read_bytes()
    assert b"layers.1.weight [24, 64]" in text
    digest = hashlib.sha256(text).hexdigest()
    expected = {"schema": 1, "recipe": "tiny", "numbers": manifest.numbers, "files": {"shapes.txt": digest}}
    assert json.loads((tmp_path / "out" / MANIFEST).read_text()) == manifest.as_json() == expected


def test_exporters_of_scff_hw_are_found_by_name() -> None:
    for name in ("c", "crossbar", "nir", "onnx"):
        assert EXPORTERS.get(name).name == name
    with pytest.raises(UsageError, match="must be one of c, crossbar, nir, onnx"):
        EXPORTERS.get("onx")


@pytest.mark.parametrize("found", [Exporter, FinishedRun, "sizes"])
def test_what_is_no_exporter_is_refused(found: Any) -> None:
    with pytest.raises(UsageError, match="must be a subclass of Exporter with check and write"):
        EXPORTERS.register(found, "other")


@pytest.mark.parametrize("options", [SizesOptions(most=3), SizesOptions(fails=True)], ids=["refused", "failed"])
@pytest.mark.parametrize("kind", [Sizes, OneFile])
def test_what_fails_leaves_nothing(kind: type[Sizes], options: SizesOptions, run: FinishedRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must be at most 3|It failed"):
        kind().export(run, tmp_path / "made" / "out.txt", options)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_refused_before_the_run_is_read(tmp_path: Path) -> None:
    for kind in (Sizes, OneFile):
        with pytest.raises(UsageError, match=r"is not empty; choose another --out|must not exist yet"):
            kind().export_folder(tmp_path / "nowhere", Path(__file__).parent)
        with pytest.raises(CheckpointError, match=r"holds no run\.json"):
            kind().export_folder(tmp_path / "nowhere", tmp_path / "out.txt")


def test_one_file_takes_its_place_at_the_end(run: FinishedRun, tmp_path: Path) -> None:
    OneFile().export(run, tmp_path / "out.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "whole"
    with pytest.raises(UsageError, match="must not exist yet"):
        OneFile().export(run, tmp_path / "out.txt")


@pytest.mark.parametrize("kind", [Sizes, OneFile])
def test_a_place_in_use_is_refused(kind: type[Sizes], run: FinishedRun, tmp_path: Path) -> None:
    with exclusive(tmp_path / ".out.txt.lock", tmp_path), pytest.raises(BusyError, match="is in use by process"):
        kind().export(run, tmp_path / "out.txt")
    assert not (tmp_path / "out.txt").exists()


def test_the_manifest_is_written_after_every_file(
    run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> dict[str, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporter, "digests", full)
    with pytest.raises(OSError, match="No space left"):
        Sizes().export(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_options_of_another_exporter_are_refused(run: FinishedRun, tmp_path: Path) -> None:
    options: Any = OtherOptions()
    message = r"^The options of the exporter 'sizes' must be SizesOptions\. Got OtherOptions instead\.$"
    with pytest.raises(UsageError, match=message):
        Sizes().export_folder(run.path, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_paths_may_be_text(run: FinishedRun, tmp_path: Path) -> None:
    Sizes().export_folder(str(run.path), str(tmp_path / "out"))
    assert (tmp_path / "out" / "shapes.txt").is_file()
