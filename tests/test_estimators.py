"""The estimators are those of scikit-learn, and learn what a run learns."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from scff_hw import SCFFClassifier, SCFFTransformer, train
from scff_hw.recipes import dump_recipe, parse_recipe

X, Y = load_digits(return_X_y=True)
SPLIT: Any = train_test_split(X[:800], Y[:800], test_size=200, stratify=Y[:800], random_state=0)
FAST = {"readout.solver": "ridge"}


@parametrize_with_checks([SCFFTransformer(units=(8,), epochs=2), SCFFClassifier(units=(8,), epochs=2, overrides=FAST)])
def test_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize(("backend", "profile"), [("float", None), ("fixed", None), ("analog", "ideal")])
def test_digits_are_recognised_on_every_backend(backend: str, profile: str | None) -> None:
    x, x_test, y, y_test = SPLIT
    classifier = SCFFClassifier(
        (40,), epochs=8, learning_rate=0.5, backend=backend, profile=profile, overrides=FAST, random_state=0
    )
    classifier.fit(x, y)
    assert classifier.score(x_test, y_test) > 0.8
    assert classifier.predict_proba(x_test).sum(axis=1) == pytest.approx(1)
    again = pickle.loads(pickle.dumps(classifier))
    if backend != "analog":
        assert np.array_equal(again.predict(x_test), classifier.predict(x_test))


def test_it_learns_the_weights_of_a_run_of_its_recipe(tmp_path: Path) -> None:
    x, x_test, y, y_test = SPLIT
    classifier = SCFFClassifier((20, 10), epochs=3, overrides=FAST, random_state=1).fit(x, y)
    np.savez(tmp_path / "digits.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    changes = [f"data.path={tmp_path}/digits.npz", "controls.untrained=false"]
    recipe = parse_recipe(dump_recipe(classifier.recipe_), "the estimator's recipe", changes)
    run = train(recipe, tmp_path / "run", seed=classifier.seed_)
    for layer in (1, 2):
        learned = classifier.network_.arrays[f"layers.{layer}"].weight
        assert torch.equal(learned.float(), run.finished.weights[f"layers.{layer}.weight"])
    assert run.accuracy == pytest.approx(classifier.score(x_test, y_test), abs=0.006)


def test_pipelines_and_grid_searches() -> None:
    x, x_test, y, y_test = SPLIT
    pipeline = make_pipeline(SCFFTransformer((20,), epochs=2, random_state=0), LogisticRegression(max_iter=2000))
    search: Any = GridSearchCV(pipeline, {"scfftransformer__theta_neg": [1.0, 2.0]}, cv=2).fit(x, y)
    assert search.score(x_test, y_test) > 0.75
    names = search.best_estimator_[0].get_feature_names_out()
    assert list(names[:2]) == ["scfftransformer0", "scfftransformer1"] and len(names) == 20


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"units": (1,)}, r"layers\.1\.units must be an integer >= 2"),
        ({"units": "20"}, "The units must be whole numbers, one per layer. Got '20'"),
        ({"units": (20.5,)}, r"layers\.1\.units must be an integer"),
        ({"epochs": -1}, r"layers\.1\.learn\.epochs must be an integer >= 0"),
        ({"backend": "flaot"}, "did you mean 'float'"),
        ({"overrides": {"layers.*.learn.theta": 1}}, "overrides layers.*theta"),
        ({"profile": "ecram"}, "takes no profile"),
    ],
)
def test_parameters_out_of_range_are_one_sentence(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SCFFTransformer(**parameters).fit(X[:20])
