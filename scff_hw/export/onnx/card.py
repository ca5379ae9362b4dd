"""The model card of an exported folder: its files, their checks and their limits."""

from __future__ import annotations

from scff_hw.documents import OnnxManifest
from scff_hw.escaping import markdown, markdown_code
from scff_hw.export.onnx.check import CLOSE
from scff_hw.export.onnx.float_recurrent import recurrent_first
from scff_hw.export.onnx.run import needs_label
from scff_hw.training.finished import FinishedRun

CARD = "README.md"

SHORT = 4
"""Longest list of scales that the card prints."""

ABOUT = {
    "float.onnx": "float32 throughout: any runtime",
    "step.onnx": "float32 throughout, one frame at a time: streaming input, e.g. a microphone",
    "integer.onnx": "the integers of the fixed-point specification; features are int8, logits int32",
    "integer-step.onnx": "the same, one frame at a time, for recurrent layers of one direction",
    "qdq.onnx": "int8 weights and activations in QuantizeLinear and DequantizeLinear: runtimes, NPU compilers",
    "qoperator.onnx": "QLinearMatMul and QLinearConv, one power-of-two scale per tensor: C generators",
    "qonnx.onnx": "QONNX's Quant operator, any width: the qonnx package's cleanup and execution",
}

WHY_CLOSE = """\
`qdq.onnx`, `qonnx.onnx` and `qoperator.onnx` contain the run's integers and scales, but do not equal the integer
reference; the table gives the differences. Their causes:

- these files standardise inputs and features in float32, except for the rounding of the mean; the reference uses
  integers. A value close to a rounding boundary can round to the other side;
- the triangle's mean is not rounded to an integer before it is subtracted;
- a pre-activation has 16 bits in the reference, float32 in `qdq.onnx`, and 8 bits in `qoperator.onnx`, the most that
  QLinearMatMul and QLinearConv give, at a scale chosen on samples that the hidden layers learned from;
- QuantizeLinear saturates at -128, the reference at -127{half_up}.
"""

NARROW = """\
- `integer.onnx` is for equality, not for speed. It computes in float32, below 2^24, where integers are exact; logits
  that can exceed 2^24 are summed in int32. A runtime that computes in float32 gives the same integers; a runtime set to
  bfloat16, float16 or TF32 does not. Two more runtimes were measured on networks of digits, on a CPU: OpenVINO 2026.4.1
  (also on recurrent networks of generated sounds) and MNN 3.6.1 gave every feature and logit of the reference. MNN
  3.6.1 reads no whole sequences: it has no Scan."""

WHOLE = """\
import onnxruntime

session = onnxruntime.InferenceSession("float.onnx")
features, logits = session.run(["features", "logits"], {"x": x, "lengths": lengths})
classes = logits.argmax(axis=1)"""

STEPS = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("step.onnx")
state = {{{zeros}}}
for frame in frames:
    outputs = ["logits", *(f"new_{{name}}" for name in state)]
    logits, *new = session.run(outputs, {{"x": frame[None], **state}})
    state = dict(zip(state, new))"""


def card(run: FinishedRun, manifest: OnnxManifest) -> str:
    """Return the model card as Markdown."""
    parts = [
        f"# {run.recipe.name}, seed {run.seed}",
        _introduction(run),
        "## Files",
        _files(manifest),
        "## Inputs and outputs",
        _inputs_outputs(run),
        "## Accuracy",
        _accuracy(run),
        "## How it was checked",
        _checks(manifest),
        "## Limits",
        _limits(run, manifest),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _introduction(run: FinishedRun) -> str:
    versions = run.details.versions
    trained = f"scff-hw {versions.get('scff-hw', '?')}, torch {versions.get('torch', '?')}"
    profile = run.details.profile
    hardware = "" if profile is None else f", hardware profile {markdown_code(profile)}"
    description = markdown(run.recipe.description[:1].upper() + run.recipe.description[1:])
    backend = markdown_code(run.backend)
    return (
        f"{description}. A network trained by Self-Contrastive Forward-Forward (arXiv 2409.11593), layer by layer and "
        f"without labels, and a linear readout of its features.\n\nRecipe `{run.recipe.name}`, seed {run.seed}, "
        f"backend {backend}{hardware}; trained with {trained}. "
        "Each file's metadata contains these and the format of every tensor."
    )


def _files(manifest: OnnxManifest) -> str:
    rows = ["| file | bytes | contents |", "| --- | ---: | --- |"]
    rows += [f"| `{name}` | {file.bytes} | {ABOUT[name]} |" for name, file in manifest.files.items()]
    reasons = dict.fromkeys(manifest.left_out.values())
    for reason in reasons:
        names = [f"`{name}`" for name, why in manifest.left_out.items() if why == reason]
        rows.append(f"\nLeft out: {', '.join(names)}. {reason}")
    return "\n".join(rows)


def _inputs_outputs(run: FinishedRun) -> str:
    if run.recipe.data.has_sequences:
        return _sequence_inputs_outputs(run)
    data = run.recipe.data
    shape = " x ".join(map(str, data.input_shape))
    values = "pixels from 0 to 255" if len(data.input_shape) == 3 else "features in the units of the data set"
    lines = [f"- Input `x`: float32, N x {shape}, any N: `{data.name}`, {values}, {_scaling(run)}."]
    if needs_label(run.recipe):
        lines.append("  The entries of the label are neutral: each is 1 / classes.")
    lines.append(
        f"- Output `features`: N x {run.recipe.readout_features}, the readout's input. Output `logits`: N x "
        f"{data.classes}; the class is the index of the largest logit, the first of equal ones."
    )
    lines += _integer_outputs(run)
    example = (
        'import onnxruntime\n\nsession = onnxruntime.InferenceSession("float.onnx")\n'
        'features, logits = session.run(["features", "logits"], {"x": x})\nclasses = logits.argmax(axis=1)'
    )
    return "\n".join(lines) + f"\n\n```python\n{example}\n```"


def _integer_outputs(run: FinishedRun) -> list[str]:
    if run.fixed is None:
        return []
    feature = next(iter(run.fixed.backend.formats.values())).feature.frac_bits
    return [
        f"- `integer.onnx` outputs integers, in units of 2^-{feature} for features and "
        f"2^-{run.fixed.readout_frac + feature} for logits. Its input is the same float32 `x`, which it rounds itself."
    ]


def _sequence_inputs_outputs(run: FinishedRun) -> str:
    data, frame = run.recipe.data, run.recipe.data.mfcc
    width, layer = data.input_shape[0], recurrent_first(run.network)
    hop_ms = 1000 * frame.hop_samples / frame.sample_rate_hz
    lines = [
        f"- Input `x`: float32, N x T x {width}, any N and T of at least 1: sequences of `{data.name}`, one frame per "
        f"{hop_ms:g} ms, of MFCC 1 to {width} in dB (MFCC 0, the loudness, is dropped; a silent frame is all zeros) as "
        f"torchaudio computes them at {frame.sample_rate_hz} Hz, with {frame.mels} mel bands and windows of "
        f"{frame.window_samples} samples, {_scaling(run)}.",
        "- Input `lengths`: int64, N: number of frames of each sequence. Values after them change no result. A length "
        "above T counts as T; a length of 0 or below is an empty sequence, whose states are zeros.",
        f"- Output `features`: N x {run.recipe.readout_features}, the readout's input. Output `logits`: N x "
        f"{data.classes}; the class is the index of the largest logit, the first of equal ones.",
        *_integer_outputs(run),
    ]
    text = "\n".join(lines) + f"\n\n```python\n{WHOLE}\n```"
    if len(layer.directions) == 2:
        return text
    inputs = f"`state`, float32, N x {layer.units}"
    zeros = f'"state": np.zeros((1, {layer.units}), "float32")'
    if layer.averages:
        inputs += ", `sum`, likewise, and `count`, int64, N"
        zeros += f', "sum": np.zeros((1, {layer.units}), "float32"), "count": np.zeros(1, "int64")'
    integer_step = ""
    if run.fixed is not None:
        integer_step = " `integer-step.onnx` gives the integers of `integer.onnx`; its `state` is int8"
        integer_step += " and its `sum` int32." if layer.averages else "."
    return (
        f"{text}\n\n`step.onnx` takes one frame `x`, float32, N x {width}, and the state of the sequence: {inputs}. "
        "For the first frame the state is zeros; for every other frame it is the last step's outputs, whose names have "
        "the prefix `new_`. `features` and `logits` are those of the sequence up to this frame: `float.onnx` gives the "
        f"same for a sequence that ends there.{integer_step}\n\n```python\n{STEPS.format(zeros=zeros)}\n```"
    )


def _sequence_limits(run: FinishedRun) -> list[str]:
    scan = "- Recurrent layers run in ONNX's Scan, which compilers for small chips may not support."
    if len(recurrent_first(run.network).directions) == 1:
        scan += " `step.onnx` has no Scan."
    return [
        scan,
        "- Runtimes round differently, and a recurrent layer accumulates the differences over steps: the tolerance of "
        "logits is 1e-5, or ten times the library's own difference between float32 and float64 if that is larger.",
    ]


def _accuracy(run: FinishedRun) -> str:
    text = f"Of the run, measured by scff-hw at the end of training: {run.accuracy:.2%} ({run.summary.measured_on})."
    return text.replace("%", " %")


def _checks(manifest: OnnxManifest) -> str:
    versions = manifest.versions
    allowed = {name: file.tolerance for name, file in manifest.files.items() if file.tolerance is not None}
    names = " and ".join(f"`{name}`" for name in allowed)
    tolerance = f"{max(allowed.values()):.2g}".replace("e-0", "e-")
    text = (
        f"At export, with onnx {versions['onnx']} and onnxruntime {versions['onnxruntime']}, on the first "
        f"{manifest.samples} of {manifest.test_samples} test samples, and on one sample alone: ONNX's checker "
        f"(full), strict shape inference, and the readers below. {names} had to be within {tolerance} of the "
        "library's float32 logits, relative to the largest"
    )
    equal = " and ".join(f"`{name}`" for name, file in manifest.files.items() if file.held_to == "integer")
    if equal:
        text += f"; {equal} had to equal the integer reference in every feature and logit"
    if any(file.held_to in CLOSE for file in manifest.files.values()):
        text += "; the others are compared with the integer reference"
    rows = [
        "| file | read by | samples | accuracy | features equal | logits equal | difference: largest, mean | class |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, file in manifest.files.items():
        for reader, result in file.readers.items():
            features = "-" if file.held_to == "float" else f"{result.features_equal:.2%}"
            logits = "-" if file.held_to == "float" else f"{result.logits_equal:.2%}"
            gap = f"{result.largest_logit_difference:.1e}, {result.mean_logit_difference:.1e}"
            rows.append(
                f"| `{name}` | {reader} | {result.samples} | {result.accuracy:.2%} | {features} | {logits} | {gap} | "
                f"{result.classes_equal:.2%} |".replace("%", " %")
            )
    note = "Differences are those of logits, relative to the largest logit."
    return f"{text}.\n\n" + "\n".join(rows) + f"\n\n{note}"


def _limits(run: FinishedRun, manifest: OnnxManifest) -> str:
    open_sizes = "the batch and the steps of sequences" if run.recipe.data.has_sequences else "the batch"
    lines = [f"- Inference only, no learning. Opset 13, IR version 8; every size except {open_sizes} is fixed."]
    if run.recipe.data.has_sequences:
        lines += _sequence_limits(run)
    if run.fixed is not None:
        lines.append("- `float.onnx` computes in float32 with the run's quantised weights, and rounds nothing else.")
        lines.append(NARROW)
        half_up = ""
        if next(iter(run.fixed.backend.formats.values())).rounding == "half_up":
            half_up = ", and it rounds halves to even, while this run rounds them up"
        if any(file.held_to in CLOSE for file in manifest.files.values()):
            lines.append("\n" + WHY_CLOSE.format(half_up=half_up))
    elif not run.backend_class.ideal:
        lines.append(
            f"- The weights were read back from the {run.backend} backend at the end of the run. Other effects of its "
            "hardware (read noise, converters, drift) are not in the graph, so accuracies can differ."
        )
    if run.recipe.training.dtype != "float32":
        lines.append(f"- The run learned in {run.recipe.training.dtype}; the graph computes in float32.")
    return "\n".join(lines)


def _scaling(run: FinishedRun) -> str:
    """Return the scaling of raw values, in words; of many values, the place where they are."""
    mean, std = run.scaling.mean, run.scaling.std
    if len(set(mean)) == len(set(std)) == 1:
        return f"minus {mean[0]:g}, divided by {std[0]:g}"
    axis = "channel" if len(run.recipe.data.input_shape) == 3 else "column"
    if len(mean) > SHORT:
        return f"minus `input_mean`, divided by `input_std` of the file's metadata, one value per {axis}"
    lists = ([f"{value:g}" for value in values] for values in (mean, std))
    return "minus [{}], divided by [{}], per {}".format(*map(", ".join, lists), axis)
