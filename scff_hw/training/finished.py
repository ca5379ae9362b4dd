"""`FinishedRun` reads the files of a finished run; evaluation, export and reports all use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from scff_hw.backends import Backend, backend_class
from scff_hw.backends.float import FloatBackend
from scff_hw.core.network import Network
from scff_hw.documents import FormatsDocument, RunDetails, RunSummary, Scaling, read_document
from scff_hw.errors import CheckpointError, MissingPartError, UsageError
from scff_hw.files import AnyPath, path_or_none
from scff_hw.hardware import Profile, load_profile
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training.build import build_network, frozen
from scff_hw.training.calibration import load_formats
from scff_hw.training.features import PlainSamples
from scff_hw.training.run_context import (
    AnyDataset,
    check_data,
    data_identity,
    plain_samples,
    recipe_dataset,
    recipe_scaling,
)
from scff_hw.training.run_folder import (
    CHECKPOINT,
    FORMATS,
    PROFILE,
    RECIPE,
    WEIGHTS,
    Checkpoint,
    Position,
    RunFolder,
)

if TYPE_CHECKING:
    from scff_hw.backends.fixed import FixedBackend


@dataclass(frozen=True)
class FixedPart:
    """The additional content of a run on the fixed backend.

    Attributes:
        backend: the backend, with the formats of each layer.
        network: the trained layers, integers with all of their bits.
        readout_frac: fraction bits of the readout's weights.
    """

    backend: FixedBackend
    network: Network
    readout_frac: int


@dataclass(frozen=True)
class FinishedRun:
    """A run that was trained to its end.

    `open` checks the status, `run.json` and the recipe. Everything else is read, checked and cached at its first use:
    documents against their schemas, tensor files and data against their digests. Tensors must not be modified.

        FinishedRun.open(path)          run.json, recipe.yaml
          ├─ .summary .formats          summary.json, formats.json
          ├─ .weights .tensors(name)    weights.safetensors, initial.safetensors, checkpoint.safetensors
          │    ├─ .network .readout     the weights on the float backend, the readout for inference
          │    └─ .fixed                the integers of a run on the fixed backend
          └─ .dataset .samples(part)    the run's data

    Attributes:
        data_dir: folder of the data sets; None for the default.
    """

    folder: RunFolder
    details: RunDetails
    recipe: Recipe
    data_dir: Path | None = None

    @classmethod
    def open(cls, path: AnyPath, data_dir: AnyPath | None = None, *, purpose: str = "read") -> FinishedRun:
        """Open the run in a folder; `purpose` completes "must be finished to be ...".

        Raises:
            CheckpointError: not a run, or not finished.
            RecipeError: its recipe does not validate.
        """
        folder = RunFolder(Path(path))
        return cls(folder, folder.finished(purpose), load_recipe(folder.path / RECIPE), path_or_none(data_dir))

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def seed(self) -> int:
        return self.details.seed

    @property
    def backend(self) -> str:
        """Name of the backend that the run was trained on."""
        return self.details.backend

    @property
    def backend_class(self) -> type[Backend]:
        """Class of the backend that the run was trained on, with its capabilities.

        Raises:
            UsageError: it belongs to another package, which is not installed.
            MissingPartError: one of its dependencies is not installed.
        """
        return backend_class(self.backend)

    @cached_property
    def summary(self) -> RunSummary:
        """The results of the run.

        Raises:
            CheckpointError: `summary.json` is missing, damaged, or of another run.
        """
        return self.folder.summary()

    @property
    def accuracy(self) -> float:
        """Test accuracy, 0..1, as measured at the end of training."""
        return self.summary.metrics.test_accuracy

    @cached_property
    def formats(self) -> FormatsDocument | None:
        """Fixed-point formats and the ranges they were chosen from; None on other backends.

        Raises:
            CheckpointError: `formats.json` is damaged.
        """
        path = self.path / FORMATS
        return read_document(path, FormatsDocument) if path.exists() else None

    @cached_property
    def profile(self) -> Profile | None:
        """The hardware profile that the run was trained on; None without simulated hardware.

        Raises:
            ProfileError: `profile.yaml` does not validate.
        """
        return None if self.details.profile is None else load_profile(self.path / PROFILE)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors of `WEIGHTS`, `INITIAL` or `CHECKPOINT` by dotted name; each file is read once.

        Raises:
            CheckpointError: missing, damaged, of another run or of another name, or a weight is not finite.
        """
        if name not in self._read:
            self._read[name] = self.folder.tensors(name)
        return self._read[name]

    @property
    def weights(self) -> dict[str, Tensor]:
        """`tensors(WEIGHTS)`: weights and biases of the layers and the readout."""
        return self.tensors(WEIGHTS)

    @cached_property
    def network(self) -> Network:
        """The run's weights on the float backend, float32, for inference.

        Raises:
            CheckpointError: the weights do not match the recipe.
        """
        weights = self.weights
        with checking_weights(self.path / WEIGHTS):
            return build_network(frozen(self.recipe), FloatBackend(), weights)

    @cached_property
    def readout(self) -> tuple[Tensor, Tensor]:
        """Weights `[classes, F]` and biases `[classes]` of the readout as inference uses them, e.g. quantised.

        Raises:
            CheckpointError: the weights do not match the recipe.
        """
        return self.trained_readout if self.fixed is None else self.fixed.backend.readout(*self.trained_readout)

    @property
    def trained_readout(self) -> tuple[Tensor, Tensor]:
        """The same before quantisation, float; errors as in `readout`."""
        weights = self.weights
        with checking_weights(self.path / WEIGHTS):
            return weights["readout.weight"], weights["readout.bias"]

    @property
    def read_layers(self) -> tuple[int, ...]:
        """0-based indices of the layers whose features the readout reads."""
        return tuple(number - 1 for number in self.recipe.readout.layers)

    @cached_property
    def fixed(self) -> FixedPart | None:
        """The integers of a run on the fixed backend; None for a run on another.

        Raises:
            CheckpointError: the formats, the weights or the state do not match the recipe.
            MissingPartError: brevitas is not installed.
        """
        if not self.backend_class.integers:
            return None
        from scff_hw.backends.fixed.formats.choose import READOUT_BITS
        from scff_hw.backends.fixed.formats.formats import fraction_bits

        text = self.folder.read_text(FORMATS)
        backend = load_formats(text, self.recipe, self.seed, str(self.path / FORMATS))
        weights, state = self.weights, self.tensors(CHECKPOINT)
        with checking_weights(self.path / WEIGHTS):
            network = build_network(self.recipe, backend, weights)
            Checkpoint(Position("done"), state).restore(network)
        largest = float(self.trained_readout[0].abs().max())
        return FixedPart(backend, network, fraction_bits(largest, READOUT_BITS))

    @cached_property
    def dataset(self) -> AnyDataset:
        """The run's data set.

        Raises:
            DataError: it is missing, damaged, or not the one that the run was trained on.
        """
        dataset = recipe_dataset(self.recipe, self.seed, self.data_dir)
        check_data(data_identity(self.recipe, dataset, self.data_dir), self.details.data, self.path)
        return dataset

    @cached_property
    def scaling(self) -> Scaling:
        """Scaling of the data to inputs of the network; errors as in `dataset` for runs that do not store it."""
        return self.details.scaling or recipe_scaling(self.recipe, self.dataset)

    def samples(self, part: str) -> PlainSamples:
        """One part of the run's data, prepared for inference; errors as in `dataset`."""
        if part not in self._samples:
            self._samples[part] = plain_samples(self.recipe, self.dataset, part, self.scaling)
        return self._samples[part]

    @cached_property
    def _read(self) -> dict[str, dict[str, Tensor]]:
        return {}

    @cached_property
    def _samples(self) -> dict[str, PlainSamples]:
        return {}


@contextmanager
def checking_weights(path: Path) -> Iterator[None]:
    """Context in which a network is built from a weight file.

    Raises:
        CheckpointError: a tensor is missing, or does not have the shape that the recipe implies.
    """
    try:
        yield
    except MissingPartError:
        raise
    except (KeyError, RuntimeError, UsageError) as error:
        raise CheckpointError(f"The weights in {path} are not those of the recipe beside them ({error}).") from None
