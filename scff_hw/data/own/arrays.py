"""Reader of own arrays: one .npz file, or a folder of .npy files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scff_hw.data.own.parts import Array, Parts, encoded, numbers, split_rows
from scff_hw.errors import DataError, nearest

NAMES = ("x_train", "y_train", "x_test", "y_test", "x_unlabelled", "x", "y", "class_names", "feature_names")
"""Allowed names of arrays: samples x and labels y per part, or x and y without parts, split by the reader."""

LARGEST_SIDE = 4096


def read_arrays(path: Path, share: float, seed: int) -> Parts:
    """Read arrays of samples and labels, named as in `NAMES`.

    Samples are vectors `[N, F]` of any numbers, or uint8 images `[N, H, W]` or `[N, C, H, W]`. `share` (of the test
    part, 0..1) and `seed` apply to x and y without parts.

    Raises:
        DataError: a file is missing or damaged, an array has another name, type or shape, or a value is not allowed.
    """
    arrays = _arrays(path)
    for name in arrays:
        if name not in NAMES:
            raise DataError(
                f"The arrays in {path} must be named {', '.join(NAMES)}. "
                f"Got '{name}' instead{nearest(name, NAMES, '.')}"
            )
    whole, parted = {"x", "y"} <= arrays.keys(), {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys()
    if whole == parted:
        raise DataError(
            f"{path} must hold either x and y, or x_train, y_train, x_test and y_test. Got {', '.join(arrays)} instead."
        )
    features = tuple(str(name) for name in arrays.get("feature_names", ()))
    names = None if "class_names" not in arrays else tuple(str(name) for name in arrays["class_names"])
    keys = ("",) if whole else ("_train", "_test")
    x = {key: _samples(arrays[f"x{key}"], f"x{key} of {path}", features) for key in keys}
    y = [_labels(arrays[f"y{key}"], len(x[key]), f"y{key} of {path}") for key in keys]
    if len({part.dtype.kind for part in y}) > 1:
        raise DataError(f"y_train and y_test of {path} must be of one type. Got {y[0].dtype} and {y[1].dtype} instead.")
    labels, classes = encoded(np.concatenate(y), lambda row: f"{path}, label {row}", names)
    if whole:
        test = split_rows(labels, None, share, seed, str(path))
        samples = {"train": x[""][~test], "test": x[""][test]}
        split = {"train": labels[~test], "test": labels[test]}
    else:
        samples = {"train": x["_train"], "test": x["_test"]}
        split = {"train": labels[: len(y[0])], "test": labels[len(y[0]) :]}
    if "x_unlabelled" in arrays:
        samples["unlabelled"] = _samples(arrays["x_unlabelled"], f"x_unlabelled of {path}", features)
    for part, values in samples.items():
        if values.shape[1:] != samples["train"].shape[1:]:
            raise DataError(
                f"Samples of all parts of {path} must have one shape, {samples['train'].shape[1:]} as in the training "
                f"part. Got {values.shape[1:]} in the {part} part instead."
            )
    return Parts(samples, split, classes, features)


def _arrays(path: Path) -> Mapping[str, Array]:
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise DataError(f"The folder {path} must hold .npy files named {', '.join(NAMES)}. Got none instead.")
        return {file.stem: _array(file) for file in files}
    try:
        with np.load(path, allow_pickle=False) as archive:
            if isinstance(archive, np.ndarray):
                raise DataError(f"{path} must be an .npz file, or a folder of .npy files. Got one .npy file instead.")
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None


def _array(path: Path) -> Array:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"There is no file {path}.")
    if "Object arrays" in str(error):
        return DataError(
            f"The arrays in {path} must hold numbers or texts of one shape. Got an array of Python objects instead, "
            "e.g. rows of different lengths."
        )
    return DataError(f"{path} must be an undamaged file of NumPy arrays (.npz, .npy), without Python objects.")


def _samples(x: Array, place: str, features: tuple[str, ...]) -> Array:
    if not len(x.shape) or not len(x):
        raise DataError(f"{place} must have at least one sample. Got an array of shape {list(x.shape)} instead.")
    if x.ndim == 2:
        if features and len(features) != x.shape[1]:
            raise DataError(
                f"feature_names must name the {x.shape[1]} features of {place}. Got {len(features)} names instead."
            )
        if x.shape[1] < 2:
            raise DataError(f"A vector in {place} must have at least 2 features. Got {x.shape[1]} instead.")
        return numbers(x, features, lambda row: f"{place}, row {row}")
    if x.ndim not in (3, 4):
        raise DataError(
            f"{place} must be vectors [N, F], or images [N, H, W] or [N, C, H, W]. "
            f"Got an array of shape {list(x.shape)} instead."
        )
    if x.dtype != np.uint8:
        raise DataError(
            f"Images in {place} must have pixels of type uint8, from 0 to 255. "
            f"Got {x.dtype} instead; round and convert them."
        )
    images = x[:, None] if x.ndim == 3 else x
    channels, *sides = images.shape[1:]
    if channels > 4 and images.shape[3] <= 4:
        raise DataError(
            f"Images in {place} must have the channel first, [N, C, H, W]. Got {list(x.shape)} instead; "
            "type: x.transpose(0, 3, 1, 2)"
        )
    if max(sides) > LARGEST_SIDE:
        raise DataError(
            f"Images in {place} must have at most {LARGEST_SIDE} pixels per side. Got {max(sides)} instead."
        )
    return np.ascontiguousarray(images)


def _labels(y: Array, count: int, place: str) -> Array:
    if y.ndim != 1 or len(y) != count:
        raise DataError(f"{place} must have one label per sample, shape [{count}]. Got {list(y.shape)} instead.")
    return y
