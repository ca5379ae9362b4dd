"""Plots of a run's log: goodness, dead units and weights over batches, accuracy over epochs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Transform, blended_transform_factory

from scff_hw.report._run import Run
from scff_hw.report._style import (
    SMALL_PT,
    TEXT_PT,
    THEMES,
    Theme,
    ThemeName,
    count_axis,
    dress,
    new_figure,
    percent_axis,
)
from scff_hw.report._tables import COMPARED, Summary, accuracies_of, spread


def learning_curves(run: Run, theme: ThemeName = "light") -> Figure:
    """Plot one run: one column per layer (goodness, dead units, weights over batches), below them the accuracies.

    Faint lines are single batches, strong lines their moving average; vertical lines are epochs, dotted lines the
    thresholds of the recipe.
    """
    look = THEMES[theme]
    layers = run.layers
    upper, lower = (6.1 if layers else 0.0), 2.95
    figure = new_figure(10.0, upper + lower, look, layout=None)
    height = upper + lower
    inches = {
        "left": 0.85 / 10,
        "right": 1 - 0.35 / 10,
        "bottom": (lower + 0.6) / height,
        "top": 1 - 0.5 / height,
    }
    if layers:
        grid = figure.add_gridspec(3, len(layers), height_ratios=[2.4, 1, 1], wspace=0.3, hspace=0.2, **inches)
        panels = grid.subplots(sharex="col", squeeze=False)
        for column, layer in enumerate(layers):
            _layer(list(panels[:, column]), run, layer, look, first=column == 0)
    bottom = {
        "left": 0.85 / 10,
        "right": 1 - 2.25 / 10,
        "bottom": 0.62 / height,
        "top": (lower - 0.4) / height,
    }
    _accuracy(figure.add_subplot(figure.add_gridspec(1, 1, **bottom)[0]), run, look)
    return figure


def _layer(panels: Sequence[Axes], run: Run, layer: int, look: Theme, *, first: bool) -> None:
    keys = ("step", "epoch", "goodness_pos", "goodness_neg", "dead_units", "weight_min", "weight_max")
    data = run.series(*keys, kind="batch", layer=layer)
    step = data["step"]
    goodness, dead, weights = panels
    dress(goodness, look, y="goodness" if first else "")
    goodness.set_title(f"Layer {layer}", fontsize=TEXT_PT + 1, color=look.ink, loc="left", weight="bold", pad=18)
    curves = (
        ("goodness_pos", "positive", look.positive, "-"),
        ("goodness_neg", "negative", look.negative, "--"),
    )
    for key, name, colour, line in curves:
        goodness.plot(step, data[key], color=colour, alpha=0.22, linewidth=0.7)
        goodness.plot(step, smooth(data[key]), color=colour, linestyle=line, linewidth=2.0, label=name)
    top = float(np.nanmax([np.nanmax(data["goodness_pos"]), np.nanmax(data["goodness_neg"])]))
    for theta, sign, colour in _thresholds(run.thresholds(layer), look):
        if 0 < theta < 1.3 * top:
            goodness.axhline(theta, color=colour, linestyle=":", linewidth=1.2)
            goodness.annotate(
                f"θ{sign}",
                (1.0, theta),
                xycoords=("axes fraction", "data"),
                xytext=(2, 0),
                textcoords="offset points",
                color=colour,
                fontsize=SMALL_PT,
                va="center",
            )
    goodness.set_ylim(bottom=0)
    if first:
        goodness.legend(fontsize=SMALL_PT, frameon=False, labelcolor=look.ink, loc="best", ncols=2)

    dress(dead, look, y="dead units" if first else "")
    dead.plot(step, 100 * data["dead_units"], color=look.muted, linewidth=1.5, clip_on=False)
    dead.set_ylim(0, max(1.0, 110 * float(np.nanmax(data["dead_units"]))))
    percent_axis(dead, ticks=3)

    dress(weights, look, x="batch", y="weight range" if first else "")
    weights.fill_between(step, data["weight_min"], data["weight_max"], color=look.scff, alpha=0.25, linewidth=0)
    for key in ("weight_min", "weight_max"):
        weights.plot(step, data[key], color=look.scff, linewidth=1.2)
    count_axis(weights)
    weights.set_xlim(step.min() if len(step) > 1 else 0, step.max())
    if first:
        for panel in panels:
            panel.yaxis.set_label_coords(0.16 / 10, 0.5, transform=_beside(panel))
    _epochs(panels, step, data["epoch"], look)


def _thresholds(pair: tuple[float, float] | None, look: Theme) -> list[tuple[float, str, str]]:
    if pair is None:
        return []
    if pair[0] == pair[1]:
        return [(pair[0], "±", look.muted)]
    return [(pair[0], "+", look.positive), (pair[1], "\N{MINUS SIGN}", look.negative)]


def _beside(panel: Axes) -> Transform:
    """Return a transform with x as a fraction of the figure and y as a fraction of the panel."""
    figure = panel.get_figure()
    assert figure is not None
    return blended_transform_factory(figure.transFigure, panel.transAxes)


def _epochs(panels: Sequence[Axes], step: np.ndarray, epoch: np.ndarray, look: Theme) -> None:
    starts = [0, *np.flatnonzero(np.diff(epoch)) + 1]
    every = max(1, -(-len(starts) // 7))
    style = {"fontsize": SMALL_PT - 1, "color": look.muted, "va": "bottom", "textcoords": "offset points"}
    panels[0].annotate("epoch", (0, 1), xycoords="axes fraction", xytext=(-6, 3), ha="right", **style)
    for start in starts:
        number = int(epoch[start])
        if (number - 1) % every:
            continue
        for panel in panels if start else ():
            panel.axvline(float(step[start]), color=look.grid, linewidth=0.8, zorder=0)
        xycoords = ("data", "axes fraction")
        panels[0].annotate(f"{number}", (step[start], 1), xycoords=xycoords, xytext=(0, 3), ha="center", **style)


def _accuracy(axes: Axes, run: Run, look: Theme) -> None:
    solver = run.summary["metrics"].get("readouts", {}).get("scff", {}).get("solver", "paper")
    epochs = "the readout (of the whole network for backpropagation)" if solver == "paper" else "backpropagation"
    dress(axes, look, x=f"epoch of {epochs}", title="Test accuracy")
    curves = (
        ("backprop_test_accuracy", "backpropagation", {"kind": "backprop"}, look.backprop, "-."),
        ("test_accuracy", "SCFF", {"kind": "readout", "features": "scff"}, look.scff, "-"),
        (
            "untrained_test_accuracy",
            "untrained",
            {"kind": "readout", "features": "untrained"},
            look.untrained,
            "--",
        ),
        ("patches_test_accuracy", "patches", {"kind": "readout", "features": "patches"}, look.muted, ":"),
    )
    drawn: list[np.ndarray] = []
    ends: list[tuple[float, str, str]] = []
    last = 1.0
    for key, name, where, colour, line in curves:
        data = run.series("epoch", "test_accuracy", **where)
        keep = np.isfinite(data["test_accuracy"])
        epoch, value = data["epoch"][keep], 100 * data["test_accuracy"][keep]
        final = run.summary["metrics"].get(key)
        if final is not None:
            axes.axhline(100 * final, color=colour, linewidth=0.9, alpha=0.6)
            ends.append((100 * final, f"{name} {100 * final:.2f} %", colour))
        if len(epoch):
            marker = "o" if len(epoch) <= 12 else ""
            axes.plot(epoch, value, color=colour, linestyle=line, linewidth=2.0, marker=marker, markersize=4)
            drawn.append(value)
            last = max(last, float(epoch.max()))
    axes.set_xlim(1, last if last > 1 else 2)
    if drawn or ends:
        _accuracy_limits(axes, drawn, [end[0] for end in ends])
    percent_axis(axes)
    count_axis(axes)
    _end_labels(axes, ends)


def _accuracy_limits(axes: Axes, drawn: Sequence[np.ndarray], finals: Sequence[float]) -> None:
    """Set y limits that show the final differences, even if the first epochs are far below."""
    values = np.concatenate([*drawn, np.asarray(finals)])
    ends = np.asarray(finals) if finals else np.array([float(value[-1]) for value in drawn])
    high = float(values.max())
    low = max(float(values.min()), float(ends.min()) - max(2.0, float(np.ptp(ends))))
    pad = max(0.2, 0.08 * (high - low))
    axes.set_ylim(low - pad, high + pad)


def _end_labels(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Label the lines at their right ends, moved apart where labels would overlap."""
    low, high = axes.get_ylim()
    gap = 0.09 * (high - low)
    y = -np.inf
    for value, text, colour in sorted(ends):
        y = max(value, y + gap)
        axes.annotate(
            text,
            (1.0, y),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            fontsize=TEXT_PT,
            weight="bold",
            va="center",
            annotation_clip=False,
        )


def accuracies(summaries: Sequence[Summary], theme: ThemeName = "light") -> Figure:
    """Plot the test accuracies of several seeds, SCFF and its controls: one dot per seed, a bar at the mean."""
    look = THEMES[theme]
    colours = {
        "untrained_test_accuracy": look.untrained,
        "patches_test_accuracy": look.muted,
        "test_accuracy": look.scff,
        "backprop_features_test_accuracy": look.backprop,
        "backprop_test_accuracy": look.backprop,
    }
    markers = dict(zip(COMPARED, "sPoDd", strict=True))
    rows = [(key, accuracies_of(summaries, key)) for key in COMPARED]
    rows = [(key, values) for key, values in rows if values]
    figure = new_figure(10.0, 0.9 + 0.55 * len(rows), look, layout="constrained")
    axes = figure.subplots()
    dress(axes, look, x="test accuracy", grid="x")
    for y, (key, values) in enumerate(rows):
        points = 100 * np.asarray(values)
        offsets = y + np.linspace(-0.16, 0.16, len(points)) if len(points) > 1 else [y]
        mean = statistics.mean(points)
        axes.vlines(mean, y - 0.3, y + 0.3, color=colours[key], linewidth=3)
        axes.scatter(points, offsets, s=42, color=colours[key], marker=markers[key], alpha=0.75, linewidths=0)
        axes.annotate(
            spread(values),
            (1.0, y),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            color=colours[key],
            fontsize=TEXT_PT,
            weight="bold",
            va="center",
        )
    axes.set_yticks(range(len(rows)), [COMPARED[key] for key, _ in rows], fontsize=TEXT_PT, color=look.ink)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.08)
    percent_axis(axes, "x")
    return figure


def smooth(values: np.ndarray, parts: int = 40) -> np.ndarray:
    """Return the centred moving average of float [n] over n/`parts` values; windows are shorter at the ends."""
    half = len(values) // (2 * parts)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    left = np.maximum(np.arange(len(values)) - half, 0)
    right = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[right] - sums[left]) / (right - left)
