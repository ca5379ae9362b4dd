"""The readout's solvers against scikit-learn, autograd and each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from scff_hw.data import load
from scff_hw.training.features import CachedFeatures
from scff_hw.training.readout import ConvexSolver, LogisticSolver, RidgeSolver
from scff_hw.training.readout.strength import FINAL_TOLERANCE, STRENGTHS

IMAGES, LABELS = load_digits(return_X_y=True)
X = torch.from_numpy(IMAGES).float()
Y = torch.from_numpy(LABELS)
TRAIN, TEST = slice(0, 1400), slice(1400, None)


def solved(solver: ConvexSolver) -> ConvexSolver:
    for number in range(solver.steps):
        solver.step(number)
    return solver


def fitted(kind: type[ConvexSolver], x: Tensor, y: Tensor, seed: int = 0, **options: object) -> ConvexSolver:
    return solved(kind(CachedFeatures(x[None]), y, int(y.max()) + 1, seed, **options))  # type: ignore[arg-type]


def scaled(x: Tensor) -> np.ndarray:
    """Columns of mean 0 and variance 1; constant ones 0."""
    values = x.double().numpy()
    spread = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(spread == 0, 1, spread)


@pytest.fixture(scope="module")
def logistic() -> ConvexSolver:
    return fitted(LogisticSolver, X[TRAIN], Y[TRAIN])


def test_logistic_regression_is_that_of_scikit_learn(logistic: ConvexSolver) -> None:
    report = logistic.report()
    assert report.converged and report.strength in STRENGTHS
    assert report.strength is not None and report.gradient is not None
    assert report.gradient <= FINAL_TOLERANCE
    theirs = LogisticRegression(C=1 / (report.strength * len(Y[TRAIN])), tol=1e-8, max_iter=5000)
    columns = scaled(X[TRAIN])
    theirs.fit(columns, Y[TRAIN].numpy())
    mean, spread = X[TRAIN].double().mean(dim=0), X[TRAIN].double().std(dim=0, unbiased=False)
    test = np.nan_to_num(((X[TEST].double() - mean) / spread).numpy(), posinf=0, neginf=0)
    ours = logistic.readout.logits(X[TEST]).softmax(dim=1).numpy()
    # constant training columns are not used by either
    test[:, (spread == 0).numpy()] = 0
    assert np.abs(ours - theirs.predict_proba(test)).max() < 5e-3
    accuracy = logistic.readout.accuracy(CachedFeatures(X[TEST][None]), Y[TEST])
    assert abs(accuracy - theirs.score(test, Y[TEST].numpy())) <= 0.001


def test_logistic_regression_on_mnist_is_that_of_scikit_learn(real_data: Path) -> None:
    dataset = load("mnist", real_data)
    x, test = (part.images.flatten(1).float() for part in (dataset.train, dataset.test))
    x, y = x[:4000], dataset.train.labels
    assert y is not None and dataset.test.labels is not None
    solver = fitted(LogisticSolver, x, y[:4000])
    report = solver.report()
    assert report.converged and report.strength is not None
    columns, mean, spread = scaled(x), x.double().mean(dim=0), x.double().std(dim=0, unbiased=False)
    theirs = LogisticRegression(C=1 / (report.strength * len(x)), tol=1e-6, max_iter=5000)
    theirs.fit(columns, y[:4000].numpy())
    expected = theirs.score(torch.where(spread > 0, (test - mean) / spread, 0).numpy(), dataset.test.labels.numpy())
    accuracy = solver.readout.accuracy(CachedFeatures(test[None]), dataset.test.labels)
    assert abs(accuracy - expected) <= 0.001 and expected > 0.87


def test_ridge_regression_is_that_of_scikit_learn() -> None:
    ours = fitted(RidgeSolver, X[TRAIN], Y[TRAIN])
    strength = ours.report().strength
    assert strength is not None
    theirs = Ridge(alpha=strength * len(Y[TRAIN]), solver="cholesky")
    theirs.fit(scaled(X[TRAIN]), F.one_hot(Y[TRAIN]).double().numpy())
    expected = theirs.predict(scaled(X[TRAIN]))
    assert np.abs(ours.readout.logits(X[TRAIN]).numpy() - expected).max() < 1e-4


def test_the_solution_is_where_the_gradient_vanishes(logistic: ConvexSolver) -> None:
    strength = logistic.report().strength
    assert strength is not None
    columns = torch.from_numpy(scaled(X[TRAIN]))

    def gradient(weight: Tensor, bias: Tensor) -> float:
        weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        loss = F.cross_entropy(columns @ weight.T + bias, Y[TRAIN]) + strength / 2 * weight.square().sum()
        loss.backward()
        assert weight.grad is not None and bias.grad is not None
        return float(torch.cat([weight.grad.flatten(), bias.grad]).norm())

    assert logistic._final is not None
    zeros = torch.zeros_like(logistic._final.weight), torch.zeros_like(logistic._final.bias)
    residual = gradient(logistic._final.weight, logistic._final.bias) / gradient(*zeros)
    assert residual == pytest.approx(logistic.report().gradient, rel=0.05) and residual <= 1.05 * FINAL_TOLERANCE


@pytest.mark.parametrize("kind", [LogisticSolver, RidgeSolver])
def test_random_starts_give_the_same_accuracy(kind: type[ConvexSolver]) -> None:
    test = CachedFeatures(X[TEST][None])
    accuracies = set()
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        start = torch.randn(10, 64, generator=draw).double(), torch.randn(10, generator=draw).double()
        accuracies.add(fitted(kind, X[TRAIN], Y[TRAIN], start=start).readout.accuracy(test, Y[TEST]))
    assert len(accuracies) == 1


@pytest.mark.parametrize("kind", [LogisticSolver, RidgeSolver])
def test_scale_and_offset_of_a_column_do_not_matter(kind: type[ConvexSolver]) -> None:
    draw = torch.Generator().manual_seed(0)
    scale = 10 ** (2 * torch.rand(64, generator=draw) - 1)
    every = torch.ones(1400, dtype=torch.float64)
    logits = []
    for x in (X, X * scale + 3 * scale):
        solver = kind(CachedFeatures(x[TRAIN][None]), Y[TRAIN], 10, 0)
        solution = solver.solve(1e-2, every, (torch.zeros(10, 64), torch.zeros(10)), lambda: False, 1e-6)
        weight, bias = solver.columns.folded(solution.weight.double(), solution.bias.double())
        logits.append(x[TEST] @ weight.T + bias)
    assert float((logits[0] - logits[1]).abs().max()) < 0.01


@pytest.mark.parametrize("kind", [LogisticSolver, RidgeSolver])
@pytest.mark.parametrize("stop", [1, len(STRENGTHS)])
def test_a_resumed_fit_gives_the_same_bits(kind: type[ConvexSolver], stop: int) -> None:
    source = CachedFeatures(X[TRAIN][None])
    whole, first, second = (kind(source, Y[TRAIN], 10, 0) for _ in range(3))
    solved(whole)
    for number in range(stop):
        first.step(number)
    second.load_state(first.state())
    for number in range(stop, second.steps):
        second.step(number)
    assert torch.equal(whole.readout.weight, second.readout.weight)
    assert torch.equal(whole.readout.bias, second.readout.bias) and whole.report() == second.report()


def test_a_stop_ends_a_fit() -> None:
    solver = LogisticSolver(CachedFeatures(X[TRAIN][None]), Y[TRAIN], 10, 0)
    asked = iter([False] * 5 + [True] * 1000)
    with pytest.raises(KeyboardInterrupt):
        solver.step(0, lambda: next(asked))


def test_copies_count_like_samples() -> None:
    """Two versions of each sample give the solution of a data set with both."""
    draw = torch.Generator().manual_seed(1)
    other = X[TRAIN] + torch.randn(X[TRAIN].shape, generator=draw)
    versions = RidgeSolver(CachedFeatures(torch.stack([X[TRAIN], other])), Y[TRAIN], 10, 0)
    doubled = RidgeSolver(CachedFeatures(torch.cat([X[TRAIN], other])[None]), Y[TRAIN].repeat(2), 10, 0)
    every, both = torch.ones(1400, dtype=torch.float64), torch.ones(2800, dtype=torch.float64)
    start = torch.zeros(()), torch.zeros(())
    one = versions.solve(1e-2, every, start, lambda: False)
    two = doubled.solve(1e-2, both, start, lambda: False)
    assert torch.allclose(one.weight, two.weight, atol=1e-5)


def test_the_strength_is_chosen_without_the_fitted_samples() -> None:
    """With noise as features, strong penalties win; a choice by the fitted samples would take the weakest."""
    draw = torch.Generator().manual_seed(2)
    x, y = torch.randn(400, 200, generator=draw), torch.randint(0, 2, (400,), generator=draw)
    solver = LogisticSolver(CachedFeatures(x[None]), y, 2, 0)
    lines = [solver.step(number) for number in range(solver.steps)]
    weakest = lines[len(STRENGTHS) - 1]
    assert weakest["train_accuracy"] == 1.0 and float(weakest["held_out_accuracy"]) < 0.65
    best = max(lines[:-1], key=lambda line: (line["held_out_accuracy"], -float(line["held_out_loss"])))
    assert solver.report().strength == best["strength"] == lines[-1]["strength"]


@pytest.mark.parametrize("kind", [LogisticSolver, RidgeSolver])
def test_a_fit_that_stops_early_says_so(kind: type[ConvexSolver], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scff_hw.training.readout.logistic.MAX_ITERATIONS", 2)
    report = fitted(kind, X[TRAIN], Y[TRAIN]).report()
    assert report.converged is (kind is RidgeSolver)


@given(
    rows=st.integers(1, 30),
    columns=st.integers(1, 6),
    constant=st.sampled_from([0.0, 1.0, 1e4]),
    seed=st.integers(0, 10**6),
    kind=st.sampled_from([LogisticSolver, RidgeSolver]),
)
def test_any_features_give_finite_weights(
    rows: int, columns: int, constant: float, seed: int, kind: type[ConvexSolver]
) -> None:
    """Few samples, one class only, and constant columns, whose weights are 0."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=draw)
    x = torch.cat([x, torch.full((rows, 1), constant)], dim=1)
    y = torch.randint(0, 3, (rows,), generator=draw)
    readout = solved(kind(CachedFeatures(x[None]), y, 3, 0)).readout
    assert bool(readout.weight.isfinite().all()) and bool(readout.bias.isfinite().all())
    assert bool((readout.weight[:, -1] == 0).all())
