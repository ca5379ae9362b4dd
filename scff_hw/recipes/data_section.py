"""The section `data` of a recipe: data set and preprocessing."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from scff_hw.config.base import Line, Model, refuse
from scff_hw.config.keys import REGISTRIES, REGISTRY
from scff_hw.core.shapes import Shape
from scff_hw.data import DATASETS, Info, dataset_names, info
from scff_hw.data.own import KINDS, ArraysOptions, ImagesOptions, OwnSource, TableOptions, own_dataset

REGISTRIES["data sets"] = dataset_names

CATALOGUE = "catalogue"
"""Value of `data.kind` for a data set that is selected by name."""

OWN_KEYS = ("path", "shape", "class_names", "test_share", "split_seed", "table", "images")

Side = Annotated[int, Field(ge=1, le=1_000_000)]


class _KnownName:
    """Annotation: a name in the registry of data sets, which includes installed packages; for own data, any name."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._check, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "enum": dataset_names(), REGISTRY: "data sets"}

    @staticmethod
    def _check(name: str, info: ValidationInfo) -> str:
        if info.data.get("kind") == CATALOGUE and name not in DATASETS:
            raise PydanticCustomError("data_set", "Input should be the name of a data set")
        return name


class MfccRecipe(Model):
    """Section `data.mfcc`: mel-frequency cepstral coefficients of a recording."""

    sample_rate_hz: int = Field(
        default=16_000, ge=1000, le=192_000, description="Hz; recordings are resampled to this rate"
    )
    coefficients: int = Field(
        default=40,
        ge=3,
        le=1024,
        description="coefficients computed per frame, at most mels; the first, the loudness, is dropped",
    )
    window_samples: int = Field(default=400, ge=2, le=65_536, description="samples per frame")
    hop_samples: int = Field(
        default=200, ge=1, le=65_536, description="samples between frame starts, at most window_samples"
    )
    mels: int = Field(default=128, ge=2, le=1024, description="number of bands of the mel filter bank")

    @model_validator(mode="after")
    def _check(self) -> MfccRecipe:
        for key, most in (("coefficients", "mels"), ("hop_samples", "window_samples")):
            if getattr(self, key) > getattr(self, most):
                refuse(key, f"must be at most {most}, {getattr(self, most)}, got {getattr(self, key)}")
        return self


class TableRecipe(Model):
    """Section `data.table`: columns of a table."""

    label: Line = Field(default="label", description="column of the labels: texts or whole numbers")
    features: Annotated[tuple[Line, ...], Field(strict=False)] = Field(
        default=(), description="columns of the features, numbers; empty: all other columns"
    )
    split: Line | None = Field(
        default=None, description="column with train, test or unlabelled; null: a random share is the test part"
    )
    group: Line | None = Field(
        default=None, description="column of groups, e.g. subjects, each in one part only; null: none"
    )
    separator: str = Field(default=",", min_length=1, max_length=1, description="separator of columns in CSV")
    decimal: Literal[".", ","] = Field(default=".", description="decimal mark in CSV")


class ImagesRecipe(Model):
    """Section `data.images`: how image files are read."""

    size: Annotated[tuple[Side, ...], Field(strict=False, min_length=2, max_length=2)] | None = Field(
        default=None,
        description="px; height and width, images are resized and cropped at the centre; null: all have one size",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1: grey; 3: colour; null: as in the first image"
    )


class DataRecipe(Model):
    """Section `data`: data set and preprocessing."""

    kind: Literal["catalogue", "arrays", "table", "images"] = Field(
        default=CATALOGUE,
        description="catalogue: a data set by its name; own data in path: arrays: .npz, or a folder of .npy; table: "
        ".csv or .parquet; images: a folder per class",
    )
    name: Annotated[str, _KnownName()] = Field(description="data set; of own data, any name")
    path: Line | None = Field(
        default=None, description="own data only: file or folder, relative to the recipe's file"
    )
    shape: Annotated[tuple[Side, ...], Field(strict=False)] | None = Field(
        default=None,
        description="own data only: shape of a sample, [features] or [channels, height, width]; null: read from the "
        "data, and stored in the run",
    )
    class_names: Annotated[tuple[Line, ...], Field(strict=False)] | None = Field(
        default=None, description="own data only: names of the classes, in the order of labels; null: as shape"
    )
    test_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="own data without a split of their own: share of each class in the test part",
    )
    split_seed: int = Field(default=0, ge=0, le=2**32 - 1, description="own data: seed of that split")
    table: TableRecipe = Field(default_factory=TableRecipe, description="table only: its columns")
    images: ImagesRecipe = Field(default_factory=ImagesRecipe, description="images only: how files are read")
    scale: Literal["per-feature", "units"] | None = Field(
        default=None,
        description="per-feature: each feature, channel of images or MFCC coefficient to mean 0 and standard deviation "
        "1 over the training part, computed once and stored in the run; units: pixels divided by 255, features and "
        "coefficients (dB) as they are; null: per-feature for plain features, units for images and recordings",
    )
    mean: Annotated[tuple[Annotated[float, Field(ge=-10, le=10)], ...], Field(strict=False)] = Field(
        default=(0.0,),
        description="subtracted from values scaled by data.scale; one value, or one per channel or coefficient "
        "(Appendix F)",
    )
    std: Annotated[tuple[Annotated[float, Field(ge=1e-6, le=10)], ...], Field(strict=False)] = Field(
        default=(1.0,),
        description="divisor after the mean is subtracted; one value, or one per channel or coefficient (Appendix F)",
    )
    shrink: int = Field(
        default=1,
        ge=1,
        le=48,
        description="factor by which both image axes are reduced, by means over squares; 1: unchanged",
    )
    learn_split: Literal["train", "unlabelled"] = Field(
        default="train", description="split that the hidden layers learn from; unlabelled: stl10 only"
    )
    validation_samples: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="number of random training samples held out and scored instead of the test split, for tuning "
        "(Appendix F); 0: none, the test split is scored",
    )

    mfcc: MfccRecipe = Field(default_factory=MfccRecipe, description="fsdd only: features of recordings")
    leave_out_speaker: Line | None = Field(
        default=None,
        description="fsdd only: speaker whose recordings are the test split; all others are the training split; "
        "null: the publisher's split",
    )

    @property
    def own(self) -> OwnSource | None:
        """Path and reading options of own data; None for a data set of the catalogue."""
        if self.kind == CATALOGUE:
            return None
        options: ArraysOptions | TableOptions | ImagesOptions = ArraysOptions()
        if self.kind == "table":
            options = TableOptions(**dict(self.table))
        elif self.kind == "images":
            options = ImagesOptions(**dict(self.images))
        return OwnSource(self.kind, Path(self.path or ""), options, self.test_share, self.split_seed)

    @property
    def info(self) -> Info:
        """Catalogue entry of the data set; for own data, an entry made from this section."""
        own = self.own
        if own is None:
            return info(self.name)
        return Info(
            self.name,
            f"own data, {self.kind}",
            licence="",
            source=str(own.path),
            input_shape=self.shape or (),
            classes=len(self.class_names or ()),
            load=lambda root: own_dataset(own, self.name),
            unlabelled=True,
        )

    @property
    def has_sequences(self) -> bool:
        """Whether samples are sequences of frames."""
        return self.kind == CATALOGUE and self.info.has_recordings

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample: (channels, height, width) or (features,); of one frame for sequences."""
        if self.has_sequences:
            return (self.mfcc.coefficients - 1,)
        shape = self.info.input_shape
        return (shape[0], *(length // self.shrink for length in shape[1:]))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.info.classes

    @model_validator(mode="after")
    def _check(self) -> DataRecipe:
        self._check_own()
        if self.kind != CATALOGUE and self.shape is None:
            return self  # shapes are checked when they have been read from the data
        if not self.has_sequences and (self.mfcc != MfccRecipe() or self.leave_out_speaker is not None):
            key = "mfcc" if self.leave_out_speaker is None else "leave_out_speaker"
            refuse(key, f"must be left out for {self.name}, which has no recordings")
        lengths = self.info.input_shape[1:]
        if any(length % self.shrink for length in lengths) or (self.shrink > 1 and not lengths):
            allowed = f"a divisor of {lengths[0]}" if lengths else "1"
            refuse("shrink", f"must be {allowed} for {self.name}, got {self.shrink}")
        if prod(self.input_shape) < 2:
            refuse("shrink", f"must leave {self.name} more than 1 pixel to standardise over, got {self.shrink}")
        channels = self.input_shape[0]
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                allowed = "1 value" if channels == 1 else f"1 or {channels} values"
                refuse(key, f"must have {allowed} for {self.name}, got {len(values)}")
        if self.learn_split == "unlabelled" and not self.info.unlabelled:
            refuse(
                "learn_split",
                f"must be train for {self.name}, which has no unlabelled split, got 'unlabelled'",
            )
        return self

    def _check_own(self) -> None:
        """Raise a validation error for keys of own data with a catalogue data set, or for invalid own-data keys."""
        if self.kind != CATALOGUE:
            if self.path is None:
                refuse("path", f"must name the {self.kind} to read, got null")
            if self.shape is not None and len(self.shape) not in (1, 3):
                refuse("shape", f"must be [features] or [channels, height, width], got {list(self.shape)}")
            if self.class_names is not None and len(set(self.class_names)) < max(2, len(self.class_names)):
                refuse("class_names", f"must be at least 2 different names, got {list(self.class_names)}")
            return
        for key in OWN_KEYS:
            if getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True):
                refuse(key, f"must be left out for {self.name}; it is for own data, of kind {', '.join(KINDS)}")
