"""Digits and Iris, the two small data sets bundled with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scff_hw.data.types import Dataset, Split

_SPLIT_SEED = 0
_DIGITS_TEST = 360
_IRIS_TEST = 30


def load_digits() -> Dataset:
    """Read the 1797 handwritten digits: images uint8 [N, 1, 8, 8], labels int64 [N] in 0..9.

    Stored pixels 0..16 are scaled by 255/16 and rounded. The split is fixed: 360 test samples,
    stratified, scikit-learn's train_test_split with random_state 0.
    """
    from sklearn import datasets

    bunch: Any = datasets.load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    train, test = _stratified(images, bunch.target, _DIGITS_TEST)
    return Dataset("digits", tuple("0123456789"), train, test)


def load_iris() -> Dataset:
    """Read the 150 Iris flowers: features float32 [N, 4] in centimetres, labels in 0..2.

    The split is fixed: 30 test samples, stratified, scikit-learn's train_test_split with random_state 0.
    """
    from sklearn import datasets

    bunch: Any = datasets.load_iris()
    train, test = _stratified(bunch.data.astype(np.float32), bunch.target, _IRIS_TEST)
    return Dataset("iris", tuple(str(name) for name in bunch.target_names), train, test)


def _stratified(samples: np.ndarray, labels: np.ndarray, test_count: int) -> tuple[Split, Split]:
    from sklearn.model_selection import train_test_split

    parts = train_test_split(
        np.arange(len(labels)), test_size=test_count, stratify=labels, random_state=_SPLIT_SEED
    )
    targets = labels.astype(np.int64)
    train, test = (Split(torch.from_numpy(samples[k]), torch.from_numpy(targets[k])) for k in parts)
    return train, test
