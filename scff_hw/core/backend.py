"""The base class of backends: a backend makes the weight arrays of a run and declares its own properties.

To add one, subclass `Backend` and declare an entry point in the group `scff_hw.backends`; `--backend NAME` selects it.
Only `name` and `array` are required. `scff_hw.backends.contract` contains the tests that a backend must pass.

Calls from `scff_hw.training`, in order:

    new run                                     resumed or evaluated run
    --------------------------------------      ------------------------------------------
    make(dtype, device, profile, ...)           make(dtype, device, profile, ...)
    prepare(trial)                              restore(read, geometries, where)
    documents() -> files of the run folder
    array(...) for each weight matrix           array(...) for each weight matrix
                                                array.load_state(...) from the last checkpoint
    per batch:      array.mvm(x), array.update(x, error, bias_error)
    per epoch:      array.take_metrics(), where arrays are `Metered`
    per checkpoint: array.state()

A run that compares with untrained weights makes its arrays a second time. An evaluation loads the arrays' states from
the checkpoint if `state_is_truth`, and is repeated if `noisy_reads`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from scff_hw.core.arrays import Optimisation, SynapticArray
from scff_hw.core.geometry import Geometry
from scff_hw.core.network import Network
from scff_hw.core.pairs import Stream


@dataclass(frozen=True)
class Trial:
    """Input of `Backend.prepare` for a new run: initial weights and unlabelled data.

    Attributes:
        network: returns the network in float32, with its initial weights.
        samples: returns the first n samples that the hidden layers train on, in an order given by the run's seed;
            all samples if there are fewer.
        batch: samples per update.
        views: views per sample where pairs are made, 1 or 2.
        learning: False if the weights stay fixed.
    """

    network: Callable[[], Network]
    samples: Callable[[int], Stream]
    batch: int
    views: int = 1
    learning: bool = True


class Backend(ABC):
    """Base class of backends, the factories of weight arrays; the module's docstring has the order of calls.

    Attributes:
        name: value of `--backend`.
        device_kinds: supported types of torch devices, preferred first.
        options_section: section of a recipe that is passed to `make` as `options`; empty for none.
        state_is_truth: arrays store more learned state than weights, so an evaluation loads their states.
        noisy_reads: two `mvm` of the same input differ, so an evaluation is repeated and reports mean and spread.
        integers: layers and readout compute in the integers that `formats.json` declares, as in the `fixed` backend.
        ideal: no hardware limits; studies use it as the baseline for other backends.
    """

    name: ClassVar[str]
    device_kinds: ClassVar[tuple[str, ...]] = ("cpu",)
    options_section: ClassVar[str] = ""
    state_is_truth: ClassVar[bool] = False
    noisy_reads: ClassVar[bool] = False
    integers: ClassVar[bool] = False
    ideal: ClassVar[bool] = False

    @classmethod
    def make(
        cls, *, dtype: str = "float32", device: str = "cpu", profile: Any = None, seed: int = 0, options: Any = None
    ) -> Backend:
        """Return the backend of a run.

        The default is `cls(dtype=..., device=...)`, with `profile` and `seed` if a profile is given.

        Args:
            dtype: "float64", "float32" or "bfloat16".
            device: device of the run's data, such as "cpu" or "cuda:0".
            profile: the `scff_hw.hardware.Profile` of a backend that simulates hardware; None for its default.
            seed: seed of the run.
            options: the section `options_section` of the recipe; None for its defaults.

        Raises:
            UsageError: the dtype, the device or a profile is not supported.
            MissingPartError: a required package is not installed.
        """
        hardware: dict[str, Any] = {} if profile is None else {"profile": profile, "seed": seed}
        return cls(dtype=dtype, device=device, **hardware)  # type: ignore[call-arg]

    @property
    def hardware(self) -> Any:
        """Profile of the simulated hardware, stored with a run: the attribute `profile`, or None if there is none."""
        return getattr(self, "profile", None)

    def prepare(self, trial: Trial) -> Backend:
        """Return the backend of a new run: this one, or one fitted to the run's weights and data.

        Raises:
            UsageError: the backend cannot represent the network.
        """
        return self

    def documents(self) -> dict[str, str]:
        """Return the texts to store in the run folder for `restore`, by file name; names start with "backend."."""
        return {}

    def restore(self, read: Callable[[str], str], geometries: Mapping[str, Geometry], where: str) -> Backend:
        """Return the backend of an existing run, as `prepare` returned it.

        Args:
            read: returns the text of a file in the run folder, empty if it does not exist.
            geometries: geometries of the run's arrays by name, such as layers.1.
            where: the run folder, for messages.

        Raises:
            CheckpointError: a file is damaged, or belongs to another network.
        """
        return self

    @abstractmethod
    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> SynapticArray:
        """Return an array with initial `weight` and `bias`.

        Args:
            weight: float32, shape `geometry.weight_shape`.
            bias: float32 `[outputs]`.
            name: name of the array within its network, e.g. layers.1 or layers.1.forwards.hidden.

        Raises:
            UsageError: the geometry or the optimisation is not supported.
        """
