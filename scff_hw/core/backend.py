"""What a backend is: it makes arrays of synapses, and says what a run needs to know of it.

Subclass `Backend` and declare an entry point in the group `scff_hw.backends`; `--backend NAME` then takes it. All but
`name` and `array` has a default. `scff_hw.backends.contract` has the tests that a backend must pass.

What `scff_hw.training` calls, and when:

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

Arrays are made again with the untrained weights where a run compares with them. An evaluation loads the checkpoint
where `state_is_truth`, and repeats where `noisy_reads`.
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
from scff_hw.core.streams import Stream


@dataclass(frozen=True)
class Trial:
    """What a backend may look at before a new run: data and weights as they are, no labels.

    Attributes:
        network: makes the network in float32, with the weights that the run starts from.
        samples: the first n samples that hidden layers learn from, in an order that the run's seed decides; all where
            there are fewer.
        batch: samples of one update.
        views: of each sample where pairs are made, 1 or 2.
        learning: False where the weights will stay as they are.
    """

    network: Callable[[], Network]
    samples: Callable[[int], Stream]
    batch: int
    views: int = 1
    learning: bool = True


class Backend(ABC):
    """Makes arrays; see the module's text for the order of calls.

    Attributes:
        name: what `--backend` takes.
        device_kinds: types of torch devices that it computes on, best first.
        options_section: section of a recipe that is passed to `make` as `options`; empty for none.
        state_is_truth: weights are not all that a run learned: an evaluation loads the arrays' states.
        noisy_reads: reading twice gives two results, so that an evaluation reads repeatedly and gives mean and spread.
        integers: layers and readout compute in the integers that `formats.json` declares, as the `fixed` backend's do.
        ideal: hardware has no limits here: what studies compare other backends with.
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
        """The backend of a run. By default `cls(dtype=..., device=...)`, with `profile` and `seed` where one is given.

        Args:
            dtype: "float64", "float32" or "bfloat16".
            device: of the run's data, such as "cpu" or "cuda:0".
            profile: the `scff_hw.hardware.Profile` of a backend that simulates hardware; None for its default.
            seed: of the run.
            options: the section `options_section` of the recipe; None for its defaults.

        Raises:
            UsageError: it does not know the dtype, the device or profiles.
            MissingPartError: what it needs is not installed.
        """
        hardware: dict[str, Any] = {} if profile is None else {"profile": profile, "seed": seed}
        return cls(dtype=dtype, device=device, **hardware)  # type: ignore[call-arg]

    @property
    def hardware(self) -> Any:
        """The `scff_hw.hardware.Profile` that it simulates, stored with a run: its attribute `profile`, or None."""
        return getattr(self, "profile", None)

    def prepare(self, trial: Trial) -> Backend:
        """The backend that a new run uses: this one, or one fitted to the run's weights and data.

        Raises:
            UsageError: it cannot hold such a network.
        """
        return self

    def documents(self) -> dict[str, str]:
        """Text files of the run folder that `restore` reads, by name: names start with "backend."."""
        return {}

    def restore(self, read: Callable[[str], str], geometries: Mapping[str, Geometry], where: str) -> Backend:
        """The backend of a run that exists, as `prepare` made it.

        Args:
            read: the text of a file in the run folder, empty where there is none.
            geometries: of the run's arrays by name, such as layers.1.
            where: the run folder, for messages.

        Raises:
            CheckpointError: a document is damaged, or of another network.
        """
        return self

    @abstractmethod
    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> SynapticArray:
        """An array that starts from `weight` and `bias`.

        Args:
            weight: float32, of the shape `geometry.weight_shape`.
            bias: float32 `[outputs]`.
            name: of the array within its network, e.g. layers.1 or layers.1.forwards.hidden.

        Raises:
            UsageError: a geometry or an optimisation that it does not have.
        """
