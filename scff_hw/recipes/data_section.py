"""The section `data` of a recipe: data set and preprocessing."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from scff_hw.config.base import Line, Model, refuse
from scff_hw.config.keys import REGISTRIES, REGISTRY
from scff_hw.core.shapes import Shape
from scff_hw.data import DATASETS, Info, dataset_names, info

REGISTRIES["data sets"] = dataset_names


class _KnownName:
    """Annotates the name of a data set in the registry, which includes installed packages."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "enum": dataset_names(), REGISTRY: "data sets"}

    @staticmethod
    def _check(name: str) -> str:
        if name not in DATASETS:
            raise PydanticCustomError("data_set", "Input should be the name of a data set")
        return name


class MfccRecipe(Model):
    """Mel-frequency cepstral coefficients of a recording."""

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


class DataRecipe(Model):
    """Data set and preprocessing."""

    name: Annotated[str, _KnownName()] = Field(description="data set")
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
    def info(self) -> Info:
        """The data set's entry in the catalogue."""
        return info(self.name)

    @property
    def has_sequences(self) -> bool:
        """Whether samples are sequences of frames."""
        return self.info.has_recordings

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
