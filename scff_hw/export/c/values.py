"""Values of the templates of exported C. A template reads the fields of one object; an unknown name is an error."""

from __future__ import annotations

from dataclasses import dataclass

from scff_hw.documents.manifests import Buffer
from scff_hw.escaping import Code
from scff_hw.export.c.layer import LayerConstants
from scff_hw.hardware.digital import Memory

Initialisers = list[tuple[str, str]]
"""Field names and values of a `scff_layer_t`."""


@dataclass(frozen=True)
class TargetValues:
    """The target that exported C is compiled for.

    Attributes:
        name: name of the target or of its profile.
        emulated: True for a chip (run in QEMU), False for the host.
        flags: compiler flags for arm-none-eabi-gcc.
        board: machine name in QEMU.
        flash, ram: origin and length on that machine.
        limits: memory sizes of the chip; None for the host.
    """

    name: str
    emulated: bool
    flags: str
    board: str
    flash: tuple[str, str]
    ram: tuple[str, str]
    limits: Memory | None


@dataclass(frozen=True)
class InputValues:
    """The scaling of raw values to inputs, `(raw - mean) / std`, and the class names.

    Attributes:
        note: description of the raw values.
        scale_axis: the axis with one mean and one standard deviation per entry, e.g. "channel".
        mean, std: of raw values, as float initialisers.
        class_names: as C strings.
    """

    note: str
    scale_axis: str
    mean: Code
    std: Code
    class_names: Code


@dataclass(frozen=True)
class ArrayValues:
    """One array of weights: its constants, and its numbers as C text."""

    c: LayerConstants
    weights: int
    weight_format: str
    weight_text: Code
    shadow_text: Code
    bias_text: Code
    states_text: Code
    frac_text: Code
    initialisers: Initialisers


@dataclass(frozen=True)
class LayerValues(ArrayValues):
    """One feed-forward layer.

    Attributes:
        number: from 1.
        feature_offset: index of the layer's first feature in the readout's input; None: the readout does not read it.
        learn_per_sample, learn_fixed: bytes of scratch for learning: per sample, and fixed.
        passes_both: the next layer takes both the positive and the negative output stream.
        before_last: the layer is the last but one.
    """

    number: int
    title: str
    shadow_format: str
    bias_format: str
    rate_shift: int
    feature_offset: int | None
    learn_per_sample: int
    learn_fixed: int
    passes_both: bool
    before_last: bool


@dataclass(frozen=True)
class ReadoutValues:
    """The exported readout, and the readout that learns, which has fewer fraction bits.

    Attributes:
        c: constants of the readout that learns.
        text, bias_text, frac: weights, biases and fraction bits as exported.
        feature_frac: fraction bits of features.
        flash_initialisers, initialisers: of the exported readout, and of the readout that learns.
        shadow_factor, bias_divisor: convert exported weights to shadow weights, and exported biases to learning ones.
    """

    c: LayerConstants
    text: Code
    bias_text: Code
    frac: int
    feature_frac: int
    flash_initialisers: Initialisers
    initialisers: Initialisers
    shadow_factor: int
    bias_divisor: int


@dataclass(frozen=True)
class ScratchValues:
    """Bytes of scratch of a whole feed-forward network.

    Attributes:
        forward: a forward pass, largest of all layers.
        classify, label: to classify a sample, to learn a label.
        layer_per_sample, layer_fixed: to train one layer, largest of all layers: per sample, and fixed.
        learn_per_sample, learn_fixed: to train all layers, with the streams between them.
    """

    forward: int
    classify: int
    label: int
    layer_per_sample: int
    layer_fixed: int
    learn_per_sample: int
    learn_fixed: int

    def learn(self, batch: int) -> int:
        """Return the bytes to learn from `batch` samples."""
        return self.learn_per_sample * batch + self.learn_fixed


@dataclass(frozen=True)
class GoldenValues:
    """Golden vectors of a feed-forward network.

    Attributes:
        samples, updates, count: numbers of classified samples, of updates, and of samples per update.
        label_shift: rate shift of the readout's learning; `labels_text`: the labels that it learns.
        crcs_text: CRC-32 of each layer's saved bytes after each update, without their trailing CRC; `readout_crc`: of
            the readout's saved bytes, at the end.
    """

    samples: int
    updates: int
    count: int
    label_shift: int
    samples_text: Code
    logits_text: Code
    classes_text: Code
    stream_text: Code
    crcs_text: Code
    labels_text: Code
    readout_crc: int


@dataclass(frozen=True)
class SavedPart:
    """A layer or the readout, which `learn.c` saves and compares, with its C names."""

    name: str
    short: str
    size: str
    object: str


@dataclass(frozen=True)
class CommonValues:
    """Template values of every network.

    Attributes:
        file: stem of the model's files; `prefix`, `guard`: prefixes of its C names and macros.
        run: name of the run's folder.
        learns: the folder has an image that learns from a stream.
        input_frac: fraction bits of inputs.
        largest_save: bytes of the largest saved part.
    """

    file: str
    prefix: str
    guard: str
    version: str
    run: str
    recipe: str
    description: str
    seed: int
    rounding: str
    target: TargetValues
    learns: bool
    input: InputValues
    input_frac: int
    classes: int
    memory: tuple[Buffer, ...]
    largest_save: int


@dataclass(frozen=True)
class FeedForwardValues(CommonValues):
    """A feed-forward network.

    Attributes:
        inputs, features: values per sample, and features per sample that the readout reads.
        shape: of a sample.
        batch: learning batch of the memory table; `max_count`: largest batch whose sums fit the accumulators.
        rates_text: rate shift of each layer.
        model_bytes, learn_bytes: bytes of the state that learning changes, and of scratch at `batch`.
    """

    stochastic: bool
    two_views: bool
    inputs: int
    shape: tuple[int, ...]
    features: int
    batch: int
    max_count: int
    rates_text: Code
    model_bytes: int
    learn_bytes: int
    layers: tuple[LayerValues, ...]
    readout: ReadoutValues
    scratch: ScratchValues
    golden: GoldenValues
    parts: tuple[SavedPart, ...]


@dataclass(frozen=True)
class RecurrentReadout:
    """The readout of a recurrent layer, which does not learn."""

    text: Code
    bias_text: Code
    frac: int
    initialisers: Initialisers


@dataclass(frozen=True)
class RecurrentGolden:
    """Golden vectors of a recurrent layer.

    Attributes:
        answers, updates: numbers of classified sequences, and of updates.
        first_text: index of each sequence's first frame in `frames_text`, then the end of the last.
        crcs_text: CRC-32 of each array's saved bytes after each update, without their trailing CRC.
    """

    answers: int
    updates: int
    frames_text: Code
    first_text: Code
    logits_text: Code
    classes_text: Code
    crcs_text: Code


@dataclass(frozen=True)
class RecurrentValues(CommonValues):
    """A recurrent layer of one direction.

    Attributes:
        features: values per frame; `units`: of the layer; `outputs`: values that the readout reads.
        averages: 1 if the readout also reads the mean state over time.
        arrays: "inputs" and "hidden".
        max_steps: largest number of steps per batch whose sums fit the accumulators.
        step_scratch, learn_scratch: bytes of scratch of a forward step, and of a learning step.
    """

    features: int
    units: int
    outputs: int
    averages: int
    arrays: dict[str, ArrayValues]
    rate_shift: int
    max_steps: int
    step_scratch: int
    learn_scratch: int
    readout: RecurrentReadout
    golden: RecurrentGolden
