"""Schema of a recipe, which describes one experiment. Units, ranges and sources of all keys are defined here only.

Models are frozen and reject unknown keys, wrong types (no bool for an integer, no text for a number) and values that
are not finite. Cited tables and appendices are those of the SCFF paper (arXiv 2409.11593).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scff_hw.config.base import Line, Model, refuse
from scff_hw.config.fixed_point import FixedPoint
from scff_hw.core.shapes import LayerShapes, Shape, ShapeError, conv2d_shapes, dense_shapes, feature_count
from scff_hw.recipes.augmentation_section import AugmentationRecipe, LearningAugmentation, Pixels
from scff_hw.recipes.data_section import DataRecipe

Epochs = Annotated[int, Field(ge=1, le=100_000)]
BatchSize = Annotated[int, Field(ge=2, le=65_536)]
LearningRate = Annotated[float, Field(gt=0, le=100)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Threshold = Annotated[float, Field(ge=0, le=1000)]
Width = Annotated[int, Field(ge=2, le=1_000_000)]
Percents = Annotated[tuple[Annotated[int, Field(ge=1, le=99)], ...], Field(strict=False)]


class RuleRecipe(Model):
    """Learning rule of the hidden layers."""

    name: Line = Field(default="scff", description="registered name of the rule")
    options: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        description="options of the rule, checked by the rule",
        json_schema_extra={"allowed": "a mapping of names to true, false, finite numbers or text"},
    )


class TrainingRecipe(Model):
    """Section `training`: training of the hidden layers."""

    batch_size: BatchSize = Field(default=100, description="samples per batch (Appendix F: 100)")
    schedule: Literal["sequential", "simultaneous"] = Field(
        default="sequential",
        description="sequential: one layer after the other; simultaneous: all layers in every batch",
    )
    update_positions: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="number of random positions per sample that a convolution learns from; errors are scaled to keep "
        "the mean update; null: every position, as in the paper",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="number format of the hidden layers"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="device of the hidden layers and the readout; auto: CUDA if available",
    )
    rule: RuleRecipe = Field(default_factory=RuleRecipe, description="the learning rule")
    checkpoint_every_batches: int = Field(
        default=500, ge=1, le=10_000_000, description="batches between checkpoints"
    )


class PoolRecipe(Model):
    """A square pooling window."""

    kind: Literal["max", "avg"] = Field(description="largest or mean value of the window")
    size: int = Field(ge=1, le=1024, description="px; height and width of the window")
    stride: int = Field(ge=1, le=1024, description="px; distance between windows")
    padding: Pixels = Field(default=0, description="px; padding on each side, at most half the size")
    ceil: bool = Field(default=True, description="include a last, partial window (authors' code: always)")

    @model_validator(mode="after")
    def _check(self) -> PoolRecipe:
        if self.padding > self.size // 2:
            refuse("padding", f"must be at most half the pool's size of {self.size} px, got {self.padding}")
        return self


class LearnRecipe(Model):
    """Section `learn` of a layer: optimiser and loss, a column of Tables F.2 to F.5."""

    epochs: int = Field(
        ge=0, le=100_000, description="passes over the learning split; 0: the layer keeps its initial weights"
    )
    optimiser: Literal["adamw", "sgd"] = Field(
        default="adamw", description="adamw also decays biases (authors' code); sgd is supported by analog devices"
    )
    learning_rate: LearningRate = Field(description="step size at the first batch")
    weight_decay: float = Field(default=0.0, ge=0, le=10, description="coefficient w_d; AdamW's is decoupled")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="momentum of sgd; must be 0 with adamw")
    decay_factor: float = Field(
        default=1.0, gt=0, le=1, description="gamma; factor on the learning rate, once per period"
    )
    decay_period_batches: int = Field(
        default=1000,
        ge=1,
        le=10_000_000,
        description="batches between decays, counted across epochs (authors' code)",
    )
    theta_pos: Threshold = Field(description="goodness threshold of positive pairs (mean squared activation)")
    theta_neg: Threshold = Field(description="goodness threshold of negative pairs (mean squared activation)")
    penalty: float = Field(
        default=0.0, ge=0, le=1000, description="lambda; weight of the Frobenius norm of positive goodness"
    )

    @model_validator(mode="after")
    def _check(self) -> LearnRecipe:
        if self.momentum and self.optimiser != "sgd":
            refuse("momentum", f"must be 0 with {self.optimiser}, got {self.momentum}")
        return self


Init = Annotated[
    Literal["linear", "xavier"],
    Field(
        description="linear: weights and biases uniform +-1/sqrt(fan_in); xavier: Xavier uniform weights, "
        "biases uniform +-1/sqrt(fan_in)"
    ),
]
Pairs = Annotated[
    Literal["made", "passed"],
    Field(
        description="made: pairs are formed at this layer's input (layer 1, and Algorithm 2); passed: taken from the "
        "previous layer's positive and negative outputs (Algorithm 1)"
    ),
]
Transmit = Annotated[
    Literal["triangle", "relu"],
    Field(description="activation of the transmitted output; learning always uses ReLU (Appendix D)"),
]
Learn = Annotated[LearnRecipe, Field(description="optimiser and loss")]


class Unpooled(Model):
    """A layer without pooling."""

    @property
    def pool(self) -> None:
        """No pool before the next layer."""
        return None

    @property
    def readout_pool(self) -> None:
        """No pool before the readout."""
        return None


class DenseRecipe(Unpooled):
    """A fully connected layer."""

    kind: Literal["dense"] = Field(description="fully connected")
    units: Width = Field(description="number of units")
    init: Init
    pairs: Pairs
    transmit: Transmit = "triangle"
    learn: Learn

    def shapes(self, shape: Shape) -> LayerShapes:
        """Return the shapes of this layer for an input sample of `shape`."""
        return dense_shapes(shape, self.units)


class Conv2dRecipe(Model):
    """A 2-D convolution of stride 1 with reflect padding."""

    kind: Literal["conv2d"] = Field(description="2-D convolution, stride 1")
    channels: Width = Field(description="number of kernels")
    kernel: int = Field(ge=1, le=1024, description="px; height and width of the kernels")
    padding: Pixels = Field(default=0, description="px; reflect padding on each side, less than the input size")
    init: Init
    pairs: Pairs
    transmit: Transmit = "triangle"
    pool: PoolRecipe | None = Field(default=None, description="pool before the next layer (Table D.1)")
    readout_pool: PoolRecipe | None = Field(
        default=None, description="extra pool before the readout (Table D.1, Layer's output)"
    )
    learn: Learn

    def shapes(self, shape: Shape) -> LayerShapes:
        """Return the shapes of this layer for an input sample of `shape`; raise `ShapeError` if they do not fit."""
        return conv2d_shapes(
            shape,
            channels=self.channels,
            kernel=self.kernel,
            padding=self.padding,
            pool=self.pool,
            readout_pool=self.readout_pool,
        )


class RecurrentRecipe(Unpooled):
    """A recurrent layer, the first layer of its network; it transmits its final states to the next layer."""

    kind: Literal["recurrent"] = Field(description="recurrent, for sequences")
    units: Width = Field(description="number of units per direction")
    directions: Literal[1, 2] = Field(
        default=2, description="1: forward in time; 2: also backward, by a second network"
    )
    output: Literal["final", "final-and-mean"] = Field(
        default="final",
        description="transmitted states: the last of each direction (Appendix E), or also the means over time",
    )
    learn: Learn

    @property
    def pairs(self) -> Literal["made"]:
        """Constant: a recurrent layer forms pairs of frames at its input."""
        return "made"

    def shapes(self, shape: Shape) -> LayerShapes:
        """Return the shapes of this layer for frames of `shape`."""
        return dense_shapes(shape, self.units * self.directions * (1 + (self.output == "final-and-mean")))


LayerRecipe = Annotated[DenseRecipe | Conv2dRecipe | RecurrentRecipe, Field(discriminator="kind")]


def _check_rising(key: str, values: tuple[int, ...]) -> None:
    if list(values) != sorted(set(values)):
        refuse(key, f"must rise without repeats, got {list(values)}")


ReadoutSolver = Literal["logistic", "ridge", "paper"]

PAPER_READOUT_KEYS = ("dropout", "epochs", "batch_size", "learning_rate", "halve_at_percent")
"""Keys of section `readout` that only the solver paper uses."""


class ReadoutRecipe(Model):
    """Section `readout`: linear classifier on the hidden layers' features (paper, Appendix G).

    Only the solver paper uses the keys in `PAPER_READOUT_KEYS`.
    """

    layers: Annotated[tuple[Annotated[int, Field(ge=1, le=100)], ...], Field(strict=False, min_length=1)] = (
        Field(description="numbers of the layers whose features it reads, from 1, ascending")
    )
    solver: ReadoutSolver = Field(
        default="logistic",
        description="logistic: multinomial logistic regression, converged; ridge: ridge regression in closed form; "
        "both with the L2 strength chosen on an eighth of the training part. paper: Adam, for epochs (Appendix G)",
    )
    dropout: Dropout = Field(default=0.0, description="solver paper: fraction of features dropped in training")
    epochs: Epochs = Field(default=50, description="solver paper: passes over the labelled training split")
    batch_size: BatchSize = Field(default=64, description="solver paper: samples per batch (Appendix G: 64)")
    learning_rate: LearningRate = Field(
        default=1e-3, description="solver paper: step size of Adam at the first epoch (Appendix G)"
    )
    halve_at_percent: Percents = Field(
        default=(20, 35, 50, 60, 70, 80, 90),
        description="solver paper: percent of the epochs after which the learning rate is halved, ascending "
        "(Appendix G)",
    )
    augmentation: AugmentationRecipe = Field(
        default_factory=AugmentationRecipe, description="augmentation during training"
    )
    augmented_copies: int = Field(
        0,
        ge=0,
        le=100,
        description="number of augmented versions per sample whose features are stored with those of the original; 0, "
        "with the solver paper only: features of translations and crops are recomputed at each use (flips are always "
        "stored)",
    )

    @model_validator(mode="after")
    def _check(self) -> ReadoutRecipe:
        _check_rising("layers", self.layers)
        _check_rising("halve_at_percent", self.halve_at_percent)
        return self


class BackpropRecipe(Model):
    """Control: the recipe's network trained end to end by backpropagation with Adam and the readout's augmentation."""

    epochs: Epochs = Field(description="passes over the labelled training split")
    learning_rate: LearningRate = Field(default=1e-3, description="step size of Adam")
    batch_size: BatchSize = Field(default=100, description="samples per batch")
    dropout: Dropout = Field(default=0.0, description="fraction of readout features dropped in training")
    halve_at_percent: Percents = Field(
        default=(), description="percent of the epochs after which the learning rate is halved, ascending"
    )
    clip_norm: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=None, description="largest norm of the gradient over all parameters; null: no limit"
    )

    @model_validator(mode="after")
    def _check(self) -> BackpropRecipe:
        _check_rising("halve_at_percent", self.halve_at_percent)
        return self


class PatchesRecipe(Model):
    """Control: hidden layers whose weights are whitened random patches of their inputs."""

    regulariser: Annotated[float, Field(gt=0, le=1000)] = Field(
        description="added to the eigenvalues of the covariance of a layer's patches, as a share of their mean: small "
        "for full whitening, large for patches as they are"
    )


class ControlsRecipe(Model):
    """Section `controls`: controls to compare the accuracy of SCFF with."""

    untrained: bool = Field(default=True, description="the same readout on untrained hidden layers")
    patches: PatchesRecipe | None = Field(
        default=None,
        description="the same readout on hidden layers whose weights are whitened random patches of their inputs; "
        "dense and conv2d layers only; null: not run",
    )
    paper_readout: bool = Field(
        default=False, description="the paper's readout on the same features, in addition to readout.solver"
    )
    backprop: BackpropRecipe | None = Field(
        default=None, description="backpropagation control; null: not run"
    )


class Recipe(Model):
    """Description of one experiment: data, network, learning and controls."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        max_length=100,
        description="names the recipe in tables and run folders",
        json_schema_extra={"allowed": "at most 100 lower-case letters, digits, '.', '_' or '-'"},
    )
    description: Line = Field(description="one line")
    source: Line = Field(description="source of the values, one line")
    data: DataRecipe = Field(description="the samples")
    augmentation: LearningAugmentation = Field(
        default_factory=LearningAugmentation, description="augmentation during training of the hidden layers"
    )
    training: TrainingRecipe = Field(default_factory=TrainingRecipe, description="training of the hidden layers")
    layers: Annotated[tuple[LayerRecipe, ...], Field(strict=False, min_length=1, max_length=100)] = Field(
        description="hidden layers, first to last; numbered from 1"
    )
    readout: ReadoutRecipe = Field(description="the linear classifier")
    controls: ControlsRecipe = Field(default_factory=ControlsRecipe, description="controls")
    fixed_point: FixedPoint = Field(
        default_factory=FixedPoint, description="number formats of the fixed backend"
    )

    @property
    def shapes(self) -> tuple[LayerShapes, ...]:
        """Shapes of input, hidden, output and readout features of every layer, first to last."""
        shapes: list[LayerShapes] = []
        shape = self.data.input_shape
        for layer in self.layers:
            shapes.append(layer.shapes(shape))
            shape = shapes[-1].output
        return tuple(shapes)

    @property
    def readout_features(self) -> int:
        """Number of input features of the readout."""
        return feature_count(self.shapes[number - 1] for number in self.readout.layers)

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.data.own is not None and (self.data.shape is None or self.data.class_names is None):
            refuse("data.shape", "must be given with data.class_names, or read from the data by load_recipe, got null")
        self._check_layers()
        if self.training.update_positions is not None and all(layer.kind != "conv2d" for layer in self.layers):
            positions = self.training.update_positions
            refuse("training.update_positions", f"must be null without a conv2d layer, got {positions}")
        last = len(self.layers)
        for number in self.readout.layers:
            if not 1 <= number <= last:
                refuse("readout.layers", f"must name layers from 1 to {last}, got {number}")
        if self.controls.patches is not None and self.data.has_sequences:
            refuse("controls.patches", f"must be null for {self.data.name}, whose samples are sequences")
        for key, augmentation in (
            ("augmentation", self.augmentation),
            ("readout.augmentation", self.readout.augmentation),
        ):
            self._check_augmentation(key, augmentation)
        return self

    def _check_layers(self) -> None:
        if self.layers[0].pairs != "made":
            refuse("layers.1.pairs", "must be made at the first layer, got 'passed'")
        shape = self.data.input_shape
        for number, layer in enumerate(self.layers, start=1):
            if (layer.kind == "recurrent") != (self.data.has_sequences and number == 1):
                refuse(f"layers.{number}.kind", self._kind_rule(number, layer.kind))
            try:
                shape = layer.shapes(shape).output
            except ShapeError as error:
                refuse(f"layers.{number}.{error.key}", str(error))

    def _kind_rule(self, number: int, kind: str) -> str:
        if not self.data.has_sequences:
            return f"must be dense or conv2d for {self.data.name}, which has no sequences, got '{kind}'"
        if number == 1:
            return f"must be recurrent for {self.data.name}, whose samples are sequences, got '{kind}'"
        return f"must be dense after a recurrent layer, which transmits its last states, got '{kind}'"

    def _check_augmentation(self, key: str, augmentation: AugmentationRecipe) -> None:
        shape, name = self.data.input_shape, self.data.name
        if augmentation.changes_recordings and not self.data.has_sequences:
            refuse(key, f"must leave shift_ms, gain_db and noise_db out for {name}, which has no recordings")
        if len(shape) == 1:
            if augmentation.changes_images:
                refuse(key, f"must be all zero and false for {name}, which has no images")
            if self.data.has_sequences and getattr(augmentation, "two_views", False):
                refuse(f"{key}.two_views", f"must be false for {name}, whose samples are sequences")
            return
        for pixels_of in ("translate_px", "crop_padding_px"):
            pixels = getattr(augmentation, pixels_of)
            if pixels >= shape[-1]:
                refuse(f"{key}.{pixels_of}", f"must be below the image's {shape[-1]} px, got {pixels}")
