"""Checks and split shared by all kinds of own data: values, labels, training and test part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scff_hw.errors import DataError

Array = NDArray[Any]
Where = Callable[[int], str]
"""Maps the index of a sample to its place in the file for messages, e.g. "sensors.csv, line 5"."""

MOST_CLASSES = 10_000

LONGEST_NAME = 200
"""Longest name of a class, in characters."""

FOLDS = 10
"""Largest number of folds that groups are divided into."""


@dataclass(frozen=True)
class Parts:
    """Checked samples and labels of each part of the data.

    Attributes:
        samples: by part, "train", "test" and optionally "unlabelled": float32 `[N, F]`, or uint8 `[N, C, H, W]`.
        labels: by part, "train" and "test": int64 `[N]`, indices of `classes`.
        classes: name of each class, in the order of the labels.
        features: name of each feature; empty for features without names.
        notes: warnings, one sentence each, e.g. about constant features.
    """

    samples: dict[str, Array]
    labels: dict[str, Array]
    classes: tuple[str, ...]
    features: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (F,) or (C, H, W)."""
        return self.samples["train"].shape[1:]


def checked(parts: Parts, place: str) -> Parts:
    """Check `parts` and return them with notes on constant features and on test samples that are also for training.

    Raises:
        DataError: a part has too few samples or lacks a class, or all features are constant.
    """
    for part in ("train", "test"):
        count = len(parts.labels[part])
        if count < (least := 2 if part == "train" else 1):
            raise DataError(f"The {part} part of {place} must hold at least {least} samples. Got {count} instead.")
        present = np.zeros(len(parts.classes), dtype=bool)
        present[parts.labels[part]] = True
        if not present.all():
            name = parts.classes[int(np.flatnonzero(~present)[0])]
            raise DataError(
                f"Every class of {place} must be in the training part and in the test part. Got no sample of class "
                f"'{name}' in the {part} part instead."
            )
    for name in parts.classes:
        if not name or not name.isprintable() or len(name) > LONGEST_NAME or parts.classes.count(name) > 1:
            allowed = f"different names of one line and at most {LONGEST_NAME} characters"
            raise DataError(f"The classes of {place} must have {allowed}. Got {name[:80]!r} instead.")
    notes = [*parts.notes, *_constant(parts, place), *_repeated(parts, place)]
    return replace(parts, notes=tuple(notes))


def _constant(parts: Parts, place: str) -> list[str]:
    x = parts.samples["train"]
    if x.ndim != 2:
        if (x == x[0]).all():
            raise DataError(f"The images of {place} must differ. Got {len(x)} equal ones in the training part instead.")
        return []
    (constant,) = np.nonzero((x == x[0]).all(axis=0))
    if len(constant) == x.shape[1]:
        raise DataError(
            f"The features of {place} must differ between samples. Got {len(constant)} constant ones instead."
        )
    if not len(constant):
        return []
    names = [parts.features[k] if parts.features else str(k) for k in constant[:5]]
    more = f" and {len(constant) - 5} more" if len(constant) > 5 else ""
    return [f"{place}: features constant over the training part, which carry no information: {', '.join(names)}{more}."]


def _repeated(parts: Parts, place: str) -> list[str]:
    rows = {part: _digests(parts.samples[part]) for part in ("train", "test")}
    repeated = int(np.isin(rows["test"], rows["train"]).sum())
    if not repeated:
        return []
    return [
        f"{place}: {repeated} of {len(rows['test'])} test samples are also in the training part, so the test accuracy "
        "may be too high."
    ]


def _digests(samples: Array) -> Array:
    """Return a hash per sample, int64 `[N]`; equal samples have equal hashes."""
    flat = np.ascontiguousarray(samples).reshape(len(samples), -1)
    flat = flat.view(np.uint8).reshape(len(samples), -1)
    return np.array([hash(row.tobytes()) for row in flat])


def numbers(values: Array, names: Sequence[str], where: Where) -> Array:
    """Return the features `values` `[N, F]` as float32; `names` and `where` are for error messages.

    Raises:
        DataError: a value is not a finite number in the range of float32.
    """
    if values.dtype.kind not in "fiub":
        raise DataError(f"The features of {where(0)} must be numbers. Got values of type {values.dtype} instead.")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(result).all():
        row, column = (int(k) for k in np.argwhere(~np.isfinite(result))[0])
        raise DataError(
            f"Every value must be a finite number of float32. Got {values[row, column]} in {where(row)}, "
            f"feature {names[column] if names else column}, instead."
        )
    return result


def encoded(labels: Array, where: Where, names: Sequence[str] | None = None) -> tuple[Array, tuple[str, ...]]:
    """Convert labels `[N]` to class numbers, int64 `[N]`; also return the names of the classes.

    Labels are texts, integers, booleans, or floats that are integers. Classes are in the order of `names`; without
    `names`, in numerical or alphabetical order of the labels.

    Raises:
        DataError: a label is missing, not a whole number or text, or not in `names`; or there are fewer than two
            classes or more than `MOST_CLASSES`.
    """
    kind = labels.dtype.kind
    if kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if kind == "f":
        if not np.equal(np.mod(labels, 1), 0).all():
            row = int(np.flatnonzero(~np.equal(np.mod(labels, 1), 0))[0])
            raise DataError(f"A label must be text or a whole number. Got {labels[row]} in {where(row)} instead.")
        labels = labels.astype(np.int64)
    elif kind == "O":
        for row, value in enumerate(labels):
            if not isinstance(value, str | int | np.integer | bool) or value == "":
                got = "none" if value is None or value == "" else repr(value)
                raise DataError(f"A label must be text or a whole number. Got {got} in {where(row)} instead.")
        labels = labels.astype(str)
    elif kind not in "iubUS":
        raise DataError(
            f"Labels must be texts or whole numbers. Got values of type {labels.dtype} in {where(0)} instead."
        )
    found, indices = np.unique(labels, return_inverse=True)
    found_names = tuple(str(value) for value in found)
    if names is not None:
        return _renumbered(indices, labels, found_names, tuple(names), where), tuple(names)
    if not 2 <= len(found_names) <= MOST_CLASSES:
        raise DataError(
            f"Labels must be of 2 to {MOST_CLASSES} classes. Got {len(found_names)} in the data of {where(0)} instead."
        )
    return indices.astype(np.int64), found_names


def _renumbered(indices: Array, labels: Array, found: tuple[str, ...], names: tuple[str, ...], where: Where) -> Array:
    if labels.dtype.kind in "iub" and not set(found) <= set(names):
        inside = (labels >= 0) & (labels < len(names))
        if inside.all():
            return labels.astype(np.int64)
        row = int(np.flatnonzero(~inside)[0])
        raise DataError(f"A label must be from 0 to {len(names) - 1}. Got {labels[row]} in {where(row)} instead.")
    for value in found:
        if value not in names:
            row = int(np.flatnonzero(indices == found.index(value))[0])
            raise DataError(f"A label must be one of {', '.join(names[:20])}. Got '{value}' in {where(row)} instead.")
    return np.array([names.index(value) for value in found], dtype=np.int64)[indices]


def split_rows(labels: Array, groups: Array | None, share: float, seed: int, place: str) -> Array:
    """Draw the test part: return bool `[N]`, true for a share (0..1) of each class; groups are not divided.

    Samples are drawn by scikit-learn: `train_test_split`, stratified; with groups (`[N]`, or None) by
    `StratifiedGroupKFold`, whose first folds, of at most `FOLDS`, are the test part.

    Raises:
        DataError: a class has fewer than two samples, or there is one group only.
    """
    from sklearn.model_selection import StratifiedGroupKFold, train_test_split

    counts = np.bincount(labels)
    if counts.min() < 2:
        raise DataError(
            f"Every class of {place} must have at least 2 samples, one for training and one for the test. "
            f"Got {counts.min()} of class number {int(counts.argmin())} instead."
        )
    rows, test = np.arange(len(labels)), np.zeros(len(labels), dtype=bool)
    if groups is None:
        count = min(max(round(share * len(labels)), len(counts)), len(labels) - len(counts))
        _, chosen = train_test_split(rows, test_size=count, stratify=labels, random_state=seed)
    else:
        folds = min(FOLDS, len(np.unique(groups)))
        if folds < 2:
            raise DataError(f"{place} must have at least 2 groups, for training and for the test. Got 1 instead.")
        divider = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        divided = [fold for _, fold in divider.split(rows, labels, groups)]
        chosen = np.concatenate(divided[: min(max(1, round(share * folds)), folds - 1)])
    test[chosen] = True
    return test
