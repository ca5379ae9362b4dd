"""What the templates of exported C print. Templates know the fields of one object by name; a name it lacks fails."""

from __future__ import annotations

from dataclasses import dataclass

from scff_hw.documents.manifests import Buffer
from scff_hw.escaping import Code
from scff_hw.export.c.layer import LayerConstants
from scff_hw.hardware.digital import Memory

Initialisers = list[tuple[str, str]]
"""Names and values of the fields of a `scff_layer_t`."""


@dataclass(frozen=True)
class TargetValues:
    """What C is exported for.

    Attributes:
        name: of the target or its profile.
        emulated: it is a chip, which QEMU runs; False on the host.
        flags: of arm-none-eabi-gcc.
        board: that QEMU emulates; `flash`, `ram`: origin and length there.
        limits: the chip's memories; None on the host.
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
    """From a raw value to an input, `(raw - mean) / std`, and from an output to a class.

    Attributes:
        note: what raw values are.
        scale_axis: mean and standard deviation are one per this, e.g. "channel".
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
    """One array of weights: its constants, and its numbers as C."""

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
        learn_per_sample, learn_fixed: bytes of scratch of learning, for each sample and besides.
        passes_both: the next layer takes its positive and its negative outputs.
        before_last: it is the last but one.
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
    """The readout as exported, and as one that learns, with fewer fraction bits.

    Attributes:
        c: constants of the one that learns.
        text, bias_text, frac: weights, biases and fraction bits as exported.
        feature_frac: fraction bits of features.
        flash_initialisers, initialisers: of the exported one, and of the one that learns.
        shadow_factor, bias_divisor: from the exported one's weights and biases to the other's.
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
        forward: of the layer that needs most.
        classify, label: to classify a sample, to learn a label.
        layer_per_sample, layer_fixed: of the layer that needs most to learn, for each sample and besides.
        learn_per_sample, learn_fixed: with the streams between layers.
    """

    forward: int
    classify: int
    label: int
    layer_per_sample: int
    layer_fixed: int
    learn_per_sample: int
    learn_fixed: int

    def learn(self, batch: int) -> int:
        """To learn from `batch` samples."""
        return self.learn_per_sample * batch + self.learn_fixed


@dataclass(frozen=True)
class GoldenValues:
    """Golden vectors of a feed-forward network.

    Attributes:
        samples, updates, count: numbers of samples classified, of updates, of samples per update.
        label_shift: rate shift of the readout's learning; `labels_text`: the labels it learns.
        crcs_text: CRC-32 of each layer's saved bytes after each update, without their own CRC; `readout_crc`: of the
            readout's, at the end.
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
    """What `learn.c` saves and compares: a layer or the readout, by its names in C."""

    name: str
    short: str
    size: str
    object: str


@dataclass(frozen=True)
class CommonValues:
    """What templates of every network print.

    Attributes:
        file: stem of the model's files; `prefix`, `guard`: before its names and its macros in C.
        run: name of the run's folder.
        learns: there is an image that learns from a stream.
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
        inputs, features: values of a sample, and values that the readout reads.
        shape: of a sample.
        batch: samples that memory is counted for; `max_count`: most samples whose sums fit the accumulators.
        rates_text: rate shifts of the layers.
        model_bytes, learn_bytes: of what learning changes, and of its scratch at `batch`.
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
        answers, updates: numbers of sequences classified, and of updates.
        first_text: where each sequence begins in `frames_text`, and the last ends.
        crcs_text: CRC-32 of each array's saved bytes after each update, without their own CRC.
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
        features: values of a frame; `units`: of the layer; `outputs`: values that the readout reads.
        averages: 1 where the readout also reads the mean over time.
        arrays: "inputs" and "hidden".
        max_steps: most steps of a batch whose sums fit the accumulators.
        step_scratch, learn_scratch: bytes of scratch of a step.
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
