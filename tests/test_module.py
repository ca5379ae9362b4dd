"""The PyTorch module: it learns what a run learns, gives its answers, and behaves as modules do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scff_hw import SCFFModule, load, train
from scff_hw.errors import RecipeError, UsageError

LEARN = {"optimiser": "sgd", "learning_rate": 0.3, "theta_pos": 1.0, "theta_neg": 2.0}
DENSE = [{"kind": "dense", "units": 30, "learn": LEARN}, {"kind": "dense", "units": 10, "learn": LEARN}]
CONV: list[dict[str, Any]] = [
    {
        "kind": "conv2d",
        "channels": 6,
        "kernel": 3,
        "padding": 1,
        "pool": {"kind": "max", "size": 2, "stride": 2, "padding": 0, "ceil": False},
        "learn": {"optimiser": "adamw", "learning_rate": 1e-2, "theta_pos": 1.0, "theta_neg": 2.0},
    }
]


def digits(count: int = 300) -> torch.Tensor:
    return load("digits").train.images[:count] / 255


@pytest.mark.parametrize("layers", [DENSE, CONV], ids=["dense", "conv2d"])
def test_local_steps_separate_positive_from_negative_pairs(layers: Any) -> None:
    net, x = SCFFModule(layers, (1, 8, 8)), digits()
    first = net.learn(x)
    for _ in range(30):
        last = net.learn(x)
    assert set(last) == set(range(1, len(layers) + 1))
    gap = {name: each[1]["goodness_pos"] - each[1]["goodness_neg"] for name, each in (("first", first), ("last", last))}
    assert gap["last"] > 2 * gap["first"] > 0 and last[1]["loss"] < first[1]["loss"]
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_only_the_named_layers_learn() -> None:
    net, x = SCFFModule(DENSE, (1, 8, 8)), digits()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert set(net.learn(x, layers=[2])) == {2}
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"layers.2.weight", "layers.2.bias"}


def test_the_answers_of_a_run(tmp_path: Path) -> None:
    run = train("digits-20", tmp_path / "run", overrides=["readout.solver=ridge", "controls.backprop=null"])
    net, samples = SCFFModule.from_run(run.finished), run.finished.samples("test")
    x = samples.batch(torch.arange(len(samples))).positive
    assert torch.allclose(net.features(x), torch.from_numpy(run.features()), atol=1e-5)
    assert (net(x).argmax(dim=1) == samples.labels).double().mean() == pytest.approx(run.accuracy)


def test_learning_goes_on_from_a_loaded_state_dict() -> None:
    x = digits()
    net, other, fresh = (SCFFModule(DENSE, (1, 8, 8), seed=seed) for seed in (1, 2, 2))
    net.learn(x)
    other.learn(x)
    other.steps = 0  # so that both draw the same partners
    for each in (other, fresh):
        each.load_state_dict(net.state_dict())
        assert torch.equal(each(x), net(x))
        each.learn(x)
    assert torch.equal(other(x), fresh(x)) and not torch.equal(other(x), net(x))


def test_moved_parameters_keep_the_state_of_the_optimiser() -> None:
    x = digits()
    moved, still = (SCFFModule(CONV, (1, 8, 8), seed=3) for _ in range(2))
    for net in (moved, still):
        net.learn(x)
    with torch.no_grad():
        for name in moved._names:  # as .to(device) does, the parameters get other memory
            parameter = moved.get_parameter(name)
            parameter.data = parameter.data.clone()
    for net in (moved, still):
        net.learn(x)
    assert all(torch.equal(value, still.state_dict()[name]) for name, value in moved.state_dict().items())


def test_fine_tuning_by_autograd() -> None:
    dataset = load("digits")
    assert dataset.train.labels is not None
    x, y = digits(), dataset.train.labels[:300]
    net = SCFFModule(DENSE, (1, 8, 8)).requires_grad_()
    net.readout = nn.Linear(40, 10)
    adam, losses = torch.optim.Adam(net.parameters(), lr=1e-2), []
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert net.get_parameter("layers.1.weight").grad is not None


def test_a_frozen_front() -> None:
    front = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    before = {name: value.clone() for name, value in front.state_dict().items()}
    net, x = SCFFModule(DENSE, (144,), front=front), digits()
    net.train()
    net.learn(x)
    assert net(x).shape == (300, 40)
    assert all(torch.equal(value, before[name]) for name, value in front.state_dict().items())


@pytest.mark.parametrize("layers", [DENSE, CONV], ids=["dense", "conv2d"])
def test_torch_export_and_compile_take_it(layers: Any) -> None:
    net, x = SCFFModule(layers, (1, 8, 8)).eval(), digits(20)
    exported = torch.export.export(net, (x,))
    assert torch.allclose(exported.module()(x), net(x), atol=1e-6)
    assert torch.allclose(torch.compile(net, backend="eager")(x), net(x), atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([{"kind": "dense", "units": 1, "learn": LEARN}], (8,), r"layers\.1\.units must be an integer >= 2"),
        (DENSE, (8, 8), r"data\.shape must be \[features\] or \[channels, height, width\], got \[8, 8\]"),
        (CONV, (8,), r"layers\.1"),
    ],
)
def test_wrong_layers_are_one_sentence(layers: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SCFFModule(layers, shape)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(1, 8), "at least 2 samples of finite values. Got 1 samples"),
        (torch.full((5, 8), float("nan")), "Got values that are not finite"),
        (torch.rand(5, 7), r"of shape \['N', 8\]\. Got torch.float32 of shape \[5, 7\]"),
        (torch.zeros(5, 8, dtype=torch.int64), r"must be floating point .* Got torch.int64"),
    ],
)
def test_batches_that_cannot_be_learned_from_change_nothing(x: torch.Tensor, message: str) -> None:
    net = SCFFModule(DENSE, (8,))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(UsageError, match=message):
        net.learn(x)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_learning_needs_float32_and_layers_that_exist() -> None:
    net, x = SCFFModule(DENSE, (8,)), torch.rand(5, 8)
    with pytest.raises(UsageError, match=r"numbers from 1 to 2\. Got \[3\]"):
        net.learn(x, layers=[3])
    with pytest.raises(UsageError, match=r"Got torch.float64 instead; type: net.float\(\)"):
        net.double().learn(x.double())
