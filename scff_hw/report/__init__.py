"""Presentation of results: tables for the terminal, plots, and one self-contained HTML page per run folder."""

from scff_hw.files import write_atomic
from scff_hw.report._costs import cost_table
from scff_hw.report._curves import accuracies, learning_curves
from scff_hw.report._filters import filters
from scff_hw.report._page import html
from scff_hw.report._pairs import PairPicture, pairs_plot
from scff_hw.report._picture import Picture
from scff_hw.report._plots import RunPlots, first_layer, write_accuracies, write_plots
from scff_hw.report._run import Run, read_run
from scff_hw.report._study import Curve, Panel, SummaryRow, study_html, study_plot, study_table
from scff_hw.report._style import png
from scff_hw.report._tables import backend_table, duration, spread_table, summary_table

__all__ = [
    "Curve",
    "PairPicture",
    "Panel",
    "Picture",
    "Run",
    "RunPlots",
    "SummaryRow",
    "accuracies",
    "backend_table",
    "cost_table",
    "duration",
    "filters",
    "first_layer",
    "html",
    "learning_curves",
    "pairs_plot",
    "png",
    "read_run",
    "spread_table",
    "study_html",
    "study_plot",
    "study_table",
    "summary_table",
    "write_accuracies",
    "write_atomic",
    "write_plots",
]
