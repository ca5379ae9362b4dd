"""The hardware of a study and the grid of `--vary`: one class per kind of hardware."""

from __future__ import annotations

import itertools
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

from scff_hw.backends.analog import DEFAULT_PROFILE
from scff_hw.config.keys import child_names
from scff_hw.errors import UsageError, nearest
from scff_hw.hardware import Profile, dump_profile, load_profile
from scff_hw.recipes import Recipe, dump_recipe, parse_recipe
from scff_hw.studies.point import FIXED_POINT
from scff_hw.studies.request import Variant
from scff_hw.training.progress import Progress, SilentProgress

MANY_POINTS = 100
"""Number of grid points from which the progress of checking them is reported."""
SILENT = SilentProgress()

Grid = tuple[Profile | None, tuple[Variant, ...]]
"""The unvaried profile, None without devices, and the grid points; a single one without `--vary`."""


class Hardware(ABC):
    """A kind of hardware that a study measures on.

    Attributes:
        on_devices: devices are simulated: aihwkit is required, and backpropagation is measured on them too.
    """

    on_devices: ClassVar[bool] = False

    @abstractmethod
    def grid(
        self, study: str, recipe: Recipe, profile: str | None, vary: Sequence[str], progress: Progress = SILENT
    ) -> Grid:
        """Return the grid: every combination of the values of `key=v1,v2,...` texts, last key fastest.

        Args:
            study: name of the study, for error messages.
            profile: value of `--profile`, None without it.
            vary: the texts, as given to `--vary`.

        Raises:
            UsageError: no `=`, no value, a key given twice, a profile for a study without devices.
            ProfileError, RecipeError: an unknown key, a value that is not allowed.
        """


class OnDevices(Hardware):
    """Devices described by a profile; `--vary` takes keys of the profile."""

    on_devices = True

    def grid(
        self, study: str, recipe: Recipe, profile: str | None, vary: Sequence[str], progress: Progress = SILENT
    ) -> Grid:
        name = DEFAULT_PROFILE if profile is None else profile
        variants: list[Variant] = []
        for values in _grid_points(vary, "device.response.write_noise='0 w,0.1 w'", progress):
            varied = load_profile(name, [f"{key}={value}" for key, value in values.items()], option="--vary")
            variants.append(Variant(values, {"profile": varied.name} | values, {"profile": dump_profile(varied)}))
        return load_profile(name), tuple(variants)


class InFixedPoint(Hardware):
    """Fixed point; `--vary` takes keys of the recipe below `fixed_point`."""

    def grid(
        self, study: str, recipe: Recipe, profile: str | None, vary: Sequence[str], progress: Progress = SILENT
    ) -> Grid:
        _no_profile(study, profile, f"its hardware is the recipe's section {FIXED_POINT}")
        variants: list[Variant] = []
        text = dump_recipe(recipe)
        for values in _grid_points(vary, f"{FIXED_POINT}.weight_bits=8,4", progress):
            for key in values:
                if not key.startswith(f"{FIXED_POINT}."):
                    known = [f"{FIXED_POINT}.{name}" for name in child_names((FIXED_POINT,), None, Recipe)]
                    raise UsageError(
                        f"--vary must be a key of the recipe below {FIXED_POINT}. "
                        f"Got '{key}' instead{nearest(key, known, '.')}"
                    )
            changes = [f"{key}={value}" for key, value in values.items()]
            varied = parse_recipe(text, "the recipe of the study", changes, option="--vary")
            variants.append(Variant(values, values, {FIXED_POINT: varied.model_dump(mode="json")[FIXED_POINT]}))
        return None, tuple(variants)


class InFloat(Hardware):
    """No hardware; `--vary` takes any key of the recipe."""

    def grid(
        self, study: str, recipe: Recipe, profile: str | None, vary: Sequence[str], progress: Progress = SILENT
    ) -> Grid:
        _no_profile(study, profile, "it is in float")
        text = dump_recipe(recipe)
        variants: list[Variant] = []
        for values in _grid_points(vary, "layers.1.units=100,500", progress):
            changes = [f"{key}={value}" for key, value in values.items()]
            varied = parse_recipe(text, "the recipe of the study", changes, option="--vary")
            variants.append(Variant(values, values, {}, varied))
        return None, tuple(variants)


def _no_profile(study: str, profile: str | None, why: str) -> None:
    if profile is not None:
        raise UsageError(f"The study {study} takes no --profile: {why}. Got --profile {profile} instead.")


def _grid_points(vary: Sequence[str], example: str, progress: Progress) -> Iterator[dict[str, str]]:
    """Yield every combination of the values of `key=v1,v2,...` texts, as text by key.

    The caller parses and checks each combination, which is slow for many: `progress` reports their number.
    """
    axes: dict[str, list[str]] = {}
    for text in vary:
        key, equals, values = text.partition("=")
        key = key.strip()
        choices = [value.strip() for value in values.split(",")]
        if not equals or not key or not all(choices):
            raise UsageError(f"--vary must be key=v1,v2,..., such as {example}. Got {json.dumps(text)} instead.")
        if key in axes:
            raise UsageError(f"A key must be varied once. Got --vary {key} twice.")
        axes[key] = list(dict.fromkeys(choices))
    total = math.prod(len(values) for values in axes.values())
    if total < MANY_POINTS:
        progress = SILENT
    sizes = " x ".join(f"{len(values)} values of {key}" for key, values in axes.items())
    progress.note(f"{total} grid points: {sizes}.")
    progress.start("checking grid points", total)
    for combination in itertools.product(*axes.values()):
        yield dict(zip(axes, combination, strict=True))
        progress.advance()
    progress.finish()
