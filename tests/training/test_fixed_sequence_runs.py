"""Whole runs on sequences in fixed point: their formats, equality with the integer reference, resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scff_hw.backends.fixed import FixedRecurrentLayer
from scff_hw.backends.fixed.reference.layer import IntegerLayer, quantise
from scff_hw.backends.fixed.reference.recurrent import IntegerDirection, IntegerRecurrent
from scff_hw.core.pairs import Partners
from scff_hw.core.random import generator, stream_seed
from scff_hw.errors import UsageError
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training import SilentProgress, evaluate, train
from scff_hw.training.build import build_network, untrained_weights
from scff_hw.training.calibration import calibrated_backend, load_formats
from scff_hw.training.features import PlainSamples
from scff_hw.training.run_context import StopRequest, plain_samples, recipe_dataset

SMALL = [
    "layers.1.units=24",
    "layers.1.learn.epochs=2",
    "training.batch_size=20",
    "training.checkpoint_every_batches=2",
    "readout.solver=ridge",
    "controls.backprop=null",
]
ARRAYS = [f"layers.1.{way}.{part}" for way in ("forwards", "backwards") for part in ("inputs", "hidden")]
SEED = 3


def small(*overrides: str) -> Recipe:
    return load_recipe("fsdd-birnn-best", [*SMALL, *overrides])


def samples_of(recipe: Recipe, spoken: Path) -> PlainSamples:
    return plain_samples(recipe, recipe_dataset(recipe, SEED, spoken), "train")


@pytest.fixture(scope="module")
def finished(spoken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "fixed"
    train(small(), out, seed=SEED, backend="fixed", data_dir=spoken)
    return out


def metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())["metrics"]


def test_a_run_writes_the_formats_of_every_array(finished: Path) -> None:
    text = (finished / "formats.json").read_text()
    formats = load_formats(text, small(), SEED, "formats.json").formats
    assert list(formats) == ARRAYS
    inputs, hidden = formats[ARRAYS[0]], formats[ARRAYS[1]]
    assert hidden.input == hidden.output == inputs.output and hidden.standardised != hidden.input
    assert inputs.transmitted == inputs.feature, "without a following layer a state is rounded once"
    ranges = {(entry["layer"], entry["tensor"]): entry for entry in json.loads(text)["ranges"]}
    shared = ["input", "standardised", "state", "pre_activation", "output", "transmitted", "error", "feature"]
    assert set(ranges) == {("layers.1", tensor) for tensor in shared} | {(name, "weight") for name in ARRAYS}
    for (_, tensor), entry in ranges.items():
        assert 0.12 < entry["used"] < 4 and entry["clipped"] < 0.02, f"{tensor} uses {entry['used']:.2f} of its range"


def test_it_recognises_the_tones(finished: Path) -> None:
    assert metrics(finished)["test_accuracy"] > 0.8


def test_metrics_of_every_array_are_recorded(finished: Path) -> None:
    (layer,) = metrics(finished)["layers"]
    for name in ARRAYS:
        for metric in ("clipped_inputs", "clipped_errors", "weights_at_bounds"):
            assert 0 <= layer[f"{name.removeprefix('layers.1.')}.{metric}"] < 0.05


def test_evaluate_measures_what_the_run_reported(finished: Path, spoken: Path) -> None:
    result = evaluate(finished, data_dir=spoken)["metrics"]
    assert result == {key: metrics(finished)[key] for key in ("test_accuracy", "untrained_test_accuracy")}


@pytest.mark.parametrize("changes", [(), ("fixed_point.shadow_bits=0", "layers.1.directions=1")], ids=["two", "one"])
def test_a_stopped_run_resumes_to_the_same_bits(
    changes: tuple[str, ...], spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a shadow, and with stochastic rounding, whose generator states must be restored."""

    class Stopping(SilentProgress):
        """Requests a stop after nine steps."""

        def __init__(self) -> None:
            self.left = 9

        def advance(self, n: int = 1, **fields: float) -> None:
            self.left -= 1
            if self.left == 0:
                stops[-1].requested = True

    recipe = small(*changes, "readout.solver=ridge", "controls.untrained=false")
    train(recipe, tmp_path / "whole", seed=SEED, backend="fixed", data_dir=spoken)
    stops: list[StopRequest] = []
    monkeypatch.setattr("scff_hw.training.session.StopRequest", lambda: stops.append(StopRequest()) or stops[-1])
    interrupted, resume = 0, False
    while True:
        try:
            options: dict[str, Any] = {"resume": resume, "progress": Stopping(), "data_dir": spoken}
            train(recipe, tmp_path / "run", seed=SEED, backend="fixed", **options)
            break
        except KeyboardInterrupt:
            interrupted, resume = interrupted + 1, True
    assert interrupted >= 2
    whole, pieces = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)


def reference_of(layer: FixedRecurrentLayer, weights: dict[str, torch.Tensor]) -> IntegerRecurrent:
    """The reference of layers.1, from the layer's initial weights."""

    def array(name: str) -> IntegerLayer:
        full = f"layers.1.{name}"
        weight, bias = (weights[f"{full}.{part}"].double().numpy() for part in ("weight", "bias"))
        seed = stream_seed(SEED, "rounding", full) & 0xFFFFFFFF
        return IntegerLayer(weight, bias, layer.spec(layer.arrays[name]), seed)

    ways = {name.split(".")[0]: None for name in layer.arrays}
    directions = [IntegerDirection(array(f"{w}.inputs"), array(f"{w}.hidden"), w == "backwards") for w in ways]
    return IntegerRecurrent(directions, layer.averages)


@pytest.mark.parametrize("changes", [(), ("fixed_point.shadow_bits=0", "fixed_point.rounding=half_up")])
def test_recordings_give_the_integers_of_the_reference(changes: tuple[str, ...], spoken: Path) -> None:
    """Six updates with the formats and the random numbers of a run."""
    recipe = small(*changes)
    weights, samples = untrained_weights(recipe, SEED), samples_of(recipe, spoken)
    with torch.no_grad():
        backend = calibrated_backend(recipe, weights, samples, SEED)
        network = build_network(recipe, backend, weights)
        layer = network.layers[0]
        assert isinstance(layer, FixedRecurrentLayer)
        reference, form = reference_of(layer, weights), layer.formats
        frames = layer.arrays["forwards.inputs"].formats.input
        for number in range(6):
            stream = samples.batch(torch.arange(8) * 20 + number)
            assert stream.lengths is not None
            cut = zip(stream.positive, stream.lengths.tolist(), strict=True)
            raw = [quantise(sequence[:length].double().numpy(), frames) for sequence, length in cut]
            partners = Partners.draw(8, generator(SEED, "test", number))
            expected, _ = reference.learn(raw, partners.forward.numpy(), layer.arrays["forwards.inputs"].rate_shift)
            _, output = layer.learn(stream, partners)
            np.testing.assert_array_equal(output(False).positive.numpy() * 2.0**form.transmitted.frac_bits, expected)
        for name, array in layer.arrays.items():
            way, part = name.split(".")
            integer = getattr(reference.directions[way == "backwards"], part)
            np.testing.assert_array_equal(array.state()["held"].numpy(), integer.stored)
            np.testing.assert_array_equal(array.state()["states"].numpy(), integer.states)
            before = quantise(weights[f"layers.1.{name}.weight"].double().numpy(), array.formats.stored)
            assert not np.array_equal(before, integer.stored)
        features = network.features(stream, [0]).numpy() * 2.0**form.feature.frac_bits
        np.testing.assert_array_equal(features, reference.features(reference.forward(raw)))


def test_a_dense_layer_may_follow(spoken: Path, tmp_path: Path) -> None:
    learn = "learn: {epochs: 1, optimiser: sgd, learning_rate: 0.00390625, theta_pos: 0, theta_neg: 1}"
    for pairs in ("made", "passed"):
        recurrent = f"{{kind: recurrent, units: 12, output: final-and-mean, {learn}}}"
        layers = f"layers=[{recurrent}, {{kind: dense, units: 20, init: linear, pairs: {pairs}, {learn}}}]"
        recipe = small(layers, "readout.layers=[1, 2]", "readout.solver=ridge")
        result = train(recipe, tmp_path / pairs, backend="fixed", data_dir=spoken)
        assert result["metrics"]["test_accuracy"] > 0.8  # ten seeds: 90.6 ± 2.5 % (standard deviation), untrained 88 %
        formats = load_formats((tmp_path / pairs / "formats.json").read_text(), recipe, 0, "formats.json").formats
        assert formats["layers.2"].input == formats[ARRAYS[0]].transmitted
        assert len({form.feature for form in formats.values()}) == 1, "all features of the readout must have one scale"


def test_sums_that_could_overflow_are_refused_before_learning(spoken: Path) -> None:
    recipe = small("fixed_point.error_bits=16")
    message = r"cannot hold the \d+ products of 16 by 8 bits of an update at layers\.1\.forwards\.inputs; it needs \d+"
    with pytest.raises(UsageError, match=message), torch.no_grad():
        calibrated_backend(recipe, untrained_weights(recipe, 0), samples_of(recipe, spoken), 0)


def test_weights_that_do_not_learn_use_their_full_range(spoken: Path) -> None:
    recipe = small()
    weights = untrained_weights(recipe, 0)
    with torch.no_grad():
        learned = calibrated_backend(recipe, weights, samples_of(recipe, spoken), 0)
        stays = calibrated_backend(recipe, weights, samples_of(recipe, spoken), 0, learning=False)
    for name in ARRAYS:
        assert stays.formats[name].weight.frac_bits == learned.formats[name].weight.frac_bits + 2
