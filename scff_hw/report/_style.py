"""The common style of all plots: colours that colour-blind readers can distinguish, light and dark.

The colours follow Okabe and Ito, "Color Universal Design" (2008); line styles or markers always repeat the
distinction. Figures use matplotlib's object interface: no pyplot, so no global state.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

ThemeName = Literal["light", "dark"]
DPI = 150
COMPRESSION = 4
"""Compression level of PNG: twice as fast as matplotlib's level, for 1 % more bytes."""
TEXT_PT = 10.0
SMALL_PT = 8.5


@dataclass(frozen=True)
class Theme:
    """Colours of one theme: background, text, and one colour per plotted quantity."""

    paper: str
    ink: str
    muted: str
    grid: str
    scff: str
    untrained: str
    backprop: str
    positive: str
    negative: str


THEMES: dict[str, Theme] = {
    "light": Theme(
        paper="#ffffff",
        ink="#1f2328",
        muted="#59636e",
        grid="#e3e6ea",
        scff="#0072b2",
        untrained="#767676",
        backprop="#d55e00",
        positive="#008a66",
        negative="#b0478b",
    ),
    "dark": Theme(
        paper="#0d1117",
        ink="#e6edf3",
        muted="#9aa4af",
        grid="#2a313a",
        scff="#56b4e9",
        untrained="#a0a0a0",
        backprop="#f0883e",
        positive="#2fc898",
        negative="#e58bc2",
    ),
}


def new_figure(width_in: float, height_in: float, theme: Theme, *, layout: Literal["constrained"] | None) -> Figure:
    """Return an empty figure of the given size in inches, on an Agg canvas.

    Args:
        layout: None for explicit positions: matplotlib's layout engine takes as long as drawing.
    """
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout=layout, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, theme: Theme, *, x: str = "", y: str = "", title: str = "", grid: str = "y") -> None:
    """Set the labels, colours and grid of one pair of axes (`grid` is "x", "y" or "")."""
    axes.set_facecolor(theme.paper)
    axes.set_xlabel(x, fontsize=TEXT_PT, color=theme.muted)
    axes.set_ylabel(y, fontsize=TEXT_PT, color=theme.muted)
    axes.set_title(title, fontsize=TEXT_PT + 1, color=theme.ink, loc="left", weight="bold")
    axes.tick_params(labelsize=SMALL_PT, colors=theme.muted, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.grid)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=theme.grid, linewidth=0.8)  # pyright: ignore[reportArgumentType]


def count_axis(axes: Axes) -> None:
    """Label the x axis with whole numbers, thousands separated by a space."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ")))


def percent_axis(axes: Axes, which: str = "y", ticks: int = 5) -> None:
    """Label an axis of percentages with a per cent sign."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))


def png(figure: Figure) -> bytes:
    """Return the figure as PNG; the same figure gives the same bytes."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # savefig would draw twice
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # opaque
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png", dpi=(DPI, DPI), compress_level=COMPRESSION)
    return buffer.getvalue()
