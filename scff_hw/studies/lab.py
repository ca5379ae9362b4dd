"""Operations shared by the points of all studies: learn hidden layers on a backend, fit the readout, measure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scff_hw.backends import Backend, FloatBackend, backend_class
from scff_hw.backends.analog import AnalogArray, AnalogBackend
from scff_hw.core.network import Network
from scff_hw.core.random import generator, stream_seed
from scff_hw.core.rules import rule_class
from scff_hw.data import Pipeline, SequencePipeline
from scff_hw.errors import CheckpointError, DivergenceError, UsageError
from scff_hw.files import exclusive
from scff_hw.hardware import Profile, parse_profile
from scff_hw.recipes import parse_recipe
from scff_hw.studies.point import DATA, DATA_DIR, FIXED_POINT, Row
from scff_hw.tensor_file import read_tensors, write_tensors
from scff_hw.training.build import Weights, build_network, frozen, untrained_weights, weights_of
from scff_hw.training.features import PlainSamples, augmentation_of, drawn_from, feature_source
from scff_hw.training.finished import FinishedRun
from scff_hw.training.in_memory import learn_in_memory
from scff_hw.training.patches import patch_weights
from scff_hw.training.progress import SilentProgress
from scff_hw.training.readout import Readout, check_readout, solver_of
from scff_hw.training.run_context import (
    check_data,
    data_identity,
    pipeline_of,
    recipe_dataset,
    recipe_scaling,
)
from scff_hw.training.run_folder import WEIGHTS


class Lab:
    """One recipe with one seed and its data; computes on the CPU in float32, apart from the backend's own arithmetic.

    Attributes:
        parameters: parameters of the point to measure.
        method: one of the study's methods.
        seed: initial weights, sample order and devices are drawn from it.
        note: why learning diverged, or that the readout has not converged; else empty.
    """

    def __init__(self, parameters: dict[str, Any], cache: Path) -> None:
        formats = parameters.get(FIXED_POINT)
        changes = [] if formats is None else [f"{FIXED_POINT}={json.dumps(formats)}"]
        recipe = parse_recipe(parameters["recipe"], "the recipe of the study", changes)
        never = recipe.training.model_copy(update={"checkpoint_every_batches": 10_000_000, "dtype": "float32"})
        self.recipe = recipe.model_copy(update={"training": never})
        self.seed: int = parameters["seed"]
        self.parameters, self._cache = parameters, cache
        self.method: str = parameters.get("method", "")
        self._rule = rule_class(recipe.training.rule.name)
        check_readout(recipe)
        folder = parameters.get(DATA_DIR)
        self.dataset = recipe_dataset(recipe, self.seed, folder)
        if (digest := parameters.get(DATA, {}).get(recipe.data.name)) is not None:
            identity = data_identity(recipe, self.dataset, folder)
            check_data(identity, identity.model_copy(update={"digest": digest}), cache.parent)
        self.scaling = recipe_scaling(recipe, self.dataset)
        self.note = ""
        self.layers = [number - 1 for number in recipe.readout.layers]

    @property
    def initial(self) -> Weights:
        """Initial weights by name, before learning."""
        return untrained_weights(self.recipe, self.seed)

    def patches(self) -> Weights:
        """Return whitened random patches of each layer's inputs as weights; see `scff_hw.training.patches`."""
        patches, samples = self.recipe.controls.patches, self.samples(self.recipe.data.learn_split)
        assert patches is not None, "the recipe has no control of whitened patches"
        return patch_weights(self.recipe, self.initial, samples, self.seed, patches.regulariser)

    def untrained(self, backend: Backend) -> Network:
        """Return the untrained network on `backend`."""
        return self.with_weights(backend, self.initial)

    def with_weights(self, backend: Backend, weights: Weights) -> Network:
        """Return the network on `backend` with `weights`, for inference."""
        return build_network(frozen(self.recipe), backend, weights)

    def learned(self, backend: Backend) -> Network:
        """Train the hidden layers on `backend` by the stages of the recipe, and return the network.

        Divergence on this hardware is a result: `note` describes it, and the network is returned as it was then.
        """
        network = build_network(self.recipe, backend, untrained_weights(self.recipe, self.seed))
        try:
            learn_in_memory(self.recipe, self.seed, self.dataset, self.scaling, backend, network)
        except DivergenceError as error:
            self.note = str(error).partition(";")[0]
        return network

    def resumed(self, backend: AnalogBackend, weights: Weights) -> Network:
        """Write `weights` to devices that can learn, at the scale of the initial weights, and return the network."""
        network = build_network(self.recipe, backend, untrained_weights(self.recipe, self.seed))
        for name, array in network.arrays.items():
            assert isinstance(array, AnalogArray), "weights can only be written to the analog backend's devices"
            array.write(weights[f"{name}.weight"])
            array.bias.copy_(weights[f"{name}.bias"])
        return network

    @property
    def profile(self) -> Profile:
        """Hardware profile of the point."""
        return parse_profile(self.parameters["profile"], "the profile of the study")

    @property
    def run(self) -> Path | None:
        """Folder of the finished run that the study was given, if the run has this seed; else None."""
        run = self.parameters.get("run")
        return None if run is None or run["seed"] != self.seed else Path(run["path"])

    def float_network(self) -> Network:
        """Return the network with hidden weights learned in float."""
        return self.with_weights(FloatBackend(), self.float_weights())

    def float_weights(self) -> Weights:
        """Return hidden weights learned in float: those of the given run if ideal, else learned once and cached."""
        if self.run is not None and backend_class(self.parameters["run"]["backend"]).ideal:
            return hidden_weights(self.run)
        return self.cached("float", lambda: weights_of(self.learned(FloatBackend())))

    def cached(self, key: str, make: Callable[[], Weights]) -> Weights:
        """Return weights that several points need, computed once by `make` and cached beside the study's points.

        The weights must depend only on `key` and the lab's recipe and seed. If another process is computing them, this
        one waits for it.
        """
        name = f"{stream_seed(self.seed, self.parameters['recipe'], key):016x}.safetensors"
        path = self._cache / name
        if not path.exists():
            # learning on devices does not repeat bit for bit: all workers must use the weights of the same worker
            with exclusive(path.with_suffix(".lock"), path, wait=True):
                if not path.exists():
                    write_tensors(path, make(), {"note": self.note})
        weights, metadata = read_tensors(path)
        self.note = metadata.get("note", "")
        return weights

    def fit(self, network: Network) -> Readout:
        """Fit the recipe's readout on the network's features of the labelled training part, and return the readout.

        `note` says if the readout has not converged.
        """
        recipe = self.recipe.readout
        samples = self.samples("train")
        source = feature_source(
            network,
            self.layers,
            samples,
            augmentation_of(self.recipe.data, recipe.augmentation),
            SilentProgress(),
            "",
            copies=recipe.augmented_copies,
            seed=self.seed,
        )
        solver = solver_of(self.recipe, source, samples.labels, self.classes, self.seed)
        for number in range(solver.steps):
            solver.step(number)
        if solver.report().converged is False:
            self.note = self.note or "the readout has not converged"
        return solver.readout

    def accuracy(self, network: Network, readout: Readout) -> float:
        """Return the share of the test part (or of held-out samples) classified correctly, 0..1."""
        samples = self.samples("test")
        source = feature_source(network, self.layers, samples, None, SilentProgress(), "")
        return readout.accuracy(source, samples.labels)

    def fitted_accuracy(self, network: Network) -> float:
        """Return the test accuracy, 0..1, with a readout fitted on this network."""
        return self.accuracy(network, self.fit(network))

    def row(self, readout: str, accuracy: float, clipped: float | None = None) -> Row:
        """Make one row of the table, without the point's labels.

        Args:
            readout: how the readout was fitted.
            clipped: share of programmed weights clipped at a bound of their devices, None if none were programmed.
        """
        programmed = {} if clipped is None else {"clipped_weights": clipped}
        return {"readout": readout, "note": self.note, **programmed, "test_accuracy": accuracy}

    def fitted_row(self, network: Network, readout: str = "fitted", clipped: float | None = None) -> Row:
        """Make the row of a network, with a readout fitted on that network."""
        return self.row(readout, self.fitted_accuracy(network), clipped)

    def relearn(self, network: Network, batches: int, share: float, name: str) -> None:
        """Train each layer, first to last, on `batches` more batches, without labels.

        Args:
            share: learning rate as a share of the recipe's.
            name: name of the random stream that draws samples.

        Raises:
            UsageError: the recipe's rule needs labels or makes its own pairs.
        """
        if self._rule.needs_labels or self._rule.own_pairs:
            raise UsageError(
                f"The rule of a recipe that re-learns must be one without labels, such as scff. "
                f"Got '{self._rule.name}' instead."
            )
        pipeline = self._pipeline(self.recipe.data.learn_split)
        size = min(self.recipe.training.batch_size, len(pipeline))
        augmentation = augmentation_of(self.recipe.data, self.recipe.augmentation)
        for layer in range(max(self.layers) + 1):
            for array in network.layers[layer].arrays.values():
                array.learning_rate = share * self.recipe.layers[layer].learn.learning_rate
            for batch in range(batches):
                draw = generator(self.seed, "relearn", name, layer, batch)
                indices = torch.randint(len(pipeline), (size,), generator=draw)
                network.learn(drawn_from(pipeline, indices, augmentation, draw), {layer}, draw)

    @property
    def classes(self) -> int:
        return len(self.dataset.classes)

    def samples(self, part: str) -> PlainSamples:
        """Return the scaled samples of `part` ("train", "test", "unlabelled") for inference."""
        return PlainSamples(self._pipeline(part), self._rule, self.classes)

    def _pipeline(self, part: str) -> Pipeline | SequencePipeline:
        return pipeline_of(self.dataset, part, self.scaling)


def hidden_weights(run: Path) -> Weights:
    """Return the learned hidden weights of a finished run by name.

    Raises:
        CheckpointError: the run is not finished, or its weights are missing or damaged.
    """
    tensors = FinishedRun.open(run).weights
    weights = {name: value for name, value in tensors.items() if name.startswith("layers.")}
    if not weights:
        raise CheckpointError(f"The file {run / WEIGHTS} holds no hidden weights.")
    return weights
