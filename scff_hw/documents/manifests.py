"""Manifests of exports: manifest.json of a folder, and the object that `--json` prints."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue

from scff_hw.documents.base import Document, Part, Seed, Share

MANIFEST = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0)]


class Manifest(Document):
    """Base of the manifests of all exporters. Keys without a value are omitted."""

    digests_key: ClassVar[str] = "files"
    """Name of the field, declared by a subclass, with the SHA-256 of every file by its path in the folder."""

    def with_digests(self, digests: dict[str, str]) -> Self:
        """A copy with the SHA-256 of every file, in hexadecimal."""
        return self.model_copy(update={self.digests_key: digests})

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values by the names in the file."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


Where = Literal["flash", "RAM"]


class Buffer(Part):
    """One buffer of an exported network, without code."""

    buffer: str
    where: Where
    bytes: Bytes


class FunctionSize(Part):
    """Code size of one function, and its own stack; None if the compiler does not report it."""

    flash_bytes: Bytes
    stack_bytes: Bytes | None


class CodeSizes(Part):
    """Sizes of the compiled runtime functions, or the reason why they are unknown."""

    compiler: str | None = None
    flags: str | None = None
    functions: dict[str, FunctionSize] | None = None
    left_out: str | None = None


class GoldenCounts(Part):
    """Counts of the selftest: classified samples, updates, samples or sequences per update."""

    answers: int
    updates: int
    batch: int


class CReadout(Part):
    """Formats of a readout in C; `learning_weight_frac` if it learns on the device."""

    weight_frac: int
    learning_weight_frac: int | None = None
    classes: int
    features: int


class CLayer(Part):
    """Formats of one layer, numbered from 1, and the largest number of rows whose sums fit its accumulators."""

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
        correct, correct_untrained: correct classifications of `tests`, with trained and with random layers.
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
        layers, learning_batch, learn_scratch_bytes, lesson: given for feed-forward layers.
        arrays, max_steps: given for a recurrent layer: formats by array, and the number of steps whose sums fit the
            accumulators.
        flash_bytes, ram_bytes: sums over `memory`.
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
        features_equal, logits_equal, classes_equal: equal shares of features, logits and classes.
        largest_logit_difference, mean_logit_difference: relative to the largest logit.
    """

    samples: int
    accuracy: Share
    features_equal: Share
    logits_equal: Share
    classes_equal: Share
    largest_logit_difference: float
    mean_logit_difference: float


class OnnxFile(Part):
    """One ONNX file.

    Attributes:
        held_to: reference of the comparison.
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
        test_accuracy: accuracy of the run on `measured_on`.
        samples: number of the `test_samples` used to check every file.
        left_out: omitted files, with the reason.
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
        nodes: kinds of the nodes by name.
        steps: steps of the computation in order; also in the metadata of the file.
        largest_feature_difference, largest_logit_difference: difference from the library, relative to the largest.
    """

    nir: str
    nodes: dict[str, str]
    steps: tuple[dict[str, JsonValue], ...]
    samples: int
    accuracy: Share
    largest_feature_difference: float
    largest_logit_difference: float


class CrossbarChecks(Part):
    """Results of `--check`: line of the selftest, and differences of currents relative to the largest current."""

    selftest: str
    netlist_without_wires: float
    ir_drop_of_largest_output: float


class CrossbarManifest(Manifest):
    """manifest.json of a crossbar program.

    Attributes:
        version: version of the program format.
        clipped_weights: number of the `weights` beyond the bounds of the mean device.
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
