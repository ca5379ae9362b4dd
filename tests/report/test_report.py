"""Tables, plots and the page of a run folder."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from scff_hw import report
from scff_hw.errors import CheckpointError, UsageError
from scff_hw.report._curves import smooth
from scff_hw.report._filters import as_images
from scff_hw.report._style import png

MakeRun = Callable[..., Path]


def text_of(table: Table) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def row(text: str, name: str) -> list[str]:
    """The cells of the row that starts with `name`, split at two or more blanks."""
    line = next(line for line in text.splitlines() if line.strip().startswith(name))
    return [cell.strip() for cell in re.split(r" {2,}", line.strip())]


def labels(figure: Figure) -> set[str]:
    return {
        text
        for axes in figure.get_axes()
        for text in (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left"))
        if text
    }


def size_of(content: bytes) -> tuple[int, int]:
    """Width and height of a complete PNG file."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", content[16:24])


def test_summary_table_has_scff_and_both_controls(make_run: MakeRun) -> None:
    text = text_of(report.summary_table(report.read_run(make_run()).summary))
    assert row(text, "untrained hidden layers") == ["untrained hidden layers", "94.00 %"]
    assert row(text, "SCFF") == ["SCFF", "97.20 %", "+3.20 points"]
    assert row(text, "backpropagation") == ["backpropagation", "98.10 %", "+4.10 points"]
    assert row(text, "layer 1") == ["layer 1", "8.125", "3.250", "3.0 %"]
    assert row(text, "layer 2") == ["layer 2", "4.062", "1.625", "3.0 %"]
    assert "time 1 min 10 s (layers 1 min 05 s, readout 4.5 s)" in text


def test_summary_table_omits_controls_that_were_not_run(make_run: MakeRun) -> None:
    summary = report.read_run(make_run()).summary
    summary["metrics"] = {"test_accuracy": 0.5}
    text = text_of(report.summary_table(summary))
    assert row(text, "SCFF") == ["SCFF", "50.00 %"]
    assert "backpropagation" not in text
    assert "goodness" not in text


def test_layer_accuracy_alone_has_a_column_where_it_was_measured(make_run: MakeRun) -> None:
    summary = report.read_run(make_run()).summary
    summary["metrics"]["layers"][0]["test_accuracy_alone"] = 0.9125
    text = text_of(report.summary_table(summary))
    assert row(text, "layer 1")[-1] == "91.25 %"
    assert row(text, "layer 2")[-1] == "-"


def test_metrics_of_devices_are_in_the_table_and_on_the_page(make_run: MakeRun) -> None:
    run = make_run()
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"backend": "analog", "profile": "ecram"}))
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"backend": "analog", "profile": "ecram"}
    summary["metrics"]["layers"][0] |= {"pulses": 38_795_727.9, "clipped_updates": 0.0123, "weights_at_bounds": 0.25}
    (run / "summary.json").write_text(json.dumps(summary))
    text = text_of(report.summary_table(summary))
    assert row(text, "layer 1")[-3:] == ["3.88e+07", "1.23 %", "25.00 %"]
    assert row(text, "layer 2")[-3:] == ["-", "-", "-"]
    page = report.html(run).read_text()
    assert "analog backend · ecram" in page
    assert "<th>pulses</th><th>clipped updates</th><th>weights at a bound</th>" in page
    assert "<td>3.88e+07</td><td>1.23 %</td><td>25.00 %</td>" in page


def test_spread_table_has_mean_standard_deviation_and_each_seed(make_run: MakeRun) -> None:
    text = text_of(report.spread_table([report.read_run(make_run(seed=s)).summary for s in range(3)]))
    assert row(text, "SCFF") == ["SCFF", "97.30 ± 0.10 %", "+3.50 ± 0.17"]
    assert row(text.partition("seed 0")[2], "SCFF") == ["SCFF", "97.20 %", "97.30 %", "97.40 %"]
    assert row(text, "untrained")[1] == "93.80 ± 0.20 %"
    assert "3 seeds" in text


def test_a_gain_below_two_standard_errors_is_none(make_run: MakeRun) -> None:
    summaries = [report.read_run(make_run(seed=s)).summary for s in range(3)]
    for summary, value in zip(summaries, (0.95, 0.93, 0.94), strict=True):
        summary["metrics"]["test_accuracy"] = value
    assert row(text_of(report.spread_table(summaries)), "SCFF")[2] == "+0.20 ± 0.53 (no gain)"


def test_a_readout_that_has_not_converged_is_marked(make_run: MakeRun) -> None:
    run = make_run()
    summary = json.loads((run / "summary.json").read_text())
    fit = {"solver": "logistic", "strength": 0.01, "iterations": 9, "gradient": 0.1, "converged": False}
    fit |= {"train_accuracy": 0.9, "held_out_accuracy": 0.8}
    summary["metrics"]["readouts"] = {"scff": fit, "untrained": fit | {"converged": True, "gradient": 1e-5}}
    (run / "summary.json").write_text(json.dumps(summary))
    text = text_of(report.summary_table(report.read_run(run).summary))
    assert "converged logistic regression" in text
    assert row(text, "SCFF")[0] == "SCFF (readout not converged)"
    assert row(text, "untrained")[0] == "untrained hidden layers"
    page = report.html(run).read_text()
    assert "SCFF (readout not converged)" in page and "relative gradient 1.0e-01" in page


def test_backend_table_has_one_row_per_backend(make_run: MakeRun) -> None:
    summaries = [report.read_run(make_run(seed=s)).summary for s in range(2)]
    text = text_of(report.backend_table({"float": summaries, "other": summaries[:1]}))
    assert row(text, "float")[1:] == ["made-up", "93.90 ± 0.14 %", "97.25 ± 0.07 %", "98.10 ± 0.00 %", "1 min 10 s"]
    assert row(text, "other")[1:] == ["made-up", "94.00 %", "97.20 %", "98.10 %", "1 min 10 s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.44, "8.4 s"), (725, "12 min 05 s"), (12000, "3 h 20 min"), (3599.9, "1 h 00 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text


def test_write_plots_writes_two_whole_png(make_run: MakeRun) -> None:
    run = make_run()
    written = report.write_plots(run)
    assert written == [run / "plots" / "learning_curves.png", run / "plots" / "filters.png"]
    for path in written:
        width, height = size_of(path.read_bytes())
        assert width >= 1200
        assert height >= 500
    assert sorted(path.name for path in (run / "plots").iterdir()) == ["filters.png", "learning_curves.png"]


def test_learning_curves_are_labelled_and_show_the_logged_values(make_run: MakeRun) -> None:
    figure = report.learning_curves(report.read_run(make_run(layers=3, epochs=6)))
    assert labels(figure) >= {
        "goodness",
        "dead units",
        "weight range",
        "batch",
        "Layer 1",
        "Layer 3",
        "Test accuracy",
        "epoch of the readout (of the whole network for backpropagation)",
    }
    first = figure.get_axes()[0]
    assert np.size(first.get_lines()[0].get_xdata()) == 6 * 20
    written = {text.get_text() for axes in figure.get_axes() for text in axes.texts}
    assert {"SCFF 97.20 %", "untrained 94.00 %", "backpropagation 98.10 %"} <= written
    assert {"epoch", "1", "6", "θ+"} <= written


def test_learning_curves_of_one_batch_and_no_controls(make_run: MakeRun) -> None:
    run = make_run(layers=1, epochs=1, batches=1)
    lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"batch"' in line]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    summary = json.loads((run / "summary.json").read_text())
    summary["metrics"] = {"test_accuracy": 0.5, "layers": [], "seconds": {}}
    (run / "summary.json").write_text(json.dumps(summary))
    size_of(png(report.learning_curves(report.read_run(run))))


def test_accuracies_names_every_row(make_run: MakeRun) -> None:
    figure = report.accuracies([report.read_run(make_run(seed=s)).summary for s in range(3)])
    axes = figure.get_axes()[0]
    assert axes.get_xlabel() == "test accuracy"
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["untrained hidden layers", "SCFF", "backpropagation"]
    assert "97.30 ± 0.10 %" in [text.get_text() for text in axes.texts]


def test_the_same_figure_gives_the_same_bytes(make_run: MakeRun) -> None:
    run = report.read_run(make_run())
    assert png(report.first_layer(run)) == png(report.first_layer(run))


def test_dense_rows_become_images_of_the_data(make_run: MakeRun) -> None:
    weights = np.arange(3 * 64, dtype=np.float32).reshape(3, 64) - 90
    images = as_images(weights)
    assert images is not None
    assert images.shape == (3, 8, 8)
    assert np.abs(images).reshape(3, -1).max(axis=1).tolist() == [1.0, 1.0, 1.0]
    np.testing.assert_allclose(images[0], weights[0].reshape(8, 8) / 90)


def test_colour_filters_are_stretched_one_by_one() -> None:
    weights = (
        np.random.default_rng(0).standard_normal((5, 3, 4, 4))
        * np.array([1, 5, 9, 0, 2])[:, None, None, None]
    )
    images = as_images(weights)
    assert images is not None
    assert images.shape == (5, 4, 4, 3)
    flat = images.reshape(5, -1)
    assert flat.min(axis=1).tolist() == [0.0] * 5
    assert flat.max(axis=1).tolist() == [1.0, 1.0, 1.0, 0.0, 1.0]


def test_filters_plots_the_64_largest_and_states_the_total() -> None:
    weights = np.random.default_rng(0).standard_normal((100, 784))
    figure = report.filters(weights, weights)
    assert figure.get_suptitle() == "Layer 1: the 64 units of 100 with the largest weights"
    assert [axes.get_title(loc="left") for axes in figure.get_axes()] == ["untrained", "learned"]
    assert report.filters(weights[:9]).get_suptitle() == "Layer 1: the 9 units"


def test_iris_is_a_labelled_heat_map(make_run: MakeRun) -> None:
    run = report.read_run(make_run(shape=(10, 4), data="iris", layers=1))
    axes = report.first_layer(run).get_axes()
    names = [label.get_text() for label in axes[0].get_yticklabels()]
    assert names == ["sepal length", "sepal width", "petal length", "petal width"]
    assert axes[1].get_xlabel() == "unit (largest weights first)"
    assert axes[-1].get_ylabel() == "weight"
    size_of(png(report.first_layer(run, "dark")))


def test_convolution_of_three_channels_is_drawn(make_run: MakeRun) -> None:
    size_of(png(report.first_layer(report.read_run(make_run(shape=(20, 3, 5, 5))))))


def test_smooth_keeps_a_constant_and_the_ends() -> None:
    np.testing.assert_allclose(smooth(np.full(500, 3.0)), 3.0)
    short = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(smooth(short), short)
    ramp = np.arange(1000.0)
    np.testing.assert_allclose(smooth(ramp)[100:900], ramp[100:900])


class Resources(HTMLParser):
    """Collects the tags, and every attribute that makes a browser fetch a resource."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "data")]


def test_page_is_self_contained_and_holds_everything(make_run: MakeRun) -> None:
    runs = [make_run(seed=s) for s in range(2)]
    path = report.html(runs)
    assert path == runs[0].parent / "report.html"
    text = path.read_text(encoding="utf-8")
    page = Resources()
    page.feed(text)
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    for part in (
        "97.25 ± 0.07 %",
        "97.30 %",
        "8.125",
        "theta_pos: 4.0",
        "2.13.0",
        "scff-hw train made-up --seed 1",
    ):
        assert part in text
    assert sorted(p.name for p in runs[0].parent.iterdir()) == [
        "made-up-seed0",
        "made-up-seed1",
        "report.html",
    ]


def test_page_of_one_run_is_in_its_folder_and_escapes_html(make_run: MakeRun) -> None:
    run = make_run()
    info = json.loads((run / "run.json").read_text())
    info["command"] = "scff-hw train '<b>'"
    (run / "run.json").write_text(json.dumps(info))
    path = report.html(run)
    assert path == run / "report.html"
    assert "&lt;b&gt;" in path.read_text(encoding="utf-8")


def test_page_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one run folder; got none"):
        report.html([])


@pytest.mark.parametrize("name", ["run.json", "summary.json", "recipe.yaml", "metrics.jsonl"])
def test_a_folder_that_lacks_a_file_is_named(make_run: MakeRun, name: str) -> None:
    run = make_run()
    (run / name).unlink()
    with pytest.raises(
        CheckpointError, match=re.escape(f"The folder {run} is not a finished run: it holds no {name}.")
    ):
        report.read_run(run)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", "{", "is not JSON"),
        ("summary.json", "[]", r"summary\.json must be one JSON object\. Got a list"),
        ("summary.json", "{}", r"summary\.json must hold 'run', which is missing"),
        ("run.json", b"\xff", "is not UTF-8 text"),
        ("recipe.yaml", "a: [", r"recipe\.yaml:1"),
        ("recipe.yaml", b"\xff", "is not UTF-8 text"),
        (
            "metrics.jsonl",
            '{"kind": "epoch", "layer": 1, "epoch": 1}\n[1]\n',
            r"metrics line .*metrics\.jsonl:2 must be one JSON object. Got a list",
        ),
    ],
)
def test_a_file_that_is_damaged_is_named(
    make_run: MakeRun, name: str, content: str | bytes, message: str
) -> None:
    run = make_run()
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=message):
        report.read_run(run)


def test_missing_and_damaged_weights_are_named(make_run: MakeRun) -> None:
    run = make_run()
    (run / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is not a readable safetensors file"):
        report.read_run(run).weight()
    (run / "weights.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"The file .*weights\.safetensors does not exist"
    ):
        report.read_run(run).weight()


def test_write_atomic_leaves_the_old_file_when_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "plot.png"
    report.write_atomic(target, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        report.write_atomic(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_methods_at_one_tick_have_a_row_each(theme: Any) -> None:
    curves = (report.Curve("SCFF", "scff", ((0.9, 0.92),)), report.Curve("shuffled", "scff", ((0.8, 0.8),), 1))
    (axes,) = report.study_plot([report.Panel("", "hardware", ("float",), curves)], theme).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["shuffled", "SCFF"]
    ticks = [np.asarray(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"]
    assert [sorted(values) for values in ticks if len(values) == 2] == [[80.0, 80.0], [90.0, 92.0]]
