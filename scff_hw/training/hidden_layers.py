"""Learning of the hidden layers: sequentially, or all layers in every batch."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from scff_hw.backends import Metered
from scff_hw.core.layer import Telemetry
from scff_hw.core.pairs import Stream
from scff_hw.core.random import generator
from scff_hw.core.schedules import learning_rate
from scff_hw.data import Pipeline, SequencePipeline
from scff_hw.errors import DivergenceError
from scff_hw.recipes import Recipe
from scff_hw.recipes.schema import LearnRecipe
from scff_hw.training.features import augmentation_of, cached_versions, drawn_from, plain_and_flipped
from scff_hw.training.run_context import RunContext
from scff_hw.training.run_folder import Position

RUNAWAY_GOODNESS = 1e6
"""Goodness above which the weights have diverged: inputs are standardised, so goodness is far smaller."""


@dataclass(frozen=True)
class HiddenStage:
    """A stage of the run in which some layers learn.

    Attributes:
        epochs: number of epochs by index of the layer, from 0.
    """

    name: str
    epochs: dict[int, int]


def hidden_stages(recipe: Recipe) -> list[HiddenStage]:
    """Return the stages of a recipe's schedule in order; layers with 0 epochs never learn."""
    epochs = {k: layer.learn.epochs for k, layer in enumerate(recipe.layers) if layer.learn.epochs}
    if recipe.training.schedule == "sequential":
        return [HiddenStage(f"layer {k + 1}", {k: count}) for k, count in epochs.items()]
    return [HiddenStage("all layers", epochs)] if epochs else []


def learn_hidden(context: RunContext, stage: HiddenStage, start: Position) -> None:
    """Train the layers of `stage` from `start` to the last epoch; write checkpoints at the recipe's interval.

    Raises:
        DivergenceError: a metric of a layer is not finite, its goodness diverges, or all of its units are dead.
        KeyboardInterrupt: a stop was requested; the run is saved.
    """
    training = context.recipe.training
    pipeline = context.pipeline(context.recipe.data.learn_split)
    source = _source(context, pipeline, stage)
    size = min(training.batch_size, len(pipeline))
    batches = len(pipeline) // size
    epochs = max(stage.epochs.values())
    done = start.epoch * batches + start.batch
    context.progress.start(stage.name, epochs * batches, done)
    for epoch in range(start.epoch, epochs):
        learning = {layer for layer, count in stage.epochs.items() if epoch < count}
        order = pipeline.order(generator(context.seed, "order", stage.name, epoch))
        resumed = epoch == start.epoch
        sums = context.values.pop("epoch_sums", {}) if resumed else {}
        spent = context.values.pop("epoch_seconds", 0.0) if resumed else 0.0
        means, began = _Means(sums), time.monotonic() - spent
        for batch in range(start.batch if epoch == start.epoch else 0, batches):
            draw = generator(context.seed, "batch", stage.name, epoch, batch)
            stream = source.batch(order[batch * size : (batch + 1) * size], draw)
            step = epoch * batches + batch + 1
            for layer in learning:
                rate = learning_rate(context.recipe.layers[layer].learn, step)
                for array in context.network.layers[layer].arrays.values():
                    array.learning_rate = rate
            telemetry = context.network.learn(stream, learning, draw, source.first_layer)
            for layer in sorted(learning):
                record = _record(context, layer, epoch, batch, telemetry[layer])
                context.folder.log(kind="batch", step=step, **record)
                means.add(layer, record)
            displayed = ("goodness_pos", "goodness_neg", "loss")
            context.progress.advance(1, **{key: record[key] for key in displayed})
            if step % training.checkpoint_every_batches == 0 or context.stop.requested:
                context.values |= {"epoch_sums": sums, "epoch_seconds": time.monotonic() - began}
                context.checkpoint(stage.name, epoch, batch + 1)
        seconds = time.monotonic() - began
        for layer in sorted(learning):
            metrics = means.mean(layer)
            for part, array in context.network.layers[layer].arrays.items():
                if isinstance(array, Metered):
                    metrics |= {f"{part}.{key}".lstrip("."): value for key, value in array.take_metrics().items()}
            context.folder.log(kind="epoch", layer=layer + 1, epoch=epoch + 1, **metrics, seconds=seconds)
            context.values.setdefault("layers", {})[str(layer + 1)] = metrics
        for key in ("epoch_sums", "epoch_seconds"):
            context.values.pop(key, None)
    context.progress.finish()


class _Source(Protocol):
    first_layer: int

    def batch(self, indices: Tensor, draw: torch.Generator) -> Stream: ...


class _Samples:
    """Augmented batches from the data set; they contain pairs if the rule makes its own pairs."""

    first_layer = 0

    def __init__(self, context: RunContext, pipeline: Pipeline | SequencePipeline) -> None:
        self.pipeline, self.rule, self.classes = pipeline, context.rule, context.classes
        self.augmentation = augmentation_of(context.recipe.data, context.recipe.augmentation)
        self.two_views = context.recipe.augmentation.two_views and not self.augmentation.is_identity

    def batch(self, indices: Tensor, draw: torch.Generator) -> Stream:
        stream = drawn_from(self.pipeline, indices, self.augmentation, draw)
        if self.rule.own_pairs:
            labels = None if self.pipeline.labels is None else self.pipeline.labels[indices]
            return self.rule.pairs(stream.positive, labels, self.classes, draw)
        if not self.two_views:
            return stream
        return replace(stream, second_view=drawn_from(self.pipeline, indices, self.augmentation, draw).positive)


class _FrozenPrefix:
    """Batches of cached outputs of the frozen layers before a layer that makes pairs."""

    def __init__(self, versions: Tensor, first_layer: int) -> None:
        self.versions, self.first_layer = versions, first_layer

    def batch(self, indices: Tensor, draw: torch.Generator) -> Stream:
        if len(self.versions) == 1:
            return Stream(self.versions[0].index_select(0, indices).float())
        mirrored = torch.randint(2, (len(indices),), generator=draw).to(indices.device)
        return Stream(self.versions[mirrored, indices].float())


def _source(context: RunContext, pipeline: Pipeline | SequencePipeline, stage: HiddenStage) -> _Source:
    first = min(stage.epochs)
    augmentation = augmentation_of(context.recipe.data, context.recipe.augmentation)
    if first == 0 or len(stage.epochs) > 1 or augmentation.is_endless or not context.network.layers[first].makes_pairs:
        return _Samples(context, pipeline)
    samples = context.plain(context.recipe.data.learn_split)
    with context.stop.stopping_immediately():
        versions = cached_versions(
            samples,
            plain_and_flipped(samples, augmentation),
            lambda x: context.network.outputs(x, first)[-1],
            context.progress,
            f"frozen layers 1-{first}",
        )
    if versions is None:
        context.progress.note("Too little free memory to cache the outputs of the frozen layers; computing per batch.")
        return _Samples(context, pipeline)
    return _FrozenPrefix(versions, first)


class _Means:
    """Mean of each layer's metrics over the batches of an epoch; `sums` are saved in the checkpoint."""

    KEYS = ("goodness_pos", "goodness_neg", "loss", "dead_units")

    def __init__(self, sums: dict[str, Any]) -> None:
        self._sums = sums

    def add(self, layer: int, record: dict[str, float]) -> None:
        sums = self._sums.setdefault(str(layer), {"count": 0} | dict.fromkeys(self.KEYS, 0.0))
        sums["count"] += 1
        for key in self.KEYS:
            sums[key] += record[key]

    def mean(self, layer: int) -> dict[str, float]:
        sums = self._sums[str(layer)]
        return {key: sums[key] / sums["count"] for key in self.KEYS}


def _record(context: RunContext, layer: int, epoch: int, batch: int, telemetry: Telemetry) -> dict[str, float]:
    arrays = list(context.network.layers[layer].arrays.values())
    learn, rate = context.recipe.layers[layer].learn, arrays[0].learning_rate
    lows, highs = zip(*(array.weight_range() for array in arrays), strict=True)
    record = {
        "layer": layer + 1,
        "epoch": epoch + 1,
        "batch": batch + 1,
        "goodness_pos": float(telemetry.goodness_pos),
        "goodness_neg": float(telemetry.goodness_neg),
        "loss": float(telemetry.loss),
        "dead_units": float(telemetry.dead_units),
        "weight_min": min(lows),
        "weight_max": max(highs),
        "learning_rate": rate,
    }
    if record["goodness_pos"] == record["goodness_neg"] == 0:
        raise DivergenceError(
            f"Layer {layer + 1} has only dead units in epoch {epoch + 1}, batch {batch + 1}: every output is 0, so it "
            f"cannot learn any more; likely cause: a theta_neg of {learn.theta_neg:g} that only zero outputs satisfy, "
            f"or a learning rate of {rate:g} that is too large."
        )
    broken = [key for key, value in record.items() if not math.isfinite(value)]
    if broken or record["goodness_pos"] > RUNAWAY_GOODNESS:
        what = f"{broken[0]} is {record[broken[0]]}" if broken else f"goodness_pos is {record['goodness_pos']:.3g}"
        raise DivergenceError(
            f"Layer {layer + 1} diverged in epoch {epoch + 1}, batch {batch + 1}: {what}; "
            f"likely cause: {_likely_cause(learn, rate)}."
        )
    return record


def _likely_cause(learn: LearnRecipe, rate: float) -> str:
    usual = 0.05 if learn.optimiser == "adamw" else 3.0
    if rate > usual:
        return f"a learning rate of {rate:g}, where {learn.optimiser} usually takes at most {usual:g}"
    if learn.penalty == 0:
        return "nothing limits the goodness of positive pairs; raise this layer's penalty above 0"
    return f"runaway weights; lower the learning rate of {rate:g} or raise the penalty of {learn.penalty:g}"
