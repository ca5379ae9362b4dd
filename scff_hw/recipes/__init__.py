"""Recipes: one validated YAML file per experiment."""

from scff_hw.core.shapes import LayerShapes, ShapeError
from scff_hw.recipes.in_memory import recipe_in_memory
from scff_hw.recipes.loader import dump_recipe, dump_yaml, list_recipes, load_recipe, parse_recipe, recipe_names
from scff_hw.recipes.own_data import starting_recipe
from scff_hw.recipes.schema import (
    AugmentationRecipe,
    BackpropRecipe,
    ControlsRecipe,
    Conv2dRecipe,
    DataRecipe,
    DenseRecipe,
    LayerRecipe,
    LearningAugmentation,
    LearnRecipe,
    PoolRecipe,
    ReadoutRecipe,
    Recipe,
    RuleRecipe,
    TrainingRecipe,
)

__all__ = [
    "AugmentationRecipe",
    "BackpropRecipe",
    "ControlsRecipe",
    "Conv2dRecipe",
    "DataRecipe",
    "DenseRecipe",
    "LayerRecipe",
    "LayerShapes",
    "LearnRecipe",
    "LearningAugmentation",
    "PoolRecipe",
    "ReadoutRecipe",
    "Recipe",
    "RuleRecipe",
    "ShapeError",
    "TrainingRecipe",
    "dump_recipe",
    "dump_yaml",
    "list_recipes",
    "load_recipe",
    "parse_recipe",
    "recipe_in_memory",
    "recipe_names",
    "starting_recipe",
]
