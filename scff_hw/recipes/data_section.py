"""The section `data` of a recipe: which samples, and how pixels become numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scff_hw.recipes.base import Model, refuse
from scff_hw.recipes.shapes import Shape

INPUT_SHAPES: dict[str, Shape] = {
    "digits": (1, 8, 8),
    "iris": (4,),
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "stl10": (3, 96, 96),
}
"""Input shape of each data set a recipe can name: (channels, height, width), or (features,)."""

CLASSES = {"digits": 10, "iris": 3, "mnist": 10, "cifar10": 10, "stl10": 10}
"""Number of classes of each data set a recipe can name."""


class DataRecipe(Model):
    """Which samples, and how pixels become numbers."""

    name: Literal["digits", "iris", "mnist", "cifar10", "stl10"] = Field(description="data set")
    mean: Annotated[tuple[Annotated[float, Field(ge=-10, le=10)], ...], Field(strict=False)] = Field(
        default=(0.0,),
        description="subtracted once pixels are divided by 255, or Iris features standardised by the "
        "training split; one value, or one a channel (Appendix F)",
    )
    std: Annotated[tuple[Annotated[float, Field(gt=0, le=10)], ...], Field(strict=False)] = Field(
        default=(1.0,),
        description="divides once the mean is subtracted; one value, or one a channel (Appendix F)",
    )
    shrink: int = Field(
        default=1,
        ge=1,
        le=48,
        description="images become smaller by this factor in both axes, a pixel the mean of a square; 1: as they are",
    )
    learn_split: Literal["train", "unlabelled"] = Field(
        default="train", description="split the hidden layers learn from; unlabelled: stl10 only"
    )
    validation_samples: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="random training samples held out and scored in place of the test split, for choosing "
        "values (Appendix F); 0: none, the test split is scored",
    )

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample: (channels, height, width), or (features,)."""
        shape = INPUT_SHAPES[self.name]
        return (shape[0], *(length // self.shrink for length in shape[1:]))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return CLASSES[self.name]

    @model_validator(mode="after")
    def _check(self) -> DataRecipe:
        lengths = INPUT_SHAPES[self.name][1:]
        if any(length % self.shrink for length in lengths) or (self.shrink > 1 and not lengths):
            allowed = f"a divisor of {lengths[0]}" if lengths else "1"
            refuse("shrink", f"must be {allowed} for {self.name}, got {self.shrink}")
        channels = self.input_shape[0]
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                allowed = "1 value" if channels == 1 else f"1 or {channels} values"
                refuse(key, f"must have {allowed} for {self.name}, got {len(values)}")
        if self.learn_split == "unlabelled" and self.name != "stl10":
            refuse(
                "learn_split",
                f"must be train for {self.name}, which has no unlabelled split, got 'unlabelled'",
            )
        return self
