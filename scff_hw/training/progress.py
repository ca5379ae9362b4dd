"""Progress reporting for long-running work."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of a training run: the command line prints it, tests record it."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Begin a stage of `total` steps; `done` steps were completed before the run was resumed."""
        ...

    def advance(self, n: int = 1, **fields: float) -> None:
        """Count `n` more completed steps; `fields` are the latest metrics of the stage."""
        ...

    def finish(self) -> None:
        """End the stage."""
        ...

    def note(self, text: str) -> None:
        """Pass one sentence to the user."""
        ...


class SilentProgress:
    """Progress that reports nothing."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        pass

    def advance(self, n: int = 1, **fields: float) -> None:
        pass

    def finish(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass
