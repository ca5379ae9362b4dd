"""The reference backend: PyTorch in float64, float32 or bfloat16, on a CPU or a CUDA device, with SGD or AdamW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from scff_hw.backends._descent import Descent
from scff_hw.backends.state import check_state
from scff_hw.core.arrays import Optimisation
from scff_hw.core.backend import Backend
from scff_hw.core.geometry import Geometry, Prepared, Workspace
from scff_hw.errors import UsageError

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class FloatBackend(Backend):
    """Backend whose arrays are PyTorch tensors.

    Attributes:
        dtype: "float64", "float32" or "bfloat16". In bfloat16 the MVM and the outer product are computed in
            bfloat16; the weights are stored in float32, otherwise small updates would be rounded to zero.
        device: a PyTorch device, e.g. "cpu" or "cuda".
        shares: arrays share memory with their initial weights and biases if dtype and device are the same.
    """

    name: ClassVar[str] = "float"
    device_kinds: ClassVar[tuple[str, ...]] = ("cuda", "cpu")
    ideal: ClassVar[bool] = True

    dtype: str = "float32"
    device: str = "cpu"
    shares: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(
                f"The dtype of the float backend must be one of {', '.join(DTYPES)}. Got '{self.dtype}' instead."
            )
        if torch.device(self.device).type == "cuda" and not torch.cuda.is_available():
            raise UsageError(f"The device '{self.device}' was requested, but PyTorch finds no CUDA device here.")

    @classmethod
    def make(
        cls, *, dtype: str = "float32", device: str = "cpu", profile: Any = None, seed: int = 0, options: Any = None
    ) -> FloatBackend:
        if profile is not None:
            raise UsageError(
                f"The float backend has no hardware, so it takes no profile. Got '{profile.name}'; "
                "type: --backend analog"
            )
        return cls(dtype, device)

    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> FloatArray:
        dtype, device = DTYPES[self.dtype], torch.device(self.device)
        return FloatArray(weight, bias, geometry, optimisation, dtype, device, copy=not self.shares)


class FloatArray:
    """One layer's weights as PyTorch tensors, with explicit gradients, without autograd."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
        optimisation: Optimisation,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        *,
        copy: bool = True,
    ) -> None:
        geometry.check_weight(weight)
        self.geometry = geometry
        self.dtype = dtype
        master = torch.float64 if dtype == torch.float64 else torch.float32
        self._weight = weight.detach().to(device, master, copy=copy).contiguous()
        self._bias = bias.detach().to(device, master, copy=copy)
        self._descent = Descent({"weight": self._weight, "bias": self._bias}, optimisation)
        self._workspace = Workspace()
        self._prepared: tuple[Tensor, Prepared] | None = None

    @property
    def learning_rate(self) -> float:
        return self._descent.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._descent.learning_rate = value

    @property
    def bias(self) -> Tensor:
        return self._bias

    @property
    def weight(self) -> Tensor:
        return self._weight.clone()

    def mvm(self, x: Tensor) -> Tensor:
        return self._prepare(x).mvm(self._weight.to(self.dtype))

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        prepared = self._prepare(x)
        self._prepared = None
        gradient = prepared.outer(error.to(self.dtype))
        # fused optimisers read memory in order, so a gradient in another layout would be read permuted
        gradient = gradient.to(self._weight.dtype).contiguous()
        self._descent.step({"weight": gradient, "bias": bias_error.to(self._bias.dtype)})

    def weight_range(self) -> tuple[float, float]:
        low, high = self._weight.aminmax()
        return float(low), float(high)

    def state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self._state().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        own = self._state()
        check_state(own, state)
        for name, value in own.items():
            value.copy_(state[name])

    def _state(self) -> dict[str, Tensor]:
        return {"weight": self._weight, "bias": self._bias} | self._descent.state

    def _prepare(self, x: Tensor) -> Prepared:
        """Return the input prepared for its products; cached from an `mvm` to the `update` of the same `x`."""
        if self._prepared is None or self._prepared[0] is not x:
            self.geometry.check_input(x)
            self._prepared = (x, self.geometry.prepare(x.to(self.dtype), self._workspace))
        return self._prepared[1]
