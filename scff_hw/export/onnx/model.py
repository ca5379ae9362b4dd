"""Export of a finished run as a folder of ONNX files, each checked against the library, with a model card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scff_hw.core.pairs import Stream
from scff_hw.documents import SCHEMA, OnnxManifest
from scff_hw.documents.manifests import OnnxFile, ReaderResult
from scff_hw.errors import UsageError
from scff_hw.export.exporter import Exporter
from scff_hw.export.onnx.card import CARD, card
from scff_hw.export.onnx.check import FLOAT_TOLERANCE, Expected, Planned, check_file
from scff_hw.export.onnx.float import float_model
from scff_hw.export.onnx.float_recurrent import FloatSequences
from scff_hw.export.onnx.recurrent import Arithmetic, one_step, whole_sequences
from scff_hw.export.onnx.run import float_answers, rounding_of_float32
from scff_hw.export.onnx.runtimes import Answers, TooFarError, stepwise_readers
from scff_hw.files import AnyPath
from scff_hw.training.finished import FinishedRun
from scff_hw.training.progress import Progress

SAMPLES = 200
"""Default number of test samples that every file is checked on."""

SCALE_SAMPLES = 64
"""Number of samples, from the hidden layers' training data, that set the scales of QOperator's 8-bit products."""

ROUNDINGS, MOST_TOLERANCE = 10, 1e-3
"""Tolerance of recurrent graphs, in which rounding errors can grow over steps: ROUNDINGS times the library's own
difference between float32 and float64, but at most MOST_TOLERANCE, relative to the largest logit."""

INTEGER_FILES: tuple[str, ...] = ("integer.onnx", "qdq.onnx", "qoperator.onnx", "qonnx.onnx")


@dataclass(frozen=True)
class OnnxOptions:
    """Attributes:
    samples: number of test samples that every file is checked on, at most all of them.
    """

    samples: int = SAMPLES

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"The samples to check on must be at least 1. Got {self.samples} instead.")


class OnnxExporter(Exporter[OnnxOptions, OnnxManifest]):
    """Exports a run as ONNX files with a model card; each file is checked against the library."""

    name = "onnx"
    Options = OnnxOptions

    def check(self, run: FinishedRun, options: OnnxOptions) -> None:
        """Every finished run can be exported."""

    def write(self, run: FinishedRun, options: OnnxOptions, out: Path, progress: Progress) -> OnnxManifest:
        test = run.samples("test")
        count = min(options.samples, len(test))
        planned, left_out = plan(run)
        files: dict[str, OnnxFile] = {}
        for name, file in planned.items():
            path = out / name
            path.write_bytes(file.model.SerializeToString(deterministic=True))
            try:
                metrics = check_file(path, file, test, count, progress)
            except TooFarError as error:
                if file.criterion != "qoperator":
                    raise
                # the products of this network need more than 8 bits
                left_out[name] = str(error)
                path.unlink()
                continue
            readers = {reader: ReaderResult(**values) for reader, values in metrics.items()}
            files[name] = OnnxFile(bytes=path.stat().st_size, held_to=file.criterion, readers=readers)
            if file.criterion == "float":
                files[name] = files[name].model_copy(update={"tolerance": file.tolerance})
        manifest = OnnxManifest(
            schema=SCHEMA,
            run=str(run.path),
            recipe=run.recipe.name,
            seed=run.seed,
            backend=run.backend,
            test_accuracy=run.accuracy,
            measured_on=run.summary.measured_on,
            samples=count,
            test_samples=len(test),
            files=files,
            left_out=left_out,
            versions={name: version(name) for name in ("scff-hw", "onnx", "onnxruntime")},
        )
        if run.details.profile is not None:
            manifest = manifest.model_copy(update={"profile": run.details.profile})
        (out / CARD).write_text(card(run, manifest), encoding="utf-8")
        return manifest


def export_onnx(
    run: AnyPath,
    out: AnyPath,
    *,
    samples: int = SAMPLES,
    data_dir: AnyPath | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write and check the ONNX files of a finished run; after an error `out` does not exist.

    Args:
        out: a folder that does not exist, or is empty.
        samples: number of test samples that every file is checked on, at most all of them.

    Returns:
        The folder's `manifest.json`, and `out`, as `scff-hw export onnx --json` prints them.

    Raises:
        UsageError: `out` is not empty, or `samples` is not positive.
        CheckpointError: not a finished run.
        DataError: the run's data set, on which files are checked, is missing.
        ExportError: a file failed a check.
    """
    options = OnnxOptions(samples)
    manifest = OnnxExporter().export_folder(run, out, options, data_dir=data_dir, progress=progress)
    return {"out": str(Path(out))} | manifest.as_json()


def plan(run: FinishedRun) -> tuple[dict[str, Planned], dict[str, str]]:
    """Return the files of a run, and the reasons why others are left out, both by name."""
    if run.recipe.data.has_sequences:
        return _plan_sequences(run)
    shape = run.recipe.data.input_shape
    model = float_model(run.network, run.read_layers, *run.readout, shape, metadata(run, "float"))

    def as_float(x: NDArray[np.float32]) -> Answers:
        features, logits = float_answers(run, torch.from_numpy(x))
        return features.numpy(), logits.numpy()

    planned = {"float.onnx": Planned(model, "float", as_float)}
    if run.fixed is None:
        return planned, dict.fromkeys(INTEGER_FILES, _without_integers(run))
    integer_files, left_out = _plan_fixed(run)
    return planned | integer_files, left_out


def _plan_sequences(run: FinishedRun) -> tuple[dict[str, Planned], dict[str, str]]:
    def as_float(x: NDArray[np.float32], lengths: NDArray[np.int64]) -> Answers:
        features, logits = float_answers(run, Stream(torch.from_numpy(x), lengths=torch.from_numpy(lengths)))
        return features.numpy(), logits.numpy()

    test = run.samples("test")
    samples = test.batch(torch.arange(min(SAMPLES, len(test))))
    tolerance = min(max(FLOAT_TOLERANCE, ROUNDINGS * rounding_of_float32(run, samples)), MOST_TOLERANCE)
    network = FloatSequences(run.network, run.read_layers, *run.readout)
    planned, left_out = _whole_and_step(run, network, ("float.onnx", "step.onnx"), as_float, tolerance)
    integers, *quantised = INTEGER_FILES
    names = integers, "integer-step.onnx"
    left_out |= dict.fromkeys(quantised, f"A recurrent network has only {integers} in integers.")
    if run.fixed is None:
        return planned, left_out | dict.fromkeys(names, _without_integers(run))
    from scff_hw.backends.fixed.tensor.recurrent import FixedRecurrentLayer
    from scff_hw.export.fixed_recurrent_run import integer_recurrent
    from scff_hw.export.onnx.expected import integer_readout, integer_stack, sequence_answers
    from scff_hw.export.onnx.integer_recurrent import IntegerSequences

    first, *dense = run.fixed.network.layers
    assert isinstance(first, FixedRecurrentLayer), "a network without a recurrent layer was exported as one with"
    parts = integer_recurrent(first), integer_stack(dense), run.read_layers, integer_readout(run)

    def as_integers(x: NDArray[np.float32], lengths: NDArray[np.int64]) -> Answers:
        return sequence_answers(*parts, x.astype(np.float64), lengths)

    integer_files, missing = _whole_and_step(run, IntegerSequences(*parts), names, as_integers)
    return planned | integer_files, left_out | missing


def _whole_and_step(
    run: FinishedRun, network: Arithmetic, names: tuple[str, str], expected: Expected, tolerance: float | None = None
) -> tuple[dict[str, Planned], dict[str, str]]:
    """Return the files of whole sequences and of one step, or the reason why the latter is left out.

    Args:
        tolerance: largest difference that the check allows; None: equality.
    """
    criterion = "integer" if tolerance is None else "float"
    (whole, step), limit = names, tolerance or FLOAT_TOLERANCE
    model = whole_sequences(network, metadata(run, whole.removesuffix(".onnx")))
    planned = {whole: Planned(model, criterion, expected, tolerance=limit)}
    if any(network.backwards):
        return planned, {step: "The second direction starts at a sequence's end, so it cannot run step by step."}
    model = one_step(network, metadata(run, step.removesuffix(".onnx")))
    return planned | {step: Planned(model, criterion, expected, tolerance=limit, readers=stepwise_readers)}, {}


def _without_integers(run: FinishedRun) -> str:
    return f"The run is on the {run.backend} backend; integers need a run on the fixed one."


def _plan_fixed(run: FinishedRun) -> tuple[dict[str, Planned], dict[str, str]]:
    # imported here since the fixed backend needs brevitas, and other runs do not
    from scff_hw.export.onnx.expected import integer_answers, integer_readout, integer_stack, product_formats
    from scff_hw.export.onnx.integer import integer_model
    from scff_hw.export.onnx.quantised import Dialect, Qdq, QOnnx, QOperator, quantised_model

    shape = run.recipe.data.input_shape
    assert run.fixed is not None
    stack, readout = integer_stack(run.fixed.network.layers), integer_readout(run)

    def as_integers(x: NDArray[np.float32]) -> Answers:
        return integer_answers(stack, run.read_layers, readout, x.astype(np.float64))

    model = integer_model(stack, run.read_layers, readout, shape, metadata(run, "integer"))
    planned = {"integer.onnx": Planned(model, "integer", as_integers)}
    dialects: dict[str, Dialect] = {"qdq": Qdq(), "qonnx": QOnnx()}
    left_out: dict[str, str] = {}
    if all(isinstance(layer.spec.formats.weight.frac, int) for layer in stack):
        learned = run.samples(run.recipe.data.learn_split)
        x = learned.batch(torch.arange(min(SCALE_SAMPLES, len(learned)))).positive.double().numpy()
        dialects["qoperator"] = QOperator(product_formats(stack, x))
    else:
        left_out["qoperator.onnx"] = "The run has one weight scale per channel; QLinearMatMul here has one per layer."
    units = 2.0 ** stack[0].spec.formats.feature.frac_bits, 2.0**readout.frac
    for name, dialect in dialects.items():
        model = quantised_model(dialect, stack, run.read_layers, readout, shape, metadata(run, name), name)
        planned[f"{name}.onnx"] = Planned(model, name, as_integers, units)
    return planned, left_out


def metadata(run: FinishedRun, kind: str) -> dict[str, str]:
    """Return the metadata of every file."""
    entries = {
        "kind": kind,
        "recipe": run.recipe.name,
        "description": run.recipe.description,
        "data": run.recipe.data.name,
        "input_mean": json.dumps(run.scaling.mean),
        "input_std": json.dumps(run.scaling.std),
        "seed": str(run.seed),
        "backend": run.backend,
        "scff_hw_version": version("scff-hw"),
        "trained_with": json.dumps(run.details.versions, sort_keys=True),
        "test_accuracy": repr(run.accuracy),
        "measured_on": run.summary.measured_on,
    }
    if run.details.profile is not None:
        entries["profile"] = run.details.profile
    if run.fixed is not None:
        formats = run.fixed.backend.formats
        feature = next(iter(formats.values())).feature.frac_bits
        entries |= {
            "formats": json.dumps({name: form.to_json() for name, form in formats.items()}),
            "rounding": next(iter(formats.values())).rounding,
            "features_frac": str(feature),
            "readout_weight_frac": str(run.fixed.readout_frac),
            "logits_frac": str(run.fixed.readout_frac + feature),
        }
    return entries
