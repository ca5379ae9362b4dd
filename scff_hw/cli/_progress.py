"""Progress on standard error: a live bar in a terminal, otherwise occasional lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scff_hw.cli._output import console

# Label and format of the metrics beside the bar.
FIGURES = {
    "goodness_pos": ("goodness +", "{:.3g}"),
    "goodness_neg": ("\N{MINUS SIGN}", "{:.3g}"),
    "loss": ("loss", "{:.3g}"),
    "dead_units": ("dead", "{:.1%}"),
    "train_accuracy": ("train", "{:.2%}"),
    "test_accuracy": ("test", "{:.2%}"),
}
REFRESH_S = 0.1
LINE_EVERY_S = 10.0


class CommandProgress(Protocol):
    """Progress of a command: stages of training or benchmarks, with a heading such as the seed."""

    heading: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, stage: str, total: int, done: int = 0) -> None: ...

    def advance(self, n: int = 1, **fields: float) -> None: ...

    def finish(self) -> None: ...

    def note(self, text: str) -> None: ...


def command_progress() -> CommandProgress:
    """Return the progress for standard error; use it in a `with` block, which restores the terminal."""
    terminal = console()
    return LiveProgress(terminal) if terminal.is_terminal else LineProgress(terminal)


def figures(fields: dict[str, float]) -> str:
    """Return the fields of a stage as text, e.g. "goodness + 4.2  loss 0.52"."""
    parts = []
    for key, value in fields.items():
        name, form = FIGURES.get(key, (key.replace("_", " "), "{:.4g}"))
        parts.append(f"{name} {form.format(float(value)).replace('%', ' %')}")
    return "  ".join(parts)


class _Stages:
    """State of the current stage: progress, latest metrics, start time."""

    def __init__(self, terminal: Console) -> None:
        self.heading = ""
        self._console = terminal
        self._stage = ""
        self._total = 0
        self._done = 0
        self._skipped = 0
        self._fields: dict[str, float] = {}
        self._began = 0.0
        self._drawn = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def start(self, stage: str, total: int, done: int = 0) -> None:
        self._stage = f"{self.heading}{stage}"
        self._total, self._done, self._skipped = total, done, done
        self._fields = {}
        self._began = self._drawn = time.monotonic()

    def advance(self, n: int = 1, **fields: float) -> None:
        self._done += n
        self._fields |= fields

    def finish(self) -> None:
        spent = time.monotonic() - self._began
        line = Text.assemble(("✓ ", "green"), f"{self._stage:<32} {spent:7.1f} s   ")
        line.append(figures(self._fields), style="dim")
        self._console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, style="dim", soft_wrap=True)

    def _due(self, every_s: float) -> bool:
        now = time.monotonic()
        if now - self._drawn < every_s:
            return False
        self._drawn = now
        return True


class LineProgress(_Stages):
    """For logs: at most one line per ten seconds, and one at the end of a stage."""

    def advance(self, n: int = 1, **fields: float) -> None:
        """Count, and print a line at most every ten seconds."""
        super().advance(n, **fields)
        if self._done >= self._total or not self._due(LINE_EVERY_S):
            return
        spent = time.monotonic() - self._began
        left = spent / max(1, self._done - self._skipped) * (self._total - self._done)
        line = f"{self._stage}: {self._done}/{self._total}, {left:.0f} s left   {figures(self._fields)}"
        self._console.print(line.rstrip(), markup=False, soft_wrap=True)


class LiveProgress(_Stages):
    """One live line: stage, bar, remaining time, latest metrics."""

    def __init__(self, terminal: Console) -> None:
        super().__init__(terminal)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}", style="dim"),
            console=terminal,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Show a bar of `total` steps."""
        super().start(stage, total, done)
        self._remove()
        self._task = self._bars.add_task(self._stage, total=total, completed=done, figures="")

    def advance(self, n: int = 1, **fields: float) -> None:
        """Count, and redraw at most ten times per second, so that formatting does not slow training."""
        super().advance(n, **fields)
        if self._task is not None and self._due(REFRESH_S):
            self._bars.update(self._task, completed=self._done, figures=figures(self._fields))

    def finish(self) -> None:
        """Replace the bar by a permanent line."""
        self._remove()
        super().finish()

    def _remove(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
