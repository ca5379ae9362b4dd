"""Filters of the first layer: its weights as images."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scff_hw.report._style import SMALL_PT, TEXT_PT, THEMES, Theme, ThemeName, dress, new_figure

MAX_FILTERS = 64
MAX_LABELS = 20
"""Largest number of inputs labelled in a heat map."""
IRIS_FEATURES = ("sepal length", "sepal width", "petal length", "petal width")
# Signed weights: blue below zero, red above; distinguishable by colour-blind readers.
SIGNED = "RdBu_r"


def filters(
    weights: np.ndarray,
    initial: np.ndarray | None = None,
    *,
    features: tuple[str, ...] | None = None,
    theme: ThemeName = "light",
) -> Figure:
    """Plot first-layer filters: those with the largest norm, at most 64, beside the same units untrained.

    `weights`, `initial`: float [units, inputs] of a dense layer, or [channels, inputs, kernel, kernel] of a
    convolution. A dense row is an image if `inputs` is a square number, or three times one; otherwise the figure is
    a heat map over the inputs, labelled with `features`. Each filter has its own contrast: colour filters are
    stretched to 0..1, others drawn symmetric about zero.
    """
    look = THEMES[theme]
    order = np.argsort(-np.linalg.norm(weights.reshape(len(weights), -1), axis=1), kind="stable")[:MAX_FILTERS]
    panels = [("learned", as_images(weights[order]))]
    if initial is not None and initial.shape == weights.shape:
        panels.insert(0, ("untrained", as_images(initial[order])))
    what = "units" if len(order) == len(weights) else f"units of {len(weights)} with the largest weights"
    if panels[0][1] is None:
        return _heat_map(weights[order], None if initial is None else initial[order], features, look)
    side = 4.6
    figure = new_figure(side * len(panels) + 0.2, side + 0.55, look, layout="constrained")
    figure.suptitle(
        f"Layer 1: the {len(order)} {what}",
        x=0.004,
        ha="left",
        fontsize=TEXT_PT + 1,
        weight="bold",
        color=look.ink,
    )
    for axes, (name, images) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        assert images is not None
        _grid(axes, images, look)
        axes.set_title(name, fontsize=TEXT_PT, color=look.muted, loc="left")
    return figure


def as_images(weights: np.ndarray) -> np.ndarray | None:
    """Return filters as float images, or None if they are not images.

    `weights` is float [n, inputs] or [n, channels, H, W]; the images are [n, H, W], signed, -1..1, or, for three
    channels, [n, H, W, 3], in colour, 0..1.
    """
    if weights.ndim == 2:
        inputs = weights.shape[1]
        for channels in (1, 3):
            size = math.isqrt(inputs // channels)
            if size > 2 and channels * size * size == inputs:
                return as_images(weights.reshape(-1, channels, size, size))
        return None
    if weights.shape[1] == 3:
        flat = weights.reshape(len(weights), -1)
        low, high = flat.min(axis=1), flat.max(axis=1)
        span = np.where(high > low, high - low, 1.0)
        stretched = (weights - low[:, None, None, None]) / span[:, None, None, None]
        return stretched.transpose(0, 2, 3, 1)
    grey = weights.mean(axis=1)
    bound = np.abs(grey).reshape(len(grey), -1).max(axis=1)
    return grey / np.where(bound > 0, bound, 1.0)[:, None, None]


def _grid(axes: Axes, images: np.ndarray, look: Theme) -> None:
    count, height, width = images.shape[:3]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    # A gap of one pixel is thin between large filters, but wide between small ones.
    scale = max(1, round(28 / max(height, width)))
    gap = max(1, round(0.08 * scale * max(height, width)))
    tall, wide = scale * height + gap, scale * width + gap
    canvas = np.full((rows * tall - gap, columns * wide - gap, 4), 0.0)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        colours = np.dstack([image, np.ones((height, width))]) if image.ndim == 3 else _signed(image)
        big = colours.repeat(scale, axis=0).repeat(scale, axis=1)
        canvas[row * tall :, column * wide :][: scale * height, : scale * width] = big
    axes.imshow(canvas, interpolation="antialiased")
    axes.set_facecolor(look.paper)
    axes.axis("off")


def _signed(image: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps[SIGNED]((image + 1) / 2)


def _heat_map(weights: np.ndarray, initial: np.ndarray | None, features: tuple[str, ...] | None, look: Theme) -> Figure:
    units, inputs = weights.shape
    names = features if features and len(features) == inputs else [f"input {i + 1}" for i in range(inputs)]
    panels = [("learned", weights)] if initial is None else [("untrained", initial), ("learned", weights)]
    bound = max(float(np.abs(values).max()) for _, values in panels) or 1.0
    labelled = range(0, inputs, -(-inputs // MAX_LABELS))
    width, height = 10.0, 0.8 + len(panels) * (0.75 + 0.24 * min(inputs, MAX_LABELS))
    figure = new_figure(width, height, look, layout=None)
    # in inches, as fractions of the figure
    left = (0.08 + max(len(names[k]) for k in labelled) * 0.6 * SMALL_PT / 72) / width
    right, bottom, top = 1 - 0.95 / width, 0.41 / height, 1 - 0.25 / height
    panel = (height * (top - bottom) - 0.28 * (len(panels) - 1)) / len(panels)
    grid = figure.add_gridspec(len(panels), 1, left=left, right=right, bottom=bottom, top=top, hspace=0.28 / panel)
    panes = grid.subplots(squeeze=False, sharex=True)[:, 0]
    for axes, (name, values) in zip(panes, panels, strict=True):
        dress(
            axes,
            look,
            title=f"Layer 1, {name}",
            grid="",
            x="unit (largest weights first)" if axes is panes[-1] else "",
        )
        axes.imshow(values.T, cmap=SIGNED, vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")
        axes.set_yticks(labelled, [names[k] for k in labelled], fontsize=SMALL_PT, color=look.ink)
        ticks = range(units) if units <= 20 else [0, *range(9, units, 10)]
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
        axes.spines["bottom"].set_visible(False)
    place = figure.add_axes((right + 0.08 / width, bottom, 0.18 / width, top - bottom))
    bar = figure.colorbar(panes[0].images[0], cax=place)
    bar.set_label("weight", fontsize=TEXT_PT, color=look.muted)
    bar.ax.tick_params(labelsize=SMALL_PT, colors=look.muted, length=0)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure
