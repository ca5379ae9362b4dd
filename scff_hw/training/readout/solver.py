"""Protocol of readout solvers: a fit in steps, which can be logged, interrupted and resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from scff_hw.documents import ReadoutReport
from scff_hw.training.readout.linear import Readout


def never() -> bool:
    """Return False: no stop is requested."""
    return False


class Solver(Protocol):
    """Fits a readout in `steps` steps.

    The caller runs steps 0, 1, ... `steps` - 1 in order. A new solver for the same data that loads the `state()` after
    a step continues with the next step and gives bit-identical results.
    """

    kind: str
    """Value of `kind` in the lines of metrics.jsonl with the metrics of a step."""

    @property
    def steps(self) -> int: ...

    @property
    def readout(self) -> Readout:
        """Fitted readout, after the last step."""
        ...

    def step(self, number: int, stopped: Callable[[], bool] = never) -> dict[str, float | bool | str]:
        """Run one step and return its metrics.

        Raises:
            KeyboardInterrupt: `stopped` returned true during the step.
        """
        ...

    def report(self) -> ReadoutReport:
        """Return the report on the fit; call it after the last step."""
        ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: dict[str, Tensor]) -> None: ...
