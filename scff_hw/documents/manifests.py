"""Manifests of exports: manifest.json in the exported folder, and the JSON object that `--json` prints."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue

from scff_hw.documents.base import Document, Part, Seed, Share

MANIFEST = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0)]


class Manifest(Document):
    """Base class for the manifest of an exporter. Keys without a value are omitted from the JSON."""

    digests_key: ClassVar[str] = "files"
    """Name of a subclass's field with the SHA-256 of every file, by path in the folder."""

    def with_digests(self, digests: dict[str, str]) -> Self:
        """Return a copy with `digests`: SHA-256 in hexadecimal by file path."""
        return self.model_copy(update={self.digests_key: digests})

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, keyed as in the file."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


Where = Literal["flash", "RAM"]


class Buffer(Part):
    """A data buffer (not code) of an exported network, with its size in bytes."""

    buffer: str
    where: Where
    bytes: Bytes


class FunctionSize(Part):
    """Code size of one function and its own stack, in bytes; stack None if the compiler does not report it."""

    flash_bytes: Bytes
    stack_bytes: Bytes | None


class CodeSizes(Part):
    """Sizes of the compiled runtime functions, or the reason why they are unknown."""

    compiler: str | None = None
    flags: str | None = None
    functions: dict[str, FunctionSize] | None = None
    left_out: str | None = None


class GoldenCounts(Part):
    """Number of classified samples, of updates, and of samples or sequences per update in the selftest."""

    answers: int
    updates: int
    batch: int


class CReadout(Part):
    """Fraction bits and sizes of a readout in C; `learning_weight_frac` if the readout learns on the device."""

    weight_frac: int
    learning_weight_frac: int | None = None
    classes: int
    features: int


class CLayer(Part):
    """Number formats of a layer, numbered from 1, and the largest number of rows whose sums fit its accumulators."""

    layer: int
    formats: dict[str, Any]
    max_rows: int


class Scratch(Part):
    """Scratch memory for learning in bytes: per sample, and independent of the number of samples."""

    per_sample: Bytes
    beside: Bytes


class LessonResult(Part):
    """Result of the integer reference after the exported stream of samples.

    Attributes:
        correct, correct_untrained: number of correct samples, out of `tests`, with trained and with random layers.
        crcs: CRC-32 of the saved bytes of each layer, and of the readout.
    """

    samples: int
    epochs: int
    batch: int
    labels: int
    seed: int
    tests: int
    correct: int
    correct_untrained: int
    crcs: tuple[int, ...]


class CManifest(Manifest):
    """manifest.json of a network in C, with feed-forward layers or one recurrent layer.

    Attributes:
        run: name of the run folder.
        target: "host", or the name of a digital profile; `core` is its processor.
        layers, learning_batch, learn_scratch_bytes, lesson: only with feed-forward layers.
        arrays, max_steps: only with a recurrent layer: formats per array; number of steps whose sums fit the
            accumulators.
        flash_bytes, ram_bytes: total bytes of `memory` in flash and in RAM.
    """

    made_by: str
    run: str
    recipe: str
    seed: Seed
    target: str
    core: str
    rounding: str
    update_rounding: Literal["nearest", "stochastic"]
    layers: tuple[CLayer, ...] | None = None
    arrays: dict[str, dict[str, Any]] | None = None
    max_steps: int | None = None
    readout: CReadout
    memory: tuple[Buffer, ...]
    flash_bytes: Bytes
    ram_bytes: Bytes
    learning_batch: int | None = None
    learn_scratch_bytes: Scratch | None = None
    golden: GoldenCounts
    lesson: LessonResult | None = None
    code: CodeSizes | None = None
    files: dict[str, Sha256] = Field(default_factory=dict)


class ReaderResult(Part):
    """Outputs of one runtime for an ONNX file, compared with the library.

    Attributes:
        features_equal, logits_equal, classes_equal: share of equal features, logits and predicted classes, 0..1.
        largest_logit_difference, mean_logit_difference: difference of logits, relative to the largest logit.
    """

    samples: int
    accuracy: Share
    features_equal: Share
    logits_equal: Share
    classes_equal: Share
    largest_logit_difference: float
    mean_logit_difference: float


class OnnxFile(Part):
    """An ONNX file, checked in several runtimes (`readers`).

    Attributes:
        held_to: reference that the file's outputs are compared with.
        tolerance: largest allowed difference of logits, relative to the largest logit; for float32 files.
    """

    bytes: Bytes
    held_to: str
    readers: dict[str, ReaderResult]
    tolerance: float | None = None


class OnnxManifest(Manifest):
    """manifest.json of a folder of ONNX files.

    Attributes:
        run: path of the run folder.
        test_accuracy: accuracy of the run on `measured_on`, a part of the data.
        samples: number of samples, out of `test_samples`, that every file is checked with.
        left_out: reason by name of an omitted file.
    """

    digests_key: ClassVar[str] = "sha256"

    run: str
    recipe: str
    seed: Seed
    backend: str
    profile: str | None = None
    test_accuracy: Share
    measured_on: str
    samples: int
    test_samples: int
    files: dict[str, OnnxFile]
    left_out: dict[str, str]
    versions: dict[str, str]
    sha256: dict[str, Sha256] = Field(default_factory=dict)


class NirManifest(Manifest):
    """Output of `scff-hw export nir --json`.

    Attributes:
        nir: version of the package nir.
        nodes: kind of each node by name.
        steps: steps of the computation in order; also in the file's metadata.
        largest_feature_difference, largest_logit_difference: difference from the library's features and logits,
            relative to the largest feature or logit.
    """

    nir: str
    nodes: dict[str, str]
    steps: tuple[dict[str, JsonValue], ...]
    samples: int
    accuracy: Share
    largest_feature_difference: float
    largest_logit_difference: float


class CrossbarChecks(Part):
    """Results of `--check`: output line of the selftest; differences of currents, relative to the largest current."""

    selftest: str
    netlist_without_wires: float
    ir_drop_of_largest_output: float


class CrossbarManifest(Manifest):
    """manifest.json of a crossbar program.

    Attributes:
        version: version of the program format.
        clipped_weights: number of weights, out of `weights`, beyond the bounds of the mean device.
    """

    format: Literal["scff-hw crossbar program"]
    version: Literal[1]
    made_by: str
    run: str
    recipe: str
    profile: str
    backend: str
    seed: Seed
    tiles: int
    devices_to_program: int
    weights: int
    clipped_weights: int
    checks: CrossbarChecks | None = None
    files: dict[str, Sha256] = Field(default_factory=dict)
