"""Progress in a terminal and in a log."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from scff_hw.cli._progress import LineProgress, LiveProgress, figures


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by one second per call."""
    seconds = itertools.count(100.0)
    monkeypatch.setattr("scff_hw.cli._progress.time.monotonic", lambda: next(seconds))


@pytest.mark.usefixtures("clock")
def test_a_log_gets_a_line_now_and_then_and_one_at_the_end() -> None:
    file = io.StringIO()
    with LineProgress(Console(file=file, width=110)) as progress:
        progress.heading = "seed 1 · "
        progress.start("layer 1", 40, 10)
        for _ in range(30):
            progress.advance(1, goodness_pos=4.2, goodness_neg=1.25, loss=0.5)
        progress.finish()
        progress.note("done [here]")
    lines = file.getvalue().splitlines()
    assert lines[0].startswith("seed 1 · layer 1: 20/40, 22 s left   goodness + 4.2")
    assert len(lines) == 5
    assert lines[3].startswith("✓ seed 1 · layer 1")
    assert "loss 0.5" in lines[3]
    assert lines[4] == "done [here]"


def test_a_terminal_gets_a_bar_and_the_cursor_back() -> None:
    file = io.StringIO()
    with LiveProgress(Console(file=file, width=140, force_terminal=True)) as progress:
        progress.start("layer 1", 4)
        for _ in range(4):
            progress.advance(1, loss=0.5)
        progress.finish()
    text = file.getvalue()
    assert "layer 1" in text
    assert "loss 0.5" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_stage_that_did_not_finish_leaves_the_terminal_in_order() -> None:
    file = io.StringIO()
    with pytest.raises(KeyboardInterrupt), LiveProgress(Console(file=file, force_terminal=True)) as progress:
        progress.start("layer 1", 4)
        raise KeyboardInterrupt
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


def test_figures_carry_their_units() -> None:
    text = figures({"test_accuracy": 0.98765, "dead_units": 0.031, "learning_rate": 0.003})
    assert text == "test 98.77 %  dead 3.1 %  learning rate 0.003"
