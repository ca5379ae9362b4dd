"""Plots of the pairs of sequences in a network's input (paper, figure 6a)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from scff_hw.report._style import SMALL_PT, TEXT_PT, THEMES, ThemeName, dress, new_figure

SPREAD = 2.5
"""Colour range in standard deviations of the standardised frames; values outside are clipped."""


@dataclass(frozen=True)
class PairPicture:
    """The two halves of a pair, each float `[T, F]` of its own length, and their class names."""

    title: str
    halves: tuple[np.ndarray, np.ndarray]
    names: tuple[str, str]


def pairs_plot(pairs: Sequence[PairPicture], theme: ThemeName = "light") -> Figure:
    """Draw each pair as two images above each other: frames on the x axis, standardised coefficients on the y axis.

    A pair has the length of its first half: a longer second half is truncated, the missing frames of a shorter one
    are empty.
    """
    look = THEMES[theme]
    figure = new_figure(5.0 * len(pairs), 4.6, look, layout="constrained")
    columns = figure.subplots(2, len(pairs), squeeze=False, sharex="col").T
    image = None
    for (upper, lower), pair in zip(columns, pairs, strict=True):
        steps = len(pair.halves[0])
        for axes, half, name in zip((upper, lower), pair.halves, pair.names, strict=True):
            coefficients = np.full((half.shape[1], steps), np.nan)
            coefficients[:, : min(steps, len(half))] = half[:steps].T
            dress(axes, look, y="coefficient", x="frame" if axes is lower else "", grid="")
            axes.set_title(name, fontsize=SMALL_PT, color=look.muted, loc="left")
            image = axes.imshow(
                coefficients,
                cmap="RdBu_r",
                vmin=-SPREAD,
                vmax=SPREAD,
                aspect="auto",
                origin="lower",
                interpolation="nearest",
                extent=(0.5, steps + 0.5, 0.5, half.shape[1] + 0.5),
            )
        upper.set_title(f"{pair.title}: {pair.names[0]}", fontsize=TEXT_PT, color=look.ink, loc="left", weight="bold")
    assert image is not None, "pairs must not be empty"
    bar = figure.colorbar(image, ax=columns.flatten().tolist(), fraction=0.03, pad=0.01)
    bar.set_label("standardised", fontsize=TEXT_PT, color=look.muted)
    bar.ax.tick_params(labelsize=SMALL_PT, colors=look.muted, length=0)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure
