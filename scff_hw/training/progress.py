"""How long work tells what it is doing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener to a training run; the command line shows it, tests record it."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """A stage of `total` steps begins, `done` of them finished by an earlier run."""
        ...

    def advance(self, n: int = 1, **fields: float) -> None:
        """`n` more steps are done; `fields` are the latest figures of the stage."""
        ...

    def finish(self) -> None:
        """The stage has ended."""
        ...

    def note(self, text: str) -> None:
        """One sentence worth showing."""
        ...


class SilentProgress:
    """Shows nothing."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        pass

    def advance(self, n: int = 1, **fields: float) -> None:
        pass

    def finish(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass
