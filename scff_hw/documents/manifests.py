"""What an exporter says of the files that it wrote: manifest.json of a folder, the object that `--json` prints."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue

from scff_hw.documents.base import Document, Part, Seed, Share

MANIFEST = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0)]


class Manifest(Document):
    """A manifest of any exporter. Keys that an export has no value for are left out."""

    digests_key: ClassVar[str] = "files"
    """The field, which a subclass declares, of the SHA-256 of every file by its path in the folder."""

    def with_digests(self, digests: dict[str, str]) -> Self:
        """The same with the SHA-256 of every file, in hexadecimal."""
        return self.model_copy(update={self.digests_key: digests})

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values by the names in the file."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


Where = Literal["flash", "RAM"]


class Buffer(Part):
    """One buffer of an exported network; code is not in it."""

    buffer: str
    where: Where
    bytes: Bytes


class FunctionSize(Part):
    """Code of one function, and its own stack; None where the compiler does not say it."""

    flash_bytes: Bytes
    stack_bytes: Bytes | None


class CodeSizes(Part):
    """Sizes of the runtime's functions as the target's compiler makes them, or why they are not known."""

    compiler: str | None = None
    flags: str | None = None
    functions: dict[str, FunctionSize] | None = None
    left_out: str | None = None


class GoldenCounts(Part):
    """What the selftest compares: samples classified, updates, samples or sequences per update."""

    answers: int
    updates: int
    batch: int


class CReadout(Part):
    """Formats of a readout in C; `learning_weight_frac` where it learns on the device."""

    weight_frac: int
    learning_weight_frac: int | None = None
    classes: int
    features: int


class CLayer(Part):
    """Formats of one layer, from 1, and the rows whose sums fit its accumulators."""

    layer: int
    formats: dict[str, Any]
    max_rows: int


class Scratch(Part):
    """Bytes of scratch of learning: for each sample, and besides."""

    per_sample: Bytes
    beside: Bytes


class LessonResult(Part):
    """What the integer reference ended with after the stream of samples beside the sources.

    Attributes:
        correct, correct_untrained: right answers of `tests`, with layers that learned and with random ones.
        crcs: CRC-32 of each layer's saved bytes, and of the readout's.
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
    """manifest.json of a network in C, of feed-forward layers or of one recurrent layer.

    Attributes:
        run: name of the run's folder.
        target: "host", or the name of a digital profile; `core` is its processor.
        layers, learning_batch, learn_scratch_bytes, lesson: of feed-forward layers.
        arrays, max_steps: of a recurrent layer: formats by array, steps whose sums fit the accumulators.
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
    """Answers of one reader of an ONNX file, beside the library's.

    Attributes:
        features_equal, logits_equal, classes_equal: shares of the samples' features, logits and classes.
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
        held_to: what its answers are compared with.
        tolerance: largest difference of logits allowed, relative to the largest; of files in float32.
    """

    bytes: Bytes
    held_to: str
    readers: dict[str, ReaderResult]
    tolerance: float | None = None


class OnnxManifest(Manifest):
    """manifest.json of a folder of ONNX files.

    Attributes:
        run: path of the run's folder.
        test_accuracy: the run's own, on `measured_on`.
        samples: of the `test_samples` that every file was checked on.
        left_out: files that were not written, and why.
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
    """What `scff-hw export nir --json` prints of the file that it wrote.

    Attributes:
        nir: version of the package that wrote it.
        nodes: kinds of the nodes by name.
        steps: what a reader does, in order; also in the file's metadata.
        largest_feature_difference, largest_logit_difference: from the library's, relative to the largest.
    """

    nir: str
    nodes: dict[str, str]
    steps: tuple[dict[str, JsonValue], ...]
    samples: int
    accuracy: Share
    largest_feature_difference: float
    largest_logit_difference: float


class CrossbarChecks(Part):
    """What `--check` found: the selftest's line, and differences of currents relative to the largest."""

    selftest: str
    netlist_without_wires: float
    ir_drop_of_largest_output: float


class CrossbarManifest(Manifest):
    """manifest.json of a crossbar program.

    Attributes:
        version: of the program's format.
        clipped_weights: those of `weights` that lie beyond the bounds of the mean device.
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
