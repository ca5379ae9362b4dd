"""The inputs of a study, validated before any measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scff_hw.backends import Optimisation
from scff_hw.errors import UsageError
from scff_hw.hardware import Profile, dump_profile, parse_profile
from scff_hw.recipes import Recipe, dump_recipe, load_recipe
from scff_hw.recipes.loader import dump_yaml
from scff_hw.studies.options import StudyOptions
from scff_hw.studies.point import DATA_DIR, FIXED_POINT, Point
from scff_hw.training.finished import FinishedRun


@dataclass(frozen=True)
class Variant:
    """One grid point.

    Attributes:
        values: text by varied key.
        labels: columns of the table that identify the grid point, including the varied keys.
        parameters: inputs of a measurement at this grid point.
        recipe: the varied recipe, for a study that varies any of its keys.
    """

    values: dict[str, str]
    labels: dict[str, str]
    parameters: dict[str, Any]
    recipe: Recipe | None = None


@dataclass(frozen=True)
class Request:
    """The inputs of one study.

    Attributes:
        profile: the unvaried profile; None for a study without devices, in fixed point or in float.
        variants: the grid; a single point if no key is varied.
        run: path, seed and backend of the finished run that the study starts from, None for a recipe.
        backprop_rate: learning rate of analog SGD; None for no backpropagation.
        options: the study's own options.
    """

    study: str
    recipe: Recipe
    profile: Profile | None
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    run: dict[str, Any] | None
    data_dir: Path | None
    backprop_rate: float | None
    options: StudyOptions

    @property
    def keys(self) -> tuple[str, ...]:
        """The varied keys."""
        return tuple(self.variants[0].values)

    @property
    def hardware(self) -> str:
        """Name of the profile, "float" or "fixed point"."""
        if self.profile is not None:
            return self.profile.name
        return "float" if self.variants[0].recipe is not None else "fixed point"

    @property
    def subject(self) -> str:
        """The recipe and its hardware, for titles, e.g. "mnist-mlp on pcm"."""
        return f"{self.recipe.name} {'in' if self.profile is None else 'on'} {self.hardware}"

    def methods(self, *names: str) -> list[str]:
        """Return the given methods, without "backprop" if `backprop_rate` is None."""
        return [name for name in names if name != "backprop" or self.backprop_rate is not None]

    def point(
        self,
        seed: int,
        method: str,
        variant: Variant | None = None,
        what: Mapping[str, Any] | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> Point:
        """Make the point that measures one method with one seed.

        Args:
            variant: the hardware, None for float.
            what: further parameters of the measurement.
            labels: values of the study's own columns; every point has the same columns.
        """
        parameters: dict[str, Any] = {"recipe": without_formats(self.recipe), "seed": seed, "method": method}
        if self.run is not None:
            parameters["run"] = self.run
        if self.data_dir is not None:
            parameters[DATA_DIR] = str(self.data_dir.absolute())
        if method == "backprop":
            parameters["backprop_rate"] = self.backprop_rate
        hardware = dict.fromkeys(self.variants[0].labels, "")
        if variant is not None:
            parameters |= variant.parameters
            hardware = variant.labels
        parameters |= what or {}
        return Point(self.study, parameters, {"method": method} | dict(labels or {}) | hardware | {"seed": seed})

    def describe(self) -> dict[str, Any]:
        """Return the content of study.json, which identifies this study."""
        if self.profile is None:
            hardware = {"recipe": dump_recipe(self.recipe)}
        else:
            hardware = {"recipe": without_formats(self.recipe), "profile": dump_profile(self.profile)}
        return {"study": self.study} | hardware | {"run": self.run}


def read_source(source: str, overrides: Sequence[str]) -> tuple[Recipe, dict[str, Any] | None]:
    """Return a recipe and None, or the recipe of a finished run and that run's path, seed, backend and start time.

    Raises:
        UsageError: `source` is neither a recipe nor a run, or overrides are given for a finished run.
        CheckpointError: a folder without a finished run.
    """
    folder = Path(source)
    if not folder.is_dir():
        return load_recipe(source, overrides), None
    finished = FinishedRun.open(folder, purpose="studied")
    if overrides:
        raise UsageError(f"A finished run cannot be changed. Got --set {overrides[0]} for {folder} instead.")
    run = {"path": str(folder.absolute()), "seed": finished.seed, "backend": finished.backend}
    return finished.recipe, run | {"finished": finished.details.started}


def without_formats(recipe: Recipe) -> str:
    """Return a recipe as YAML without fixed-point formats, so that float is measured once for all formats."""
    return dump_yaml(recipe.model_dump(mode="json", exclude={FIXED_POINT}))


def check_learnable(request: Request, check_optimisation: Callable[[Optimisation, str], None]) -> None:
    """Refuse a recipe that cannot learn on the hardware, before any measurement.

    Args:
        check_optimisation: the backend's own check, given the optimiser and the name of a layer.

    Raises:
        UsageError: an optimiser that devices cannot implement.
    """
    for number, layer in enumerate(request.recipe.layers, start=1):
        learn = layer.learn
        if request.run is not None and learn.optimiser != "sgd":
            raise UsageError(
                f"The run of a study must be one of plain SGD, which devices can do. Got '{learn.optimiser}' in "
                f"{request.run['path']} instead; name its recipe, with --set layers.*.learn.optimiser=sgd."
            )
        optimisation = Optimisation(learn.optimiser, learn.learning_rate, learn.weight_decay, learn.momentum)
        check_optimisation(optimisation, f"layers.{number}")


def check_profiles(request: Request, check: Callable[[Profile], None]) -> None:
    """Check the hardware of every grid point by `check`, the backend's check of a profile."""
    for variant in request.variants:
        check(parse_profile(variant.parameters["profile"], "the profile of the study"))
