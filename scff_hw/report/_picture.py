"""Plots as PNG, drawn once, for files and for pages."""

from __future__ import annotations

import base64
from collections.abc import Callable

from matplotlib.figure import Figure

from scff_hw.report._style import ThemeName, png


class Picture:
    """A plot that is drawn at its first use, once per theme.

    Args:
        draw: draws the plot in a theme.
    """

    def __init__(self, draw: Callable[[ThemeName], Figure]) -> None:
        self._draw = draw
        self._drawn: dict[ThemeName, bytes] = {}

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the plot as PNG."""
        if theme not in self._drawn:
            self._drawn[theme] = png(self._draw(theme))
        return self._drawn[theme]

    def uri(self, theme: ThemeName) -> str:
        """Return the plot as a data URI that contains the PNG."""
        return "data:image/png;base64," + base64.b64encode(self.png(theme)).decode()
