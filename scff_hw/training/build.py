"""Network of a validated recipe on a backend, and its initial weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from math import prod
from typing import Any, get_type_hints

import psutil
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from scff_hw.backends import Backend, Conv2d, Dense, Geometry, Optimisation, OwnArithmetic, SynapticArray
from scff_hw.config.yamltext import show
from scff_hw.core.functional import Pool
from scff_hw.core.initial import initial_recurrent_weights, initial_weights
from scff_hw.core.layer import Layer, PairLayer
from scff_hw.core.network import Network
from scff_hw.core.random import generator
from scff_hw.core.recurrent import Direction, RecurrentLayer, recurrent_geometries
from scff_hw.core.rules import Rule, rule_class
from scff_hw.core.shapes import DIRECTIONS
from scff_hw.errors import RecipeError, nearest
from scff_hw.recipes import Recipe

Weights = dict[str, Tensor]


def geometries(recipe: Recipe) -> dict[str, Geometry]:
    """Return the geometry of each array by name: layers.1, or layers.1.forwards.inputs in a recurrent layer."""
    arrays: dict[str, Geometry] = {}
    for number, (layer, shapes) in enumerate(zip(recipe.layers, recipe.shapes, strict=True), start=1):
        name = f"layers.{number}"
        if layer.kind == "dense":
            arrays[name] = Dense(prod(shapes.input), layer.units)
        elif layer.kind == "conv2d":
            arrays[name] = Conv2d(shapes.input[0], layer.channels, layer.kernel)
        else:
            parts = recurrent_geometries(shapes.input[0], layer.units, layer.directions == 2)
            arrays |= {f"{name}.{part}": geometry for part, geometry in parts.items()}
    return arrays


def untrained_weights(recipe: Recipe, seed: int) -> Weights:
    """Return the initial weights of a run of `recipe` with `seed`: `layers.N.weight`, `layers.N.bias`, float32.

    A recurrent layer has a weight and a bias per array, e.g. `layers.N.forwards.inputs.weight`.

    Raises:
        RecipeError: the network needs more memory than is free.
    """
    _check_memory(recipe)
    weights: Weights = {}
    for name, geometry in geometries(recipe).items():
        number = int(name.split(".")[1])
        layer = recipe.layers[number - 1]
        if layer.kind == "recurrent":
            draw = generator(seed, "init", *name.split("."))
            weight, bias = initial_recurrent_weights(geometry, layer.units, draw)
        else:
            weight, bias = initial_weights(geometry, layer.init, generator(seed, "init", number))
        weights[f"{name}.weight"], weights[f"{name}.bias"] = weight, bias
    return weights


def _check_memory(recipe: Recipe) -> None:
    """Raise RecipeError if two float32 copies of all weights (initial, and the arrays') do not fit into memory."""
    sizes = {name: 2 * 4 * prod(geometry.weight_shape) for name, geometry in geometries(recipe).items()}
    needed, free = sum(sizes.values()), psutil.virtual_memory().available
    if needed > free:
        name = max(sizes, key=lambda name: sizes[name])
        shape = " x ".join(map(str, geometries(recipe)[name].weight_shape))
        raise RecipeError(
            f"The weights of the network must fit into the {free / 2**30:.1f} GiB of memory that are free. "
            f"Got {needed / 2**30:.1f} GiB instead, most of it for {name} ({shape}); choose smaller layers."
        )


def weights_of(network: Network) -> Weights:
    """Return the current weights and biases of a network, named as in `untrained_weights`."""
    weights: Weights = {}
    for name, array in network.arrays.items():
        weights[f"{name}.weight"], weights[f"{name}.bias"] = array.weight, array.bias.detach().clone()
    return weights


def frozen(recipe: Recipe) -> Recipe:
    """Return a copy of `recipe` for inference only: plain SGD and float32, which every backend accepts."""
    plain_sgd = {"optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.0}
    layers = tuple(
        layer.model_copy(update={"learn": layer.learn.model_copy(update=plain_sgd)}) for layer in recipe.layers
    )
    training = recipe.training.model_copy(update={"dtype": "float32", "device": "auto"})
    return recipe.model_copy(update={"layers": layers, "training": training})


def build_network(recipe: Recipe, backend: Backend, weights: Weights) -> Network:
    """Build the network of `recipe` on `backend`; `weights` are named as in `untrained_weights`.

    Raises:
        RecipeError: the rule does not take the given options, or does not support the layers.
        UsageError: the backend does not support a layer of the recipe.
    """
    rule_type = rule_class(recipe.training.rule.name)
    arrays: dict[str, SynapticArray] = {}
    for name, geometry in geometries(recipe).items():
        learn = recipe.layers[int(name.split(".")[1]) - 1].learn
        optimisation = Optimisation(learn.optimiser, learn.learning_rate, learn.weight_decay, learn.momentum)
        arrays[name] = backend.array(
            weights[f"{name}.weight"], weights[f"{name}.bias"], geometry, optimisation, name=name
        )
    return Network([_layer(recipe, number, backend, arrays, rule_type) for number in range(1, len(recipe.layers) + 1)])


def _layer(
    recipe: Recipe, number: int, backend: Backend, arrays: Mapping[str, SynapticArray], rule_type: type[Rule]
) -> Layer:
    layer, name = recipe.layers[number - 1], f"layers.{number}"
    rule, own = _make_rule(rule_type, recipe, number), backend if isinstance(backend, OwnArithmetic) else None
    if layer.kind == "recurrent":
        if rule_type.own_pairs:
            raise RecipeError(
                f"The rule '{rule_type.name}' makes pairs of images. Got sequences of {recipe.data.name} instead."
            )
        ways = DIRECTIONS[: layer.directions]
        directions = tuple(
            Direction(arrays[f"{name}.{way}.inputs"], arrays[f"{name}.{way}.hidden"], way == "backwards")
            for way in ways
        )
        make: Any = RecurrentLayer if own is None else own.recurrent_layer
        return make(directions=directions, rule=rule, averages=layer.output == "final-and-mean")
    make = PairLayer if own is None else own.layer
    return make(
        array=arrays[name],
        rule=rule,
        makes_pairs=layer.pairs == "made" and not rule_type.own_pairs,
        padding=0 if layer.kind == "dense" else layer.padding,
        transmit=layer.transmit,
        pool=_pool(layer.pool),
        readout_pool=_pool(layer.readout_pool),
        update_positions=recipe.training.update_positions,
    )


def _make_rule(rule_type: type[Rule], recipe: Recipe, number: int) -> Rule:
    """Make the rule of layer `number` (1-based) from the layer's `learn` section and `training.rule.options`."""
    learn = recipe.layers[number - 1].learn
    fields = [f.name for f in dataclasses.fields(rule_type)] if dataclasses.is_dataclass(rule_type) else []
    options = recipe.training.rule.options
    for option in options:
        if option not in fields:
            allowed = ", ".join(fields) or "none"
            raise RecipeError(
                f"The options of rule '{rule_type.name}' must be among {allowed}. "
                f"Got '{option}' in training.rule.options instead{nearest(option, fields, '.')}"
            )
    values: dict[str, Any] = {name: getattr(learn, name) for name in fields if hasattr(learn, name)}
    values |= {option: _typed(rule_type, option, value) for option, value in options.items()}
    try:
        return rule_type(**values)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"The rule '{rule_type.name}' of layer {number} cannot be made: {error}.") from None


def _typed(rule_type: type[Rule], option: str, value: Any) -> Any:
    """Return `value` validated against the annotation of the field `option` of the rule."""
    kind = get_type_hints(rule_type).get(option, Any)
    try:
        return TypeAdapter(kind, config={"arbitrary_types_allowed": True}).validate_python(value)
    except ValidationError:
        raise RecipeError(
            f"training.rule.options.{option} of rule '{rule_type.name}' must be {getattr(kind, '__name__', kind)}. "
            f"Got {show(value)} instead."
        ) from None


def _pool(recipe: Any) -> Pool | None:
    return None if recipe is None else Pool(recipe.kind, recipe.size, recipe.stride, recipe.padding, recipe.ceil)
