"""Presents a study as plots, a terminal table and one self-contained page."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from scff_hw.report._page import environment
from scff_hw.report._picture import Picture
from scff_hw.report._style import SMALL_PT, TEXT_PT, THEMES, Theme, ThemeName, dress, new_figure, percent_axis
from scff_hw.report._tables import _stack, paired_gain, spread

SummaryRow = dict[str, Any]
HEADER_WIDTH = 13
LINE_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """One method over the ticks of a panel.

    Attributes:
        role: a colour of the theme: scff, untrained, backprop, positive, negative, muted.
        values: per tick, the accuracy of each seed, 0..1; a single entry is a level that applies to all ticks.
        style: number of the line's style, 0 solid.
    """

    name: str
    role: str
    values: tuple[tuple[float, ...], ...]
    style: int = 0


@dataclass(frozen=True)
class Panel:
    """One pair of axes: accuracy over ticks, in order.

    Attributes:
        ticks: labels of the x axis.
        positions: x coordinates of the ticks; None: evenly spaced.
    """

    title: str
    x: str
    ticks: tuple[str, ...]
    curves: tuple[Curve, ...]
    positions: tuple[float, ...] | None = None


def study_plot(panels: Sequence[Panel], theme: ThemeName = "light") -> Figure:
    """Plot the panels, two per row: mean over seeds, one sample standard deviation shaded.

    A single panel with one tick has a row per curve: the accuracy of each seed, and mean ± sample standard deviation.
    """
    look = THEMES[theme]
    if _is_single(panels):
        figure = new_figure(7.5, 0.9 + 0.42 * len(panels[0].curves), look, layout="constrained")
        _rows(figure.subplots(), panels[0], look)
        return figure
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(5.4 * columns if columns > 1 else 7.5, 3.9 * rows + 0.3, look, layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for axes, panel in zip(all_axes, panels, strict=False):
        _panel(axes, panel, look)
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=3,
        fontsize=SMALL_PT,
        frameon=False,
        labelcolor=look.ink,
        handlelength=3.5,  # a dash on each side of the marker
    )
    return figure


STUDY_UNITS = " · test accuracy in %; over several seeds, with the gain over untrained ± se"


def study_table(title: str, panels: Sequence[Panel]) -> Table:
    """Return the panels as a table: one row per tick, one column per curve, mean ± std over seeds in per cent.

    With one tick only, there is one row per curve, so that many methods fit into a terminal.
    """
    names = list(dict.fromkeys(curve.name for panel in panels for curve in panel.curves))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if _is_single(panels):
        table.add_column("method", no_wrap=True)
        table.add_column(panels[0].ticks[0], justify="right", no_wrap=True)
        table.add_column("over untrained", justify="right", no_wrap=True)
        cells = _cells(panels[0], 0)
        for name in names:
            accuracy, _, gain = cells.get(name, "").replace(" %", "").partition("\n")
            table.add_row(name, accuracy, gain)
        return _stack(title + STUDY_UNITS, [table])
    table.add_column(textwrap.fill(panels[0].x.rpartition(".")[2], HEADER_WIDTH), no_wrap=True)
    for name in names:
        table.add_column(textwrap.fill(name, HEADER_WIDTH), justify="right", no_wrap=True)
    for panel in panels:
        if len(panels) > 1:
            table.add_row(textwrap.fill(panel.title, HEADER_WIDTH), style="bold")
        for index, tick in enumerate(panel.ticks):
            cells = _cells(panel, index)
            table.add_row(tick, *(cells.get(name, "").replace(" %", "") for name in names))
    return _stack(title + STUDY_UNITS, [table])


def study_html(
    *,
    title: str,
    explanation: str,
    plot: Picture,
    panels: Sequence[Panel],
    results: Sequence[SummaryRow],
    command: str,
    documents: Mapping[str, Any],
    versions: Mapping[str, str],
    seeds: Sequence[int],
    pairs: Picture | None = None,
) -> str:
    """Return a study as one self-contained HTML page; with `pairs`, the page shows them.

    Args:
        plot: drawn by `study_plot`.
        pairs: drawn by `pairs_plot`.
    """
    columns = [key for key in (results[0] if results else {}) if key not in ("mean", "std", "seeds", "broken")]
    return (
        environment()
        .get_template("study.html.j2")
        .render(
            title=title,
            explanation=explanation,
            plot=plot,
            pairs=pairs,
            panels=[_section(panel) for panel in panels],
            columns=columns,
            results=[
                {
                    "cells": [row.get(column, "") for column in columns],
                    "mean": f"{100 * row['mean']:.2f} %",
                    "std": "" if row["std"] is None else f"{100 * row['std']:.2f}",
                    "seeds": row["seeds"],
                    "broken": row["broken"] or "",
                }
                for row in results
            ],
            command=command,
            recipe=documents["recipe"],
            profile=documents.get("profile"),
            versions=versions,
            seeds=seeds,
        )
    )


def _section(panel: Panel) -> dict[str, Any]:
    rows = [{"tick": tick, "cells": _cells(panel, index)} for index, tick in enumerate(panel.ticks)]
    return {"title": panel.title, "x": panel.x, "names": [curve.name for curve in panel.curves], "rows": rows}


def _cells(panel: Panel, index: int) -> dict[str, str]:
    """Return mean ± std of each curve at tick `index`; for several seeds, below it the paired gain over untrained."""
    at = {curve.name: curve.values[0] if len(curve.values) == 1 else curve.values[index] for curve in panel.curves}
    base = at.get("untrained", ())
    cells = {}
    for name, values in at.items():
        gain = paired_gain(values, base) if name != "untrained" and len(values) > 1 else ""
        cells[name] = (spread(values) if values else "") + (f"\n{gain}" if gain else "")
    return cells


def _is_single(panels: Sequence[Panel]) -> bool:
    """Check whether there is one panel with one tick, so that curves are compared at one place only."""
    return len(panels) == 1 and len(panels[0].ticks) == 1


def _rows(axes: Axes, panel: Panel, look: Theme) -> None:
    """Draw one row per curve, first to last from the top."""
    dress(axes, look, x="test accuracy", title=panel.title, grid="x")
    curves = [curve for curve in panel.curves if curve.values and curve.values[0]]
    for row, curve in enumerate(reversed(curves)):
        values, colour = [100 * value for value in curve.values[0]], getattr(look, curve.role)
        mean, spread = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
        face = look.paper if curve.style else colour
        axes.plot(values, [row] * len(values), "|", color=colour, markersize=9, alpha=0.5)
        axes.errorbar(mean, row, xerr=spread, fmt="o", color=colour, mfc=face, markersize=7, capsize=3)
    axes.set_yticks(range(len(curves)), [curve.name for curve in reversed(curves)], fontsize=TEXT_PT, color=look.ink)
    axes.set_ylim(-0.6, len(curves) - 0.4)
    percent_axis(axes, "x", 7)


def _panel(axes: Axes, panel: Panel, look: Theme) -> None:
    dress(axes, look, x=panel.x, y="test accuracy", title=panel.title)
    positions = list(panel.positions or range(len(panel.ticks)))
    for curve in panel.curves:
        values = curve.values * len(positions) if len(curve.values) == 1 else curve.values
        measured = [(x, accuracies) for x, accuracies in zip(positions, values, strict=True) if accuracies]
        if not measured:
            continue
        x = [position for position, _ in measured]
        mean = [100 * statistics.mean(accuracies) for _, accuracies in measured]
        std = [100 * statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0 for _, accuracies in measured]
        level = len(curve.values) == 1
        colour = getattr(look, curve.role)
        axes.plot(
            x,
            mean,
            color=colour,
            linestyle=LINE_STYLES[curve.style],
            linewidth=1.3 if level else 2.0,
            marker="" if level and len(x) > 1 else "o",
            markersize=4,
            label=curve.name,
        )
        if not level:
            low = [m - s for m, s in zip(mean, std, strict=True)]
            high = [m + s for m, s in zip(mean, std, strict=True)]
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(positions, panel.ticks, fontsize=SMALL_PT)
    axes.margins(x=0.06)
    percent_axis(axes)
    axes.title.set_fontsize(TEXT_PT)
