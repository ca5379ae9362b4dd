"""`FinishedRun` reads the files of a finished run, for evaluation, export and reports."""

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
    """Integers of a run on the fixed backend.

    Attributes:
        backend: fixed backend with the number formats of each layer.
        network: trained layers with the full integer state, e.g. all bits of the shadow weights.
        readout_frac: fraction bits of the readout's weights.
    """

    backend: FixedBackend
    network: Network
    readout_frac: int


@dataclass(frozen=True)
class FinishedRun:
    """A run whose training is complete, read from its folder.

    `open` checks the status, `run.json` and the recipe. All other files are read, checked and cached at first use:
    documents against their schemas, tensor files and data against their digests. Callers must not modify tensors.

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
        """Open the run in folder `path`; `purpose` completes the message "must be finished to be ...".

        Raises:
            CheckpointError: the folder is not a run, or the run is not finished.
            RecipeError: the run's recipe does not validate.
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
            UsageError: the backend belongs to another package, which is not installed.
            MissingPartError: a dependency of the backend is not installed.
        """
        return backend_class(self.backend)

    @cached_property
    def summary(self) -> RunSummary:
        """Content of `summary.json`: the results of the run.

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
        """Hardware profile that the run was trained on; None without simulated hardware.

        Raises:
            ProfileError: `profile.yaml` does not validate.
        """
        return None if self.details.profile is None else load_profile(self.path / PROFILE)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of file `WEIGHTS`, `INITIAL` or `CHECKPOINT` by dotted name; each file is read once.

        Raises:
            CheckpointError: the file is missing, damaged, of another run or of another name, or a weight is not finite.
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
        """Network with the run's weights on the float backend, float32, for inference.

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
        """Weights and biases as in `readout`, but float, before quantisation; errors as in `readout`."""
        weights = self.weights
        with checking_weights(self.path / WEIGHTS):
            return weights["readout.weight"], weights["readout.bias"]

    @property
    def read_layers(self) -> tuple[int, ...]:
        """0-based indices of the layers whose features are input to the readout."""
        return tuple(number - 1 for number in self.recipe.readout.layers)

    @cached_property
    def fixed(self) -> FixedPart | None:
        """Integers of a run on the fixed backend; None for other backends.

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
        """Data set of the run.

        Raises:
            DataError: the data set is missing, damaged, or differs from that of training.
        """
        dataset = recipe_dataset(self.recipe, self.seed, self.data_dir)
        check_data(data_identity(self.recipe, dataset, self.data_dir), self.details.data, self.path)
        return dataset

    @cached_property
    def scaling(self) -> Scaling:
        """Scaling of the data to inputs of the network; errors as in `dataset` if `run.json` does not contain it."""
        return self.details.scaling or recipe_scaling(self.recipe, self.dataset)

    def samples(self, part: str) -> PlainSamples:
        """Return the scaled samples of `part` ("train", "test", "unlabelled") for inference; errors as in `dataset`."""
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
    """Convert errors of a `with` block that builds a network from weight file `path` to CheckpointError.

    Raises:
        CheckpointError: a tensor is missing, or does not have the shape that the recipe implies.
    """
    try:
        yield
    except MissingPartError:
        raise
    except (KeyError, RuntimeError, UsageError) as error:
        raise CheckpointError(f"The weights in {path} are not those of the recipe beside them ({error}).") from None
