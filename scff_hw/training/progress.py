"""Progress reporting for long-running work."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of a training run: the command line prints it, tests record it."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """A stage of `total` steps begins; an earlier run completed `done` of them."""
        ...

    def advance(self, n: int = 1, **fields: float) -> None:
        """`n` more steps are done; `fields` are the latest metrics of the stage."""
        ...

    def finish(self) -> None:
        """The stage has ended."""
        ...

    def note(self, text: str) -> None:
        """One sentence for the user."""
        ...


class SilentProgress:
    """Prints nothing."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        pass

    def advance(self, n: int = 1, **fields: float) -> None:
        pass

    def finish(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass
