"""The backpropagation control: the same network and forward pass, trained end to end on the labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.backends.autograd import AutogradBackend
from scff_hw.core.network import Network
from scff_hw.core.random import generator
from scff_hw.recipes.schema import BackpropRecipe
from scff_hw.training.build import Weights, build_network, untrained_weights
from scff_hw.training.features import augmentation_of
from scff_hw.training.readout import initial_readout, learning_rate_at
from scff_hw.training.run_context import RunContext
from scff_hw.training.run_folder import Position


def learn_backprop(
    context: RunContext, options: BackpropRecipe, start: Position, restored: dict[str, Tensor]
) -> Weights:
    """Train the recipe's network end to end from the run's initial weights; log the test accuracy per epoch.

    Returns:
        The trained weights of the hidden layers and of the output layer (`readout.weight`, `readout.bias`).
    """
    recipe, seed = context.recipe, context.seed
    layers = [number - 1 for number in recipe.readout.layers]
    initial = {name: value.to(context.device) for name, value in untrained_weights(recipe, seed).items()}
    output = [value.to(context.device) for value in initial_readout(recipe.readout_features, context.classes, seed)]
    depth = max(layers) + 1
    parameters = {name: value for name, value in initial.items() if int(name.split(".")[1]) <= depth}
    parameters |= {"readout.weight": output[0], "readout.bias": output[1]}
    for value in parameters.values():
        value.requires_grad_()
    network = Network(build_network(recipe, AutogradBackend(), initial).layers[:depth])
    adam = torch.optim.Adam(parameters.values(), lr=options.learning_rate, fused=True)
    if restored:
        _restore(adam, parameters, restored)
    context.extra = lambda: {f"backprop.{name}": value for name, value in _state(adam, parameters).items()}
    train, test = context.plain("train"), context.plain("test")
    augmentation = augmentation_of(recipe.data, recipe.readout.augmentation)
    keep = 1 - options.dropout
    batches = -(-len(train) // options.batch_size)
    context.progress.start("backprop control", options.epochs * batches, start.epoch * batches)
    for epoch in range(start.epoch, options.epochs):
        for group in adam.param_groups:
            group["lr"] = learning_rate_at(options, epoch)
        draw = generator(seed, "backprop", epoch)
        order = train.pipeline.order(draw)
        loss_sum, correct = 0.0, 0
        for indices in order.split(options.batch_size):
            if context.stop.requested:
                raise KeyboardInterrupt  # the checkpoint of the last epoch remains
            x = network.features(train.batch(indices, augmentation, draw), layers)
            if keep < 1:
                x = x * torch.empty(x.shape).bernoulli_(keep, generator=draw).to(x.device).div_(keep)
            logits = F.linear(x, *output)
            loss = F.cross_entropy(logits, train.labels[indices])
            adam.zero_grad()
            loss.backward()
            if options.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters.values(), options.clip_norm)
            adam.step()
            loss_sum += loss.item() * len(indices)
            correct += int((logits.argmax(dim=1) == train.labels[indices]).sum())
            context.progress.advance(1, loss=loss.item())
        hits = 0
        with torch.no_grad():
            for indices in torch.arange(len(test)).split(500):
                x = network.features(test.batch(indices), layers)
                hits += int((F.linear(x, *output).argmax(dim=1) == test.labels[indices]).sum())
        metrics = {
            "loss": loss_sum / len(train),
            "train_accuracy": correct / len(train),
            "test_accuracy": hits / len(test),
        }
        context.folder.log(kind="backprop", epoch=epoch + 1, **metrics)
        context.values["backprop_test_accuracy"] = metrics["test_accuracy"]
        context.checkpoint("backprop", epoch + 1, 0)
    context.progress.finish()
    return {name: value.detach() for name, value in (initial | parameters).items()}


def _state(adam: torch.optim.Adam, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {name: value.detach().clone() for name, value in parameters.items()}
    for name, value in parameters.items():
        state |= {f"{name}.{key}": moment.clone() for key, moment in adam.state[value].items()}
    return state


def _restore(adam: torch.optim.Adam, parameters: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(state[name])
            prefix = f"{name}."
            adam.state[value] = {k.removeprefix(prefix): v.clone() for k, v in state.items() if k.startswith(prefix)}
