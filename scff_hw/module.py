"""A network as an ordinary PyTorch module: forward passes, local learning steps, fine-tuning, export.

    import torch
    from scff_hw import SCFFModule

    layers = [{"kind": "dense", "units": 200, "learn": {"optimiser": "sgd", "learning_rate": 0.3, "theta_neg": 2.0}}]
    net = SCFFModule(layers, input_shape=(1, 28, 28))
    for x in batches:
        net.learn(x)              # one local step per layer, without labels and without autograd
    features = net(x)             # float32 [N, 200]

The weights are parameters, so `state_dict`, `to` and the optimisers of PyTorch apply; `net.requires_grad_()` makes them
trainable by autograd. A pretrained module can be applied before the layers; it stays frozen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from scff_hw.backends import FloatBackend
from scff_hw.backends.autograd import AutogradBackend
from scff_hw.core.network import Network
from scff_hw.core.pairs import Stream
from scff_hw.core.random import generator
from scff_hw.errors import UsageError
from scff_hw.recipes import Recipe, recipe_in_memory
from scff_hw.training.build import build_network, untrained_weights

if TYPE_CHECKING:
    from scff_hw.training.finished import FinishedRun


class SCFFModule(nn.Module):
    """Hidden layers of a recipe with their weights as parameters, and optionally a readout.

    Args:
        layers: sections of a recipe's layers, as mappings; or a whole recipe.
        input_shape: shape of a sample after `front`: `(features,)` or `(channels, height, width)`; None for a recipe.
        front: module that is applied first, in evaluation mode and frozen; None for none.
        seed: seed of the initial weights, and of the partners in `learn`.

    Attributes:
        recipe: the recipe of the layers.
        readout: linear layer on the features, as in `from_run`; None for none.

    Raises:
        RecipeError (a ValueError): a layer does not validate.
    """

    def __init__(
        self,
        layers: Sequence[Mapping[str, Any]] | Recipe,
        input_shape: Sequence[int] | None = None,
        *,
        front: nn.Module | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(layers, Recipe):
            layers = recipe_in_memory(type(self).__name__, input_shape or (), layers)
        self.recipe, self.seed, self.steps = layers, seed, 0
        self.front = None if front is None else front.requires_grad_(False).eval()
        self.readout: nn.Linear | None = None
        self._names = list(untrained_weights(self.recipe, seed))
        for name, value in untrained_weights(self.recipe, seed).items():
            self._register(name, value)
        self._learner: tuple[Network, tuple[int, ...]] | None = None

    @classmethod
    def from_run(cls, run: FinishedRun) -> Self:
        """Return the hidden layers and the readout of a finished run, e.g. `scff_hw.open_run(path).finished`.

        Inputs are scaled samples: `(value - mean) / std` with `run.scaling`.
        """
        module = cls(run.recipe, seed=run.seed)
        with torch.no_grad():
            for name, parameter in module._parameters_by_name().items():
                parameter.copy_(run.weights[name])
            weight, bias = run.trained_readout
            module.readout = nn.Linear(weight.shape[1], weight.shape[0])
            module.readout.weight.copy_(weight)
            module.readout.bias.copy_(bias)
        return module.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `[N, F]` of samples `[N, *input_shape]`; with a readout, logits `[N, classes]`."""
        features = self.features(x)
        return features if self.readout is None else self.readout(features)

    def features(self, x: Tensor) -> Tensor:
        """Return the features of the recipe's `readout.layers`, `[N, F]`; differentiable."""
        network = build_network(self.recipe, AutogradBackend(), self._parameters_by_name())
        return network.features(self._fronted(x), [number - 1 for number in self.recipe.readout.layers])

    def learn(self, x: Tensor, layers: Collection[int] | None = None) -> dict[int, dict[str, float]]:
        """Train with one batch of samples `[N, *input_shape]`, N at least 2: one local update per layer.

        Deeper layers learn from the outputs before the update. Optimiser states are kept between calls; they are not
        part of `state_dict`.

        Args:
            layers: numbers of the layers to train, from 1; None for all.

        Returns:
            By number of the layer: mean goodness of positive and negative pairs, loss, share of dead units.

        Raises:
            UsageError: fewer than two samples, values that are not finite, another shape, no such layer, or parameters
                that are not float32.
        """
        numbers = range(1, len(self.recipe.layers) + 1)
        chosen = set(numbers if layers is None else layers)
        if not chosen or not chosen <= set(numbers):
            raise UsageError(f"The layers that learn must be numbers from 1 to {numbers[-1]}. Got {layers} instead.")
        dtypes = {parameter.dtype for parameter in self._parameters_by_name().values()}
        if dtypes != {torch.float32}:
            found = ", ".join(map(str, dtypes))
            raise UsageError(f"The parameters must be float32 to learn. Got {found} instead; type: net.float()")
        if len(x) < 2 or not bool(torch.isfinite(x).all()):
            found = f"{len(x)} samples" if len(x) < 2 else "values that are not finite"
            raise UsageError(f"A batch to learn from must have at least 2 samples of finite values. Got {found}.")
        self.steps += 1
        draw = generator(self.seed, "module", self.steps)
        with torch.no_grad():
            telemetry = self._network_that_learns().learn(Stream(self._fronted(x)), {k - 1 for k in chosen}, draw)
        return {k + 1: {name: float(value) for name, value in vars(each).items()} for k, each in telemetry.items()}

    def _fronted(self, x: Tensor) -> Tensor:
        """The input of the first layer, `[N, *input_shape]`."""
        if self.front is not None:
            self.front.eval()
            with torch.no_grad():
                x = self.front(x)
        shape = self.recipe.data.input_shape
        if x.shape[1:] != shape or not x.is_floating_point():
            raise UsageError(
                f"The input of the first layer must be floating point of shape {['N', *shape]}. "
                f"Got {x.dtype} of shape {list(x.shape)} instead."
            )
        return x

    def _network_that_learns(self) -> Network:
        """The network whose arrays share memory with the parameters; made again if they have moved."""
        parameters = self._parameters_by_name()
        places = tuple(parameter.data_ptr() for parameter in parameters.values())
        if self._learner is None or self._learner[1] != places:
            device = next(iter(parameters.values())).device
            backend = FloatBackend(device=str(device), shares=True)
            network = build_network(self.recipe, backend, parameters)
            if self._learner is not None:
                for name, array in self._learner[0].arrays.items():
                    own = {part: parameters[f"{name}.{part}"] for part in ("weight", "bias")}
                    network.arrays[name].load_state(array.state() | own)
            self._learner = network, places
        return self._learner[0]

    def _parameters_by_name(self) -> dict[str, Tensor]:
        return {name: self.get_parameter(name) for name in self._names}

    def _register(self, name: str, value: Tensor) -> None:
        """Register a parameter by its dotted name, in modules per part of the name."""
        *path, last = name.split(".")
        module: nn.Module = self
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, nn.Parameter(value, requires_grad=False))
