"""SCFF as estimators of scikit-learn, for pipelines, grid searches and comparisons with other methods.

    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC
    from scff_hw import SCFFClassifier, SCFFTransformer

    SCFFClassifier(units=(200,), backend="fixed").fit(x, y).score(x_test, y_test)
    make_pipeline(SCFFTransformer(units=(200,)), LinearSVC()).fit(x, y)

They build a recipe from their parameters, and learn as a run does, in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from sklearn.utils.validation import validate_data as _validate_data

from scff_hw.backends import FloatBackend, make_backend
from scff_hw.core.network import Network
from scff_hw.data import Dataset, Split
from scff_hw.data.scaling import fit_scaling
from scff_hw.errors import UsageError
from scff_hw.hardware import load_profile
from scff_hw.recipes import Recipe, recipe_in_memory
from scff_hw.training.build import Weights, build_network, frozen, untrained_weights, weights_of
from scff_hw.training.calibration import trial_of
from scff_hw.training.features import CHUNK, CachedFeatures
from scff_hw.training.in_memory import learn_in_memory
from scff_hw.training.readout import solver_of
from scff_hw.training.run_context import plain_samples
from scff_hw.training.run_folder import Checkpoint, Position

NAME = "estimator"

validate_data: Any = _validate_data
"""scikit-learn declares no types for it."""


class _SCFF(BaseEstimator):
    """Parameters and learning that both estimators share; see `SCFFTransformer`."""

    def __init__(
        self,
        units: int | Sequence[int] = (100,),
        *,
        epochs: int = 20,
        learning_rate: float = 0.3,
        theta_pos: float = 1.0,
        theta_neg: float = 2.0,
        penalty: float = 0.0,
        batch_size: int = 100,
        backend: str = "float",
        profile: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.units, self.epochs, self.learning_rate = units, epochs, learning_rate
        self.theta_pos, self.theta_neg, self.penalty = theta_pos, theta_neg, penalty
        self.batch_size, self.backend, self.profile = batch_size, backend, profile
        self.overrides, self.random_state = overrides, random_state

    def _recipe(self, features: int, classes: Sequence[str]) -> Recipe:
        learn = {
            "epochs": self.epochs,
            "optimiser": "sgd",
            "learning_rate": self.learning_rate,
            "theta_pos": self.theta_pos,
            "theta_neg": self.theta_neg,
            "penalty": self.penalty,
        }
        if isinstance(self.units, str):
            raise UsageError(f"The units must be whole numbers, one per layer. Got {self.units!r} instead.")
        given: list[Any] = list(self.units) if isinstance(self.units, Sequence) else [self.units]
        units = [int(value) if isinstance(value, Integral) else value for value in given]
        layers = [{"kind": "dense", "units": value, "learn": learn} for value in units]
        changes = {"training.batch_size": self.batch_size} | dict(self.overrides or {})
        return recipe_in_memory(type(self).__name__, (features,), layers, classes, changes)

    def _learn(self, x: NDArray[np.float32], classes: Sequence[str]) -> None:
        """Train the hidden layers, and set the fitted attributes."""
        if len(x) < 2 or x.shape[1] < 2:
            raise UsageError(
                f"SCFF needs at least 2 samples and 2 features to make pairs and to standardise. "
                f"Got n_samples = {len(x)} and n_features = {x.shape[1]} instead."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        recipe = self._recipe(x.shape[1], classes)
        split = Split(torch.from_numpy(np.array(x)), None)
        dataset = Dataset(NAME, tuple(classes), split, split)
        scaling = fit_scaling(dataset, recipe.data.mean, recipe.data.std)
        weights = untrained_weights(recipe, seed)
        profile = None if self.profile is None else load_profile(self.profile)
        options = recipe.fixed_point if self.backend == "fixed" else None
        hardware = make_backend(self.backend, seed=seed, profile=profile, options=options)
        samples = plain_samples(recipe, dataset, "train", scaling)
        hardware = hardware.prepare(trial_of(recipe, weights, samples, seed))
        network = build_network(recipe, hardware, weights)
        self.metrics_ = learn_in_memory(recipe, seed, dataset, scaling, hardware, network)
        self.recipe_, self.scaling_, self.backend_, self.seed_ = recipe, scaling, hardware, seed
        self.network_ = self._inference_network(weights_of(network)) if hardware.ideal else network

    def _features(self, x: NDArray[Any]) -> torch.Tensor:
        """Features float64 `[N, F]`."""
        layers = [number - 1 for number in self.recipe_.readout.layers]
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (self.scaling_.mean, self.scaling_.std))
        scaled = (torch.from_numpy(np.array(x, dtype=np.float64)) - mean) / std
        if not self.backend_.ideal:
            scaled = scaled.float()
        with torch.no_grad():
            parts = [self.network_.features(part, layers).double() for part in scaled.split(CHUNK)]
        return torch.cat(parts)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.backend == "analog"
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**self.__dict__}
        network = state.pop("network_", None)
        if network is not None:
            states = {name: array.state() for name, array in network.arrays.items()}
            arrays = {f"{name}.{key}": value for name, own in states.items() for key, value in own.items()}
            state["_arrays"] = weights_of(network), arrays
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        arrays = state.pop("_arrays", None)
        super().__setstate__(state)
        if arrays is not None:
            self.network_ = self._inference_network(arrays[0])
            Checkpoint(Position("done"), arrays[1]).restore(self.network_)

    def _inference_network(self, weights: Weights) -> Network:
        """The network for inference; on the float backend in float64, so that features do not depend on the batch."""
        recipe, backend = self.recipe_, self.backend_
        return build_network(frozen(recipe), FloatBackend("float64") if backend.ideal else backend, weights)


class SCFFTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _SCFF):
    """Features of hidden layers that learn by SCFF, without labels, from vectors `[N, F]` of numbers.

    Features of the samples are scaled over the training samples. Each scaled sample is then standardised, which leaves
    little of samples with two or three features. Output: float64 `[N, sum of units]`, the standardised
    outputs of every layer.

    Args:
        units: units of each dense layer, or of the only one.
        epochs: epochs of each layer.
        learning_rate: of plain SGD.
        theta_pos, theta_neg: thresholds of the goodness of positive and negative pairs.
        penalty: weight of the penalty on goodness.
        batch_size: samples per batch.
        backend: "float", "fixed" or "analog", or that of another package.
        profile: name or path of a hardware profile, for backends that simulate devices.
        overrides: further keys of the recipe, e.g. `{"layers.*.learn.optimiser": "adamw"}`.
        random_state: seed of initial weights, order and devices.

    Attributes:
        recipe_: the recipe of the parameters.
        metrics_: per epoch and layer: goodness of positive and negative pairs, loss, share of dead units.
        network_: the trained network.
        scaling_: scaling of the samples' features.
        n_features_in_, feature_names_in_: as in scikit-learn.

    Raises:
        UsageError (a ValueError): a parameter is out of range, or there are fewer than 2 samples or features.
        DivergenceError: learning diverged.
    """

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train the hidden layers on `X` `[N, F]`; `y` is ignored."""
        x = validate_data(self, X, dtype=np.float32)
        self._learn(x, ("0", "1"))
        self._n_features_out = self.recipe_.readout_features
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the features of `X` `[N, F]`, float64 `[N, sum of units]`."""
        check_is_fitted(self)
        return self._features(validate_data(self, X, dtype=np.float64, reset=False)).numpy()


class SCFFClassifier(ClassifierMixin, _SCFF):
    """Hidden layers that learn by SCFF, without labels, and a linear readout of their features.

    The readout is multinomial logistic regression, whose L2 strength is chosen on held-out samples.

    Args:
        units, epochs, learning_rate, theta_pos, theta_neg, penalty, batch_size, backend, profile, random_state: as in
            `SCFFTransformer`.
        overrides: as in `SCFFTransformer`; `{"readout.solver": "ridge"}` is a faster readout.

    Attributes:
        classes_: labels of the classes.
        readout_: the readout.
        report_: solver, strength, iterations, gradient and accuracies of the readout.
        recipe_, metrics_, network_, scaling_, n_features_in_: as in `SCFFTransformer`.

    Raises:
        UsageError (a ValueError): as in `SCFFTransformer`, or there is only one class.
        DivergenceError: learning diverged.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # a sample of two features, as scikit-learn tests it, has only a sign after its standardisation
        tags.classifier_tags.poor_score = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train the hidden layers on `X` `[N, F]` without labels, then the readout with labels `y` `[N]`."""
        x, labels = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(labels)
        self.classes_, indices = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(f"A classifier needs samples of at least 2 classes. Got 1 class, {self.classes_[0]!r}.")
        self._learn(x, [str(k) for k in range(len(self.classes_))])
        source = CachedFeatures(self._features(x).float()[None])
        targets = torch.from_numpy(indices.astype(np.int64))
        solver = solver_of(self.recipe_, source, targets, len(self.classes_), self.seed_)
        for step in range(solver.steps):
            solver.step(step)
        self.readout_, self.report_ = solver.readout, solver.report()
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return logits `[N, classes]`; of two classes their difference `[N]`."""
        check_is_fitted(self)
        features = self._features(validate_data(self, X, dtype=np.float64, reset=False))
        logits = (features @ self.readout_.weight.double().T + self.readout_.bias.double()).numpy()
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class, `[N, classes]`."""
        logits = self.decision_function(X)
        return softmax(np.stack([0 * logits, logits], axis=1) if logits.ndim == 1 else logits, axis=1)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the label of the most probable class of each sample, `[N]`."""
        logits = self.decision_function(X)
        chosen = (logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)
        return self.classes_[chosen]
