"""Results as tables for the terminal; SCFF is always printed between its controls."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

Summary = dict[str, Any]


def percent(value: float | None, digits: int = 2) -> str:
    """Return a fraction 0..1 as per cent, or a dash for None."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


# Compared methods in print order: key of the test accuracy, and name.
COMPARED = {
    "untrained_test_accuracy": "untrained hidden layers",
    "patches_test_accuracy": "whitened patches",
    "test_accuracy": "SCFF",
    "backprop_features_test_accuracy": "backpropagation, features",
    "backprop_test_accuracy": "backpropagation",
}
# Name of the features that a key of `COMPARED` measures, as in `readouts` and `paper_readouts` of a summary.
READ = {
    "untrained_test_accuracy": "untrained",
    "patches_test_accuracy": "patches",
    "test_accuracy": "scff",
    "backprop_features_test_accuracy": "backprop",
}
SOLVERS = {
    "logistic": "converged logistic regression",
    "ridge": "ridge regression",
    "paper": "the paper's, not converged",
}
# Columns of the layer table: title, key of the metric, and format of a value.
LAYER_METRICS: dict[str, tuple[str, Callable[[float], str]]] = {
    "goodness +": ("goodness_pos", "{:.3f}".format),
    "goodness \N{MINUS SIGN}": ("goodness_neg", "{:.3f}".format),
    "dead units": ("dead_units", lambda value: percent(value, 1)),
    "test accuracy alone": ("test_accuracy_alone", percent),
    "pulses": ("pulses", "{:.3g}".format),
    "clipped updates": ("clipped_updates", percent),
    "clipped inputs": ("clipped_inputs", percent),
    "clipped errors": ("clipped_errors", percent),
    "weights at a bound": ("weights_at_bounds", percent),
    "devices full": ("device_fullness", percent),
    "fullest tenth from": ("device_fullness_p90", percent),
}
STYLES = {
    "untrained_test_accuracy": "dim",
    "patches_test_accuracy": "dim",
    "test_accuracy": "bold cyan",
    "backprop_features_test_accuracy": "yellow",
    "backprop_test_accuracy": "yellow",
}


def spread(values: Sequence[float]) -> str:
    """Return "mean ± sample standard deviation %" of fractions 0..1; for a single value, only the value."""
    if len(values) < 2:
        return percent(values[0] if values else None)
    return f"{100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values):.2f} %"


def paired_gain(values: Sequence[float], base: Sequence[float]) -> str:
    """Return "+mean ± standard error" of the differences seed by seed, in points; empty if the seeds do not match.

    A difference below two standard errors is marked as no gain.
    """
    if len(values) != len(base) or not values:
        return ""
    differences = [100 * (value - control) for value, control in zip(values, base, strict=True)]
    gain = statistics.mean(differences)
    if len(differences) == 1:
        return f"{gain:+.2f}"
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return f"{gain:+.2f} ± {error:.2f}" + (" (no gain)" if abs(gain) < 2 * error or not gain else "")


def readout_name(summaries: Sequence[Summary]) -> str:
    """Return how the readouts of these runs were fitted, e.g. "readout: ridge regression"; empty if unknown."""
    solvers = {report["solver"] for s in summaries for report in s["metrics"].get("readouts", {}).values()}
    return "readout: " + ", ".join(SOLVERS[solver] for solver in sorted(solvers)) if solvers else ""


def name_of(key: str, summaries: Sequence[Summary]) -> str:
    """Return the name of a compared method, marked if one of its readouts has not converged."""
    reports = [s["metrics"].get("readouts", {}).get(READ.get(key, "")) for s in summaries]
    failed = any(report and report.get("converged") is False for report in reports)
    return COMPARED[key] + (" (readout not converged)" if failed else "")


def duration(seconds: float) -> str:
    """Return a time in seconds as text: "8.4 s", "12 min 05 s", "3 h 20 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def accuracies_of(summaries: Sequence[Summary], key: str) -> list[float]:
    """Return one test accuracy, a fraction 0..1, per summary that has it."""
    return [float(s["metrics"][key]) for s in summaries if s["metrics"].get(key) is not None]


def total_seconds(summary: Summary) -> float:
    """Return the total time of a run in s: its "total", or else the sum over its stages."""
    seconds = summary["metrics"].get("seconds", {})
    return float(seconds.get("total", sum(seconds.values())))


def summary_table(summary: Summary) -> Table:
    """Return one run's results: accuracies of SCFF and controls, each layer's goodness and dead units, seconds.

    `summary` is the content of summary.json, or the result of `evaluate`; for several chips or readings, the table
    has mean ± sample standard deviation and the accuracy of each chip or reading.
    """
    metrics = summary["metrics"]
    chips: dict[str, list[float]] = summary.get("values", {})
    numbered = [f"{summary['repeated']} {number}" for number in range(1, 1 + summary.get("repeats", 0))]
    paper: dict[str, float] = metrics.get("paper_readouts", {})
    accuracy = _table("test accuracy", "over untrained", *numbered, *(["paper's readout"] if paper else []))
    base = metrics.get("untrained_test_accuracy")
    for key in COMPARED:
        value = metrics.get(key)
        if value is None:
            continue
        gain = "" if base is None or key == "untrained_test_accuracy" else f"{100 * (value - base):+.2f} points"
        result = spread(chips[key]) if chips else percent(value)
        cells = [*map(percent, chips.get(key, ())), *([percent(paper.get(READ.get(key, "")))] if paper else [])]
        accuracy.add_row(name_of(key, [summary]), result, gain, *cells, style=STYLES[key])
    parts: list[Table | Text] = [accuracy]
    if metrics.get("layers"):
        parts.append(layer_table(metrics["layers"]))
    if metrics.get("seconds"):
        parts.append(_seconds(summary))
    return _stack(_title(f"{summary['recipe']} · seed {summary['seed']}", [summary]), parts)


def layer_table(layers: Sequence[Mapping[str, Any]]) -> Table:
    """Return the metrics of each layer's last epoch, with the columns of `layer_columns`."""
    columns = layer_columns(layers)
    table = _table(*columns)
    for row, layer in enumerate(layers):
        table.add_row(f"layer {layer['layer']}", *(cells[row] for cells in columns.values()))
    return table


def layer_columns(layers: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the columns of the layer table by title, with one cell per layer.

    Mean goodness, dead units, test accuracy of the layer alone; for simulated devices, pulses and clipped updates; for
    fixed point, clipped inputs and errors; for both, weights at a bound; for one-sided pairs, device fullness. Columns
    without any value are omitted.
    """
    columns = {}
    for title, (key, show) in LAYER_METRICS.items():
        if any(layer.get(key) is not None for layer in layers):
            columns[title] = ["-" if layer.get(key) is None else show(layer[key]) for layer in layers]
    return columns


def spread_table(summaries: Sequence[Summary]) -> Table:
    """Return the test accuracies of several seeds of one recipe: mean, standard deviation, gain; then of each seed.

    The gain over untrained layers is the mean difference seed by seed, with its standard error.
    """
    papers = [summary["metrics"].get("paper_readouts", {}) for summary in summaries]
    means = _table("mean ± std", "over untrained ± se", *(["paper's readout"] if any(papers) else []))
    singles = _table(*(f"seed {summary['seed']}" for summary in summaries))
    base = accuracies_of(summaries, "untrained_test_accuracy")
    for key in COMPARED:
        values = accuracies_of(summaries, key)
        if values:
            gain = "" if key == "untrained_test_accuracy" else paired_gain(values, base)
            theirs = [paper[READ[key]] for paper in papers if READ.get(key) in paper]
            paper_cell = [spread(theirs)] if any(papers) else []
            means.add_row(name_of(key, summaries), spread(values), gain, *paper_cell, style=STYLES[key])
            cells = [percent(summary["metrics"].get(key)) for summary in summaries]
            singles.add_row(COMPARED[key], *cells, style=STYLES[key])
    seconds = [total_seconds(summary) for summary in summaries]
    if any(seconds):
        means.add_row("time", duration(statistics.mean(seconds)), style="dim")
        singles.add_row("time", *map(duration, seconds), style="dim")
    return _stack(_title(f"{summaries[0]['recipe']} · {len(summaries)} seeds", summaries), [means, singles])


def backend_table(groups: Mapping[str, Sequence[Summary]]) -> Table:
    """Return one row per backend: test accuracy of SCFF and controls, mean ± std over the seeds, and the time.

    `groups` maps the name of a backend to the summaries of its runs.
    """
    keys = ("untrained_test_accuracy", "test_accuracy", "backprop_test_accuracy")
    table = _table("recipe", *(COMPARED[key] for key in keys), "time per run", first="backend")
    for name, summaries in groups.items():
        cells = [Text(spread(accuracies_of(summaries, key)), style=STYLES[key]) for key in keys]
        seconds = duration(statistics.mean(map(total_seconds, summaries)))
        table.add_row(name, summaries[0]["recipe"], *cells, seconds)
    count = max(map(len, groups.values()))
    return _stack(f"test accuracy, mean ± std of {count} seeds (backpropagation: in float)", [table])


def _title(text: str, summaries: Sequence[Summary]) -> str:
    return " · ".join(part for part in (text, readout_name(summaries)) if part)


def _table(*columns: str, first: str = "") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _seconds(summary: Summary) -> Text:
    stages = {k: v for k, v in summary["metrics"]["seconds"].items() if k != "total"}
    parts = ", ".join(f"{name.replace('_', ' ')} {duration(value)}" for name, value in stages.items())
    return Text(f"time {duration(total_seconds(summary))}" + (f" ({parts})" if parts else ""), style="dim")


def _stack(title: str, parts: Sequence[Table | Text]) -> Table:
    grid = Table.grid()
    grid.add_row(Text(title, style="bold"))
    for part in parts:
        grid.add_row(part)
    return grid
