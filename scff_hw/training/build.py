"""From a validated recipe to a network on a backend."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from scff_hw.backends import Backend, Conv2d, Dense, Geometry, Optimisation, OwnArithmetic
from scff_hw.core.functional import Pool
from scff_hw.core.initial import initial_weights
from scff_hw.core.layer import PairLayer
from scff_hw.core.network import Network
from scff_hw.core.random import generator
from scff_hw.core.rules import Rule, rule_class
from scff_hw.errors import RecipeError, nearest
from scff_hw.recipes import Recipe

Weights = dict[str, Tensor]


def geometries(recipe: Recipe) -> list[Geometry]:
    """The arrays of a recipe's layers, first to last."""
    found: list[Geometry] = []
    for layer, shapes in zip(recipe.layers, recipe.shapes, strict=True):
        if layer.kind == "dense":
            count = 1
            for size in shapes.input:
                count *= size
            found.append(Dense(count, layer.units))
        else:
            found.append(Conv2d(shapes.input[0], layer.channels, layer.kernel))
    return found


def untrained_weights(recipe: Recipe, seed: int) -> Weights:
    """The weights a run of `recipe` with `seed` starts from: `layers.N.weight`, `layers.N.bias`, float32."""
    weights: Weights = {}
    for number, (layer, geometry) in enumerate(zip(recipe.layers, geometries(recipe), strict=True), start=1):
        weight, bias = initial_weights(geometry, layer.init, generator(seed, "init", number))
        weights[f"layers.{number}.weight"], weights[f"layers.{number}.bias"] = weight, bias
    return weights


def frozen(recipe: Recipe) -> Recipe:
    """The same network and data for hardware on which nothing will be learned: any backend can hold its arrays."""
    rest = {"optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.0}
    layers = tuple(layer.model_copy(update={"learn": layer.learn.model_copy(update=rest)}) for layer in recipe.layers)
    training = recipe.training.model_copy(update={"dtype": "float32"})
    return recipe.model_copy(update={"layers": layers, "training": training})


def build_network(recipe: Recipe, backend: Backend, weights: Weights) -> Network:
    """A recipe's network on `backend`, holding `weights`.

    Raises:
        RecipeError: the rule does not take the options given.
    """
    layers = []
    make_layer: Any = backend.layer if isinstance(backend, OwnArithmetic) else PairLayer
    rule_type = rule_class(recipe.training.rule.name)
    for number, (layer, geometry) in enumerate(zip(recipe.layers, geometries(recipe), strict=True), start=1):
        learn = layer.learn
        array = backend.array(
            weights[f"layers.{number}.weight"],
            weights[f"layers.{number}.bias"],
            geometry,
            Optimisation(learn.optimiser, learn.learning_rate, learn.weight_decay, learn.momentum),
            name=f"layers.{number}",
        )
        layers.append(
            make_layer(
                array=array,
                rule=_make_rule(rule_type, recipe, number),
                makes_pairs=layer.pairs == "made" and not rule_type.own_pairs,
                padding=0 if layer.kind == "dense" else layer.padding,
                transmit=layer.transmit,
                pool=_pool(layer.pool),
                readout_pool=_pool(layer.readout_pool),
                update_positions=recipe.training.update_positions,
            )
        )
    return Network(layers)


def _make_rule(rule_type: type[Rule], recipe: Recipe, number: int) -> Rule:
    """A rule takes the fields it declares from the layer's `learn`, and the rest from `training.rule.options`."""
    learn = recipe.layers[number - 1].learn
    fields = [f.name for f in dataclasses.fields(rule_type)] if dataclasses.is_dataclass(rule_type) else []
    options = recipe.training.rule.options
    for option in options:
        if option not in fields:
            allowed = ", ".join(fields) or "none"
            raise RecipeError(
                f"The options of rule '{rule_type.name}' must be among {allowed}. "
                f"Got '{option}' in training.rule.options instead{nearest(option, fields)}."
            )
    values: dict[str, Any] = {name: getattr(learn, name) for name in fields if hasattr(learn, name)} | options
    try:
        return rule_type(**values)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"The rule '{rule_type.name}' of layer {number} cannot be made: {error}.") from None


def _pool(recipe: Any) -> Pool | None:
    return None if recipe is None else Pool(recipe.kind, recipe.size, recipe.stride, recipe.padding, recipe.ceil)
