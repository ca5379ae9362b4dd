"""What every solver of the readout implements: steps that can be logged, interrupted and resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from scff_hw.documents import ReadoutReport
from scff_hw.training.readout.linear import Readout


def never() -> bool:
    """No stop is requested."""
    return False


class Solver(Protocol):
    """Fits a readout in `steps` steps.

    The caller runs steps 0, 1, ... `steps` - 1 in order. `state()` after a step, passed to `load_state` of a new solver
    of the same data, continues with the next step and gives the same bits.
    """

    kind: str
    """`kind` of the lines of metrics.jsonl that its steps return."""

    @property
    def steps(self) -> int: ...

    @property
    def readout(self) -> Readout:
        """The readout after the last step."""
        ...

    def step(self, number: int, stopped: Callable[[], bool] = never) -> dict[str, float | bool | str]:
        """Run one step and return its metrics.

        Raises:
            KeyboardInterrupt: `stopped` returned true during the step.
        """
        ...

    def report(self) -> ReadoutReport:
        """How the readout was fitted, after the last step."""
        ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: dict[str, Tensor]) -> None: ...
