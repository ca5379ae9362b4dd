"""Writes the plots of a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from scff_hw.files import AnyPath, write_atomic
from scff_hw.report._curves import accuracies, learning_curves
from scff_hw.report._filters import IRIS_FEATURES, filters
from scff_hw.report._picture import Picture
from scff_hw.report._run import Run, Summary, read_run
from scff_hw.report._style import ThemeName, png


class RunPlots:
    """The plots of a run, for its folder and for pages; each is drawn once.

    Attributes:
        curves: `learning_curves`.
        filters: `first_layer`.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.curves = Picture(lambda theme: learning_curves(run, theme))
        self.filters = Picture(lambda theme: first_layer(run, theme))

    def write(self) -> list[Path]:
        """Write plots/learning_curves.png and plots/filters.png into the run folder; return their paths."""
        folder = self.run.path / "plots"
        return [
            write_atomic(folder / "learning_curves.png", self.curves.png()),
            write_atomic(folder / "filters.png", self.filters.png()),
        ]


def first_layer(run: Run, theme: ThemeName = "light") -> Figure:
    """Plot a run's first layer and its initial weights. Raises CheckpointError without weights."""
    initial = run.weight(initial=True) if (run.path / "initial.safetensors").exists() else None
    iris = run.recipe.data.name == "iris"
    return filters(run.weight(), initial, features=IRIS_FEATURES if iris else None, theme=theme)


def write_plots(path: AnyPath) -> list[Path]:
    """Write the plots of the run in `path`; return their paths."""
    return RunPlots(read_run(path)).write()


def write_accuracies(summaries: Sequence[Summary], folder: Path) -> Path:
    """Write plots/accuracies.png of several seeds into `folder`; return its path."""
    return write_atomic(folder / "plots" / "accuracies.png", png(accuracies(summaries)))
