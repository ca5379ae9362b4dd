"""Readouts of frozen features: convex solvers, and the paper's solver.

`solver_of` makes the solver that a recipe names.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from scff_hw.errors import RecipeError
from scff_hw.recipes import Recipe
from scff_hw.recipes.schema import ReadoutSolver
from scff_hw.training.features import FeatureSource, augmentation_of
from scff_hw.training.readout.linear import Readout, ReadoutTransform
from scff_hw.training.readout.logistic import LogisticSolver
from scff_hw.training.readout.paper import PaperSolver, initial_readout, learning_rate_at
from scff_hw.training.readout.ridge import RidgeSolver
from scff_hw.training.readout.solver import Solver
from scff_hw.training.readout.strength import ConvexSolver

__all__ = [
    "ConvexSolver",
    "LogisticSolver",
    "PaperSolver",
    "Readout",
    "ReadoutTransform",
    "RidgeSolver",
    "Solver",
    "check_readout",
    "initial_readout",
    "learning_rate_at",
    "solver_of",
]

CONVEX: dict[str, Callable[..., ConvexSolver]] = {"logistic": LogisticSolver, "ridge": RidgeSolver}


def solver_of(
    recipe: Recipe,
    source: FeatureSource,
    labels: Tensor,
    classes: int,
    seed: int,
    transform: ReadoutTransform | None = None,
    solver: ReadoutSolver | None = None,
) -> Solver:
    """Make the solver that fits a readout to `source`, the features of the training part.

    Args:
        labels: int64 `[N]`.
        transform: maps weights and biases to those that the readout computes with; None for the identity.
        solver: name of the solver; None for that of `recipe`.
    """
    kind = solver or recipe.readout.solver
    if kind == "paper":
        return PaperSolver(source, labels, recipe.readout_features, classes, recipe.readout, seed, transform)
    return CONVEX[kind](source, labels, classes, seed, transform)


def check_readout(recipe: Recipe) -> None:
    """Check that the readout of a recipe has a finite set of samples if its solver requires one.

    Raises:
        RecipeError: a solver other than paper, an augmentation that draws a new version at each use, and no copies.
    """
    readout = recipe.readout
    endless = augmentation_of(recipe.data, readout.augmentation).is_endless
    if readout.solver != "paper" and endless and not readout.augmented_copies:
        raise RecipeError(
            f"With readout.solver {readout.solver}, readout.augmented_copies must be at least 1, since "
            "readout.augmentation draws a new version at each use. Got 0; type: --set readout.augmented_copies=1"
        )
