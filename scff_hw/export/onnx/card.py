"""The model card of an exported folder: what each file is, how it was checked, where its limits are."""

from __future__ import annotations

from scff_hw.documents import OnnxManifest
from scff_hw.escaping import markdown, markdown_code
from scff_hw.export.onnx.check import CLOSE
from scff_hw.export.onnx.float_recurrent import recurrent_first
from scff_hw.export.onnx.run import needs_label
from scff_hw.training.finished import FinishedRun

CARD = "README.md"

ABOUT = {
    "float.onnx": "float32 throughout: any runtime",
    "step.onnx": "float32 throughout, one frame at a time: beside a microphone",
    "integer.onnx": "the fixed-point specification's integers, step by step; features are int8, logits int32",
    "integer-step.onnx": "the same one frame at a time, for recurrent layers of one direction",
    "qdq.onnx": "int8 weights and activations in QuantizeLinear and DequantizeLinear: runtimes, NPU compilers",
    "qoperator.onnx": "QLinearMatMul and QLinearConv, one power of two a tensor: C generators",
    "qonnx.onnx": "QONNX's Quant operator, any width: the qonnx package's cleanup and execution",
}

WHY_CLOSE = """\
`qdq.onnx`, `qonnx.onnx` and `qoperator.onnx` hold the run's integers and scales, but are not equal to the integer
reference; the table says by how much they differ. The operations that make them differ:

- the standardisation of inputs and of features is in float32 there but for the rounding of the mean, in integers in the
  reference, so that a value beside a rounding boundary can land on its other side;
- the triangle's mean is not rounded to an integer before it is subtracted;
- a pre-activation, 16 bits wide in the reference, stays in float32 in `qdq.onnx` and has 8 bits in `qoperator.onnx`
  (QLinearMatMul and QLinearConv give no more), at a scale chosen on samples the hidden layers learned from;
- QuantizeLinear goes down to -128, the reference to -127{half_up}.
"""

NARROW = """\
- `integer.onnx` is for equality, not for speed. It computes in float32, below 2^24, where integers are exact; logits
  that can leave 2^24 are summed in int32. A runtime that computes in float32 gives the same integers; one set to
  bfloat16, float16 or TF32 does not. Measured besides the readers above, on networks of digits: OpenVINO 2026.4.1 on a
  CPU (also on recurrent networks of generated sounds) and MNN 3.6.1 on a CPU gave every feature and logit of the
  reference. MNN 3.6.1 reads no whole sequences: it has no Scan."""

WHOLE = """\
import onnxruntime

session = onnxruntime.InferenceSession("float.onnx")
features, logits = session.run(["features", "logits"], {"x": x, "lengths": lengths})
classes = logits.argmax(axis=1)"""

STEPS = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("step.onnx")
carried = {{{zeros}}}
for frame in frames:
    outputs = ["logits", *(f"new_{{name}}" for name in carried)]
    logits, *new = session.run(outputs, {{"x": frame[None], **carried}})
    carried = dict(zip(carried, new))"""


def card(run: FinishedRun, manifest: OnnxManifest) -> str:
    """The model card as Markdown."""
    parts = [
        f"# {run.recipe.name}, seed {run.seed}",
        _what(run),
        "## Files",
        _files(manifest),
        "## Inputs and outputs",
        _ends(run),
        "## Accuracy",
        _accuracy(run),
        "## How it was checked",
        _checks(manifest),
        "## Limits",
        _limits(run, manifest),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _what(run: FinishedRun) -> str:
    versions = run.details.versions
    trained = f"scff-hw {versions.get('scff-hw', '?')}, torch {versions.get('torch', '?')}"
    profile = run.details.profile
    hardware = "" if profile is None else f", hardware profile {markdown_code(profile)}"
    description = markdown(run.recipe.description[:1].upper() + run.recipe.description[1:])
    backend = markdown_code(run.backend)
    return (
        f"{description}. A network that learned by Self-Contrastive Forward-Forward (arXiv 2409.11593), layer by layer "
        f"and without labels, and a linear readout of its features.\n\nRecipe `{run.recipe.name}`, seed {run.seed}, "
        f"backend {backend}{hardware}; trained with {trained}. "
        "These and the formats of every tensor are in each file's metadata."
    )


def _files(manifest: OnnxManifest) -> str:
    rows = ["| file | bytes | what it is |", "| --- | ---: | --- |"]
    rows += [f"| `{name}` | {file.bytes} | {ABOUT[name]} |" for name, file in manifest.files.items()]
    reasons = dict.fromkeys(manifest.left_out.values())
    for reason in reasons:
        names = [f"`{name}`" for name, why in manifest.left_out.items() if why == reason]
        rows.append(f"\nLeft out: {', '.join(names)}. {reason}")
    return "\n".join(rows)


def _ends(run: FinishedRun) -> str:
    if run.recipe.data.has_sequences:
        return _sequence_ends(run)
    data = run.recipe.data
    shape = " x ".join(map(str, data.input_shape))
    if len(data.input_shape) == 3:
        made = f"pixels from 0 to 255, divided by 255, minus {_list(data.mean)}, divided by {_list(data.std)}"
    else:
        made = (
            "features minus the training part's mean, divided by its standard deviation, then minus "
            f"{_list(data.mean)}, divided by {_list(data.std)}"
        )
    lines = [f"- Input `x`: float32, N x {shape}, any N: `{data.name}`, {made}."]
    if needs_label(run.recipe):
        lines.append("  The place of the label holds the neutral one, 1 / classes in every entry.")
    lines.append(
        f"- Output `features`: N x {run.recipe.readout_features}, what the readout reads. Output `logits`: N x "
        f"{data.classes}; the class is the first of the largest."
    )
    lines += _integer_ends(run)
    example = (
        'import onnxruntime\n\nsession = onnxruntime.InferenceSession("float.onnx")\n'
        'features, logits = session.run(["features", "logits"], {"x": x})\nclasses = logits.argmax(axis=1)'
    )
    return "\n".join(lines) + f"\n\n```python\n{example}\n```"


def _integer_ends(run: FinishedRun) -> list[str]:
    if run.fixed is None:
        return []
    feature = next(iter(run.fixed.backend.formats.values())).feature.one
    return [
        f"- `integer.onnx` gives integers: a feature is one times 2^-{feature}, a logit one times "
        f"2^-{run.fixed.readout_frac + feature}; it rounds `x` itself, so that it takes the same input."
    ]


def _sequence_ends(run: FinishedRun) -> str:
    data, frame = run.recipe.data, run.recipe.data.mfcc
    width, layer = data.input_shape[0], recurrent_first(run.network)
    hop_ms = 1000 * frame.hop_samples / frame.sample_rate_hz
    lines = [
        f"- Input `x`: float32, N x T x {width}, any N and T of at least 1: sequences of `{data.name}`, a frame each "
        f"{hop_ms:g} ms, of MFCC 1 to {width} in dB (the loudness, 0, is dropped; zeros where it is silent) as "
        f"torchaudio computes them at {frame.sample_rate_hz} Hz, with {frame.mels} mel bands and windows of "
        f"{frame.window_samples} samples, minus {_list(data.mean, 'coefficient')}, divided by "
        f"{_list(data.std, 'coefficient')}.",
        "- Input `lengths`: int64, N: frames of each sequence. What lies behind them changes no answer. A length "
        "beyond T counts as T; one of 0, or below, is a sequence of nothing, whose states are zeros.",
        f"- Output `features`: N x {run.recipe.readout_features}, what the readout reads. Output `logits`: N x "
        f"{data.classes}; the class is the first of the largest.",
        *_integer_ends(run),
    ]
    text = "\n".join(lines) + f"\n\n```python\n{WHOLE}\n```"
    if len(layer.directions) == 2:
        return text
    carried = f"`state`, float32, N x {layer.units}"
    zeros = f'"state": np.zeros((1, {layer.units}), "float32")'
    if layer.averages:
        carried += ", `sum`, likewise, and `count`, int64, N"
        zeros += f', "sum": np.zeros((1, {layer.units}), "float32"), "count": np.zeros(1, "int64")'
    of_integers = ""
    if run.fixed is not None:
        of_integers = " `integer-step.onnx` does what `integer.onnx` does; its `state` is int8"
        of_integers += " and its `sum` int32." if layer.averages else "."
    return (
        f"{text}\n\n`step.onnx` takes one frame `x`, float32, N x {width}, and what is carried: {carried}. Zeros stand "
        "before the first frame; before every other stand the outputs of the same names with `new_` before them. Its "
        "`features` and `logits` are those of what was heard up to this frame: `float.onnx` gives the same for a "
        f"sequence that ends there.{of_integers}\n\n```python\n{STEPS.format(zeros=zeros)}\n```"
    )


def _sequence_limits(run: FinishedRun) -> list[str]:
    found = ["- Recurrent layers run in ONNX's Scan, which compilers for small chips may not take."]
    if len(recurrent_first(run.network).directions) == 1:
        found[0] += " `step.onnx` has none."
    return [
        *found,
        "- Roundings differ from runtime to runtime, and a recurrent layer carries them from step to step: logits are "
        "held to 1e-5, or to ten times the library's own difference between float32 and float64 where that is more.",
    ]


def _accuracy(run: FinishedRun) -> str:
    found = f"The run's own, measured by scff-hw when it was trained: {run.accuracy:.2%} ({run.summary.measured_on})."
    return found.replace("%", " %")


def _checks(manifest: OnnxManifest) -> str:
    versions = manifest.versions
    allowed = {name: file.tolerance for name, file in manifest.files.items() if file.tolerance is not None}
    held, tolerance = " and ".join(f"`{name}`" for name in allowed), f"{max(allowed.values()):.2g}".replace("e-0", "e-")
    text = (
        f"At export, with onnx {versions['onnx']} and onnxruntime {versions['onnxruntime']}, on the first "
        f"{manifest.samples} of {manifest.test_samples} test samples, and on one sample alone: ONNX's checker "
        f"(full), strict shape inference, and the readers below. {held} had to come within {tolerance} of the "
        "library's float32 logits, relative to the largest"
    )
    equal = " and ".join(f"`{name}`" for name, file in manifest.files.items() if file.held_to == "integer")
    if equal:
        text += f"; {equal} had to equal the integer reference in every feature and logit"
    if any(file.held_to in CLOSE for file in manifest.files.values()):
        text += "; the others are compared with it"
    rows = [
        "| file | read by | samples | accuracy | features equal | logits equal | difference: largest, mean | class |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, file in manifest.files.items():
        for reader, found in file.readers.items():
            same = "-" if file.held_to == "float" else f"{found.features_equal:.2%}"
            logits = "-" if file.held_to == "float" else f"{found.logits_equal:.2%}"
            gap = f"{found.largest_logit_difference:.1e}, {found.mean_logit_difference:.1e}"
            rows.append(
                f"| `{name}` | {reader} | {found.samples} | {found.accuracy:.2%} | {same} | {logits} | {gap} | "
                f"{found.classes_equal:.2%} |".replace("%", " %")
            )
    note = "Differences are those of logits, relative to the largest logit."
    return f"{text}.\n\n" + "\n".join(rows) + f"\n\n{note}"


def _limits(run: FinishedRun, manifest: OnnxManifest) -> str:
    open_sizes = "the batch and the steps of sequences" if run.recipe.data.has_sequences else "the batch"
    lines = [f"- Inference only: nothing here learns. Opset 13, IR version 8; every size but {open_sizes} is fixed."]
    if run.recipe.data.has_sequences:
        lines += _sequence_limits(run)
    if run.fixed is not None:
        lines.append("- `float.onnx` computes in float32 with the run's weights on their grids, and rounds nothing.")
        lines.append(NARROW)
        half_up = ""
        if next(iter(run.fixed.backend.formats.values())).rounding == "half_up":
            half_up = ", and rounds halves to even where this run rounds them up"
        if any(file.held_to in CLOSE for file in manifest.files.values()):
            lines.append("\n" + WHY_CLOSE.format(half_up=half_up))
    elif not run.backend_class.ideal:
        lines.append(
            f"- The weights are those read back from the {run.backend} backend at the end of the run. What its "
            "hardware does besides (noise of reading, converters, drift) is not in the graph, so accuracies can differ."
        )
    if run.recipe.training.dtype != "float32":
        lines.append(f"- The run learned in {run.recipe.training.dtype}; the graph computes in float32.")
    return "\n".join(lines)


def _list(values: tuple[float, ...], each: str = "channel") -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"[{', '.join(f'{value:g}' for value in values)}] a {each}"
